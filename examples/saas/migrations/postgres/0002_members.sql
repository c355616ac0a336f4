-- The people of a tenant. An invited member holds a seat of the plan.
CREATE TABLE members (
    tenant_id  uuid   NOT NULL,
    id         uuid   NOT NULL,
    email      text   NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    created_us bigint NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email)
);

ALTER TABLE members ENABLE ROW LEVEL SECURITY;
ALTER TABLE members FORCE ROW LEVEL SECURITY;
CREATE POLICY tenancy_floor ON members AS RESTRICTIVE
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
CREATE POLICY tenancy_own ON members
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
