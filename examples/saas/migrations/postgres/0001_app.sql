-- Every key starts with the tenant, so that one tenant's rows can neither refer to another's nor collide with them.
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

-- The second wall: what the queries should not have asked, the database refuses.
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
