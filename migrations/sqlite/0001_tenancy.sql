-- The tables of the `tenancy` crate on SQLite. Tenant ids are stored as their canonical text.

CREATE TABLE tenancy_tenants (
    id            TEXT    NOT NULL PRIMARY KEY CHECK (id <> ''),
    slug          TEXT    NOT NULL UNIQUE CHECK (slug <> ''),
    name          TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    status_set_by TEXT    NOT NULL,
    plan          TEXT    NOT NULL,
    placement     TEXT    NOT NULL,
    version       INTEGER NOT NULL CHECK (version > 0)
) STRICT;

CREATE TABLE tenancy_gauges (
    tenant_id TEXT    NOT NULL CHECK (tenant_id <> ''),
    feature   TEXT    NOT NULL,
    used      INTEGER NOT NULL CHECK (used >= 0),
    PRIMARY KEY (tenant_id, feature)
) STRICT, WITHOUT ROWID;

CREATE TABLE tenancy_audit_events (
    tenant_id   TEXT    NOT NULL CHECK (tenant_id <> ''),
    id          TEXT    NOT NULL,
    occurred_us INTEGER NOT NULL,
    action      TEXT    NOT NULL,
    event       BLOB    NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tenancy_audit_events_are_not_changed BEFORE UPDATE ON tenancy_audit_events
BEGIN SELECT RAISE(ABORT, 'audit events are never changed'); END;

CREATE TRIGGER tenancy_audit_events_are_not_removed BEFORE DELETE ON tenancy_audit_events
BEGIN SELECT RAISE(ABORT, 'audit events are never removed'); END;

CREATE TABLE tenancy_customers (
    id        TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenancy_tenants (id)
) STRICT, WITHOUT ROWID;

CREATE TABLE tenancy_subscriptions (
    id        TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenancy_tenants (id),
    customer  TEXT NOT NULL,
    status    TEXT NOT NULL,
    facts     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tenancy_subscriptions_of_tenant ON tenancy_subscriptions (tenant_id, id);

-- The processed events. The account is '' for events of your own account.
CREATE TABLE tenancy_billing_events (
    account     TEXT    NOT NULL,
    event       TEXT    NOT NULL,
    received_us INTEGER NOT NULL,
    PRIMARY KEY (account, event)
) STRICT, WITHOUT ROWID;

CREATE TABLE tenancy_billing_quarantine (
    account      TEXT    NOT NULL,
    event        TEXT    NOT NULL,
    customer     TEXT,
    subscription TEXT,
    reason       TEXT    NOT NULL,
    created_us   INTEGER NOT NULL,
    received_us  INTEGER NOT NULL,
    raw          BLOB    NOT NULL,
    PRIMARY KEY (account, event)
) STRICT, WITHOUT ROWID;

CREATE INDEX tenancy_billing_quarantine_of_customer ON tenancy_billing_quarantine (customer);
CREATE INDEX tenancy_billing_quarantine_of_subscription ON tenancy_billing_quarantine (subscription);
