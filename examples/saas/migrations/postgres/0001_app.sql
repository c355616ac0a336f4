-- Every key starts with `tenant_id`, so that rows of one tenant can neither reference nor conflict with rows of
-- another.
CREATE TABLE projects (
    tenant_id  uuid   NOT NULL,
    id         uuid   NOT NULL,
    name       text   NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_us bigint NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE orders (
    tenant_id    uuid   NOT NULL,
    id           uuid   NOT NULL,
    project_id   uuid   NOT NULL,
    title        text   NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    amount_cents bigint NOT NULL CHECK (amount_cents >= 0),
    status       text   NOT NULL CHECK (status IN ('open', 'paid')),
    created_us   bigint NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id)
);

CREATE INDEX orders_of_project ON orders (tenant_id, project_id);

-- Row-level security: if a query lacks the tenant predicate, the database still hides the rows of other tenants.
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE projects FORCE ROW LEVEL SECURITY;
CREATE POLICY tenancy_floor ON projects AS RESTRICTIVE
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
CREATE POLICY tenancy_own ON projects
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);

ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE orders FORCE ROW LEVEL SECURITY;
CREATE POLICY tenancy_floor ON orders AS RESTRICTIVE
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
CREATE POLICY tenancy_own ON orders
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
