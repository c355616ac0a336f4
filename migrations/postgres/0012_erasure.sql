-- The owner of the tables deletes the audit events of a tenant together with the tenant, or when the tenant is moved. It says so by
-- a setting. No other role can, and no other statement of the owner.

CREATE POLICY tenancy_erase ON tenancy_audit_events FOR DELETE TO CURRENT_USER
    USING (tenant_id::text = nullif(current_setting('app.tenant_id', true), '') AND current_setting('app.tenancy_move', true) = 'on');
