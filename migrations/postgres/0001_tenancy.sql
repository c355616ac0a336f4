-- The tables of the `tenancy` crate on PostgreSQL. Tenant ids are stored as their canonical text.

CREATE TABLE tenancy_tenants (
    id            text   NOT NULL PRIMARY KEY CHECK (id <> ''),
    slug          text   NOT NULL UNIQUE CHECK (slug <> ''),
    name          text   NOT NULL,
    status        text   NOT NULL,
    status_set_by text   NOT NULL,
    plan          text   NOT NULL,
    placement     text   NOT NULL,
    version       bigint NOT NULL CHECK (version > 0)
);

CREATE TABLE tenancy_gauges (
    tenant_id text   NOT NULL CHECK (tenant_id <> ''),
    feature   text   NOT NULL,
    used      bigint NOT NULL CHECK (used >= 0),
    PRIMARY KEY (tenant_id, feature)
);

ALTER TABLE tenancy_gauges ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenancy_gauges FORCE ROW LEVEL SECURITY;
CREATE POLICY tenancy_floor ON tenancy_gauges AS RESTRICTIVE
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
CREATE POLICY tenancy_own ON tenancy_gauges
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));

CREATE TABLE tenancy_audit_events (
    tenant_id   text   NOT NULL CHECK (tenant_id <> ''),
    id          text   COLLATE "C" NOT NULL,
    occurred_us bigint NOT NULL,
    action      text   NOT NULL,
    event       bytea  NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- Audit events are only read and inserted: no policy allows UPDATE or DELETE.
ALTER TABLE tenancy_audit_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenancy_audit_events FORCE ROW LEVEL SECURITY;
CREATE POLICY tenancy_floor ON tenancy_audit_events AS RESTRICTIVE
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
CREATE POLICY tenancy_read ON tenancy_audit_events FOR SELECT
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
CREATE POLICY tenancy_add ON tenancy_audit_events FOR INSERT
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), ''));

CREATE TABLE tenancy_customers (
    id        text NOT NULL PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenancy_tenants (id)
);

CREATE TABLE tenancy_subscriptions (
    id        text NOT NULL PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenancy_tenants (id),
    customer  text NOT NULL,
    status    text NOT NULL,
    facts     text NOT NULL
);

CREATE INDEX tenancy_subscriptions_of_tenant ON tenancy_subscriptions (tenant_id, id);

-- The processed events. The account is '' for events of your own account.
CREATE TABLE tenancy_billing_events (
    account     text   NOT NULL,
    event       text   NOT NULL,
    received_us bigint NOT NULL,
    PRIMARY KEY (account, event)
);

CREATE TABLE tenancy_billing_quarantine (
    account      text   NOT NULL,
    event        text   NOT NULL,
    customer     text,
    subscription text,
    reason       text   NOT NULL,
    created_us   bigint NOT NULL,
    received_us  bigint NOT NULL,
    raw          bytea  NOT NULL,
    PRIMARY KEY (account, event)
);

CREATE INDEX tenancy_billing_quarantine_of_customer ON tenancy_billing_quarantine (customer);
CREATE INDEX tenancy_billing_quarantine_of_subscription ON tenancy_billing_quarantine (subscription);
