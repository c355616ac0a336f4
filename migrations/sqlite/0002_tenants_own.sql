-- The slugs, domains and API keys of tenants, on SQLite.

-- The slugs that are in use or reserved. `until_us` is NULL while a slug is in use, else the end of its cool-down.
CREATE TABLE tenancy_slugs (
    slug      TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    until_us  INTEGER
) STRICT, WITHOUT ROWID;

INSERT INTO tenancy_slugs (slug, tenant_id) SELECT slug, id FROM tenancy_tenants;

CREATE INDEX tenancy_slugs_of_tenant ON tenancy_slugs (tenant_id);

-- The verified domains. `until_us` is NULL while a domain is in use, else the end of its cool-down.
CREATE TABLE tenancy_domains (
    domain      TEXT NOT NULL PRIMARY KEY CHECK (domain <> ''),
    tenant_id   TEXT NOT NULL,
    verified_us INTEGER NOT NULL,
    until_us    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX tenancy_domains_of_tenant ON tenancy_domains (tenant_id);

-- The unverified claims. Several tenants can claim a domain that has no owner.
CREATE TABLE tenancy_domain_claims (
    domain     TEXT NOT NULL CHECK (domain <> ''),
    tenant_id  TEXT NOT NULL,
    token      TEXT NOT NULL CHECK (token <> ''),
    expires_us INTEGER NOT NULL,
    PRIMARY KEY (domain, tenant_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX tenancy_domain_claims_of_tenant ON tenancy_domain_claims (tenant_id);

-- The API keys. Only the hash of a secret is stored.
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
