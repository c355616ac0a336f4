-- Why an operator suspended a tenant, on PostgreSQL.

-- JSON: the reason, the message for users, the status before, and the time. NULL if there is no reason.
ALTER TABLE tenancy_tenants ADD COLUMN suspension text;
