-- The deletions of tenants with their data, on PostgreSQL.

-- What was deleted, as JSON. The row stays when the tenant is gone. `ended_us` is NULL while the deletion runs.
CREATE TABLE tenancy_deletions (
    tenant_id  text   NOT NULL PRIMARY KEY,
    record     text   NOT NULL,
    started_us bigint NOT NULL,
    ended_us   bigint
);

-- The owner of the tables deletes the audit events of a tenant together with the tenant. No other role can.
CREATE POLICY tenancy_erase ON tenancy_audit_events FOR DELETE TO CURRENT_USER
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
