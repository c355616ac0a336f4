-- Where tenants are provisioned and migrated, on SQLite.

-- The region in which a tenant's data stays.
ALTER TABLE tenancy_tenants ADD COLUMN region TEXT;

-- The steps of provisioning. `error` is NULL for a step that is done, else why it failed.
CREATE TABLE tenancy_provisioning (
    tenant_id TEXT    NOT NULL,
    step      TEXT    NOT NULL,
    at_us     INTEGER NOT NULL,
    error     TEXT,
    PRIMARY KEY (tenant_id, step)
) STRICT, WITHOUT ROWID;

-- The application's migrations in each place. The tenant id is '*' for the shared tables. `error` is NULL for a
-- migration that was applied, else why it failed.
CREATE TABLE tenancy_tenant_migrations (
    tenant_id TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    at_us     INTEGER NOT NULL,
    error     TEXT,
    PRIMARY KEY (tenant_id, version)
) STRICT, WITHOUT ROWID;

-- Places that are ready for a tenant. `kind` is `schema` or `database`.
CREATE TABLE tenancy_ready_places (
    name     TEXT    NOT NULL PRIMARY KEY,
    kind     TEXT    NOT NULL,
    ready_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
