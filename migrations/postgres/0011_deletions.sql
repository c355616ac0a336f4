-- The deletions of tenants with their data, on PostgreSQL.

-- What was deleted, as JSON. The row stays when the tenant is gone. `ended_us` is NULL while the deletion runs.
CREATE TABLE tenancy_deletions (
    tenant_id  text   NOT NULL PRIMARY KEY,
    record     text   NOT NULL,
    started_us bigint NOT NULL,
    ended_us   bigint
);
