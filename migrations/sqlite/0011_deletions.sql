-- The deletions of tenants with their data, on SQLite.

-- What was deleted, as JSON. The row stays when the tenant is gone. `ended_us` is NULL while the deletion runs.
CREATE TABLE tenancy_deletions (
    tenant_id  TEXT    NOT NULL PRIMARY KEY,
    record     TEXT    NOT NULL,
    started_us INTEGER NOT NULL,
    ended_us   INTEGER
) STRICT, WITHOUT ROWID;
