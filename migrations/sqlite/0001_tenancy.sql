-- The tables of the `tenancy` crate on SQLite. Tenant ids are kept as their canonical text.

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
