-- What a tenant has to itself beside its rows, on SQLite: its slugs, its domains, its API keys.

-- Every slug that is in use or was. The end is empty while it is in use; until then it is nobody else's.
CREATE TABLE tenancy_slugs (
    slug      TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    until_us  INTEGER
) STRICT, WITHOUT ROWID;

INSERT INTO tenancy_slugs (slug, tenant_id) SELECT slug, id FROM tenancy_tenants;

CREATE INDEX tenancy_slugs_of_tenant ON tenancy_slugs (tenant_id);

-- Domains that were verified. The end is empty while one is in use; until then it rests.
CREATE TABLE tenancy_domains (
    domain      TEXT NOT NULL PRIMARY KEY CHECK (domain <> ''),
    tenant_id   TEXT NOT NULL,
    verified_us INTEGER NOT NULL,
    until_us    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX tenancy_domains_of_tenant ON tenancy_domains (tenant_id);

-- Many tenants can claim a domain that nobody has.
CREATE TABLE tenancy_domain_claims (
    domain     TEXT NOT NULL CHECK (domain <> ''),
    tenant_id  TEXT NOT NULL,
    token      TEXT NOT NULL CHECK (token <> ''),
    expires_us INTEGER NOT NULL,
    PRIMARY KEY (domain, tenant_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX tenancy_domain_claims_of_tenant ON tenancy_domain_claims (tenant_id);

-- Of each secret there is the hash only.
CREATE TABLE tenancy_api_keys (
    id         TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
    tenant_id  TEXT NOT NULL,
    name       TEXT NOT NULL,
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    created_us INTEGER NOT NULL,
    expires_us INTEGER,
    revoked_us INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX tenancy_api_keys_of_tenant ON tenancy_api_keys (tenant_id, id);
