-- The deletions of tenants with their data, on SQLite.

-- What was deleted, as JSON. The row stays when the tenant is gone. `ended_us` is NULL while the deletion runs.
CREATE TABLE tenancy_deletions (
    tenant_id  TEXT    NOT NULL PRIMARY KEY,
    record     TEXT    NOT NULL,
    started_us INTEGER NOT NULL,
    ended_us   INTEGER
) STRICT, WITHOUT ROWID;

-- Audit events are removed together with their tenant only.
DROP TRIGGER tenancy_audit_events_are_not_removed;
CREATE TRIGGER tenancy_audit_events_are_not_removed BEFORE DELETE ON tenancy_audit_events
WHEN NOT EXISTS (SELECT 1 FROM tenancy_deletions WHERE tenant_id = OLD.tenant_id AND ended_us IS NULL)
BEGIN SELECT RAISE(ABORT, 'audit events are never removed'); END;
