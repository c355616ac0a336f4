-- The resources that gauges count by id, on SQLite.

CREATE TABLE tenancy_gauge_resources (
    tenant_id TEXT NOT NULL CHECK (tenant_id <> ''),
    feature   TEXT NOT NULL,
    -- The application's id of what is counted.
    resource  TEXT NOT NULL,
    PRIMARY KEY (tenant_id, feature, resource)
) STRICT, WITHOUT ROWID;
