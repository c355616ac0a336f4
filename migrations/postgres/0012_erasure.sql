-- The owner of the tables deletes the audit events of a tenant together with the tenant. No other role can.
CREATE POLICY tenancy_erase ON tenancy_audit_events FOR DELETE TO CURRENT_USER
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
