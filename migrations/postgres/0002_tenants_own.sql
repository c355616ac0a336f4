-- The slugs, domains and API keys of tenants, on PostgreSQL.

-- The slugs that are in use or reserved. `until_us` is NULL while a slug is in use, else the end of its cool-down.
CREATE TABLE tenancy_slugs (
    slug      text NOT NULL PRIMARY KEY,
    tenant_id text NOT NULL,
    until_us  bigint
);

INSERT INTO tenancy_slugs (slug, tenant_id) SELECT slug, id FROM tenancy_tenants;

CREATE INDEX tenancy_slugs_of_tenant ON tenancy_slugs (tenant_id);

-- The verified domains. `until_us` is NULL while a domain is in use, else the end of its cool-down.
CREATE TABLE tenancy_domains (
    domain      text COLLATE "C" NOT NULL PRIMARY KEY CHECK (domain <> ''),
    tenant_id   text NOT NULL,
    verified_us bigint NOT NULL,
    until_us    bigint
);

CREATE INDEX tenancy_domains_of_tenant ON tenancy_domains (tenant_id);

-- The unverified claims. Several tenants can claim a domain that has no owner.
CREATE TABLE tenancy_domain_claims (
    domain     text COLLATE "C" NOT NULL CHECK (domain <> ''),
    tenant_id  text NOT NULL,
    token      text NOT NULL CHECK (token <> ''),
    expires_us bigint NOT NULL,
    PRIMARY KEY (domain, tenant_id)
);

CREATE INDEX tenancy_domain_claims_of_tenant ON tenancy_domain_claims (tenant_id);

-- The API keys. Only the hash of a secret is stored.
CREATE TABLE tenancy_api_keys (
    id         text COLLATE "C" NOT NULL PRIMARY KEY CHECK (id <> ''),
    tenant_id  text NOT NULL,
    name       text NOT NULL,
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    created_us bigint NOT NULL,
    expires_us bigint,
    revoked_us bigint
);

CREATE INDEX tenancy_api_keys_of_tenant ON tenancy_api_keys (tenant_id, id);
