-- Where tenants are provisioned and migrated, on PostgreSQL.

-- The region in which a tenant's data stays.
ALTER TABLE tenancy_tenants ADD COLUMN region text;

-- The steps of provisioning. `error` is NULL for a step that is done, else why it failed.
CREATE TABLE tenancy_provisioning (
    tenant_id text   NOT NULL,
    step      text   NOT NULL,
    at_us     bigint NOT NULL,
    error     text,
    PRIMARY KEY (tenant_id, step)
);

-- The application's migrations in each place. The tenant id is '*' for the shared tables. `error` is NULL for a
-- migration that was applied, else why it failed.
CREATE TABLE tenancy_tenant_migrations (
    tenant_id text   NOT NULL,
    version   bigint NOT NULL,
    at_us     bigint NOT NULL,
    error     text,
    PRIMARY KEY (tenant_id, version)
);

-- Places that are ready for a tenant. `kind` is `schema` or `database`.
CREATE TABLE tenancy_ready_places (
    name     text   NOT NULL PRIMARY KEY,
    kind     text   NOT NULL,
    ready_us bigint NOT NULL
);
