-- The resources that gauges count by id, on PostgreSQL.

CREATE TABLE tenancy_gauge_resources (
    tenant_id text NOT NULL CHECK (tenant_id <> ''),
    feature   text NOT NULL,
    -- The application's id of what is counted.
    resource  text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, feature, resource)
);

ALTER TABLE tenancy_gauge_resources ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenancy_gauge_resources FORCE ROW LEVEL SECURITY;
CREATE POLICY tenancy_floor ON tenancy_gauge_resources AS RESTRICTIVE
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
CREATE POLICY tenancy_own ON tenancy_gauge_resources
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
