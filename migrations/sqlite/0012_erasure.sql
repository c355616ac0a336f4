-- Audit events are removed together with their tenant only.
DROP TRIGGER tenancy_audit_events_are_not_removed;
CREATE TRIGGER tenancy_audit_events_are_not_removed BEFORE DELETE ON tenancy_audit_events
WHEN NOT EXISTS (SELECT 1 FROM tenancy_deletions WHERE tenant_id = OLD.tenant_id AND ended_us IS NULL)
BEGIN SELECT RAISE(ABORT, 'audit events are never removed'); END;
