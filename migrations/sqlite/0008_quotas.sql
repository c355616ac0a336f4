-- What a tenant has beside its plan, and the counters of quotas, on SQLite.

-- Add-ons, seats, the billing day, a pinned version of the plan, and overrides, as JSON.
ALTER TABLE tenancy_tenants ADD COLUMN terms TEXT NOT NULL DEFAULT '{}';

-- What was used. A period has a counter of its own, so nothing is ever reset. The subject is '' for the whole tenant.
CREATE TABLE tenancy_quota_counters (
    tenant_id     TEXT   NOT NULL,
    feature       TEXT   NOT NULL,
    subject       TEXT   NOT NULL,
    period        TEXT   NOT NULL,
    used          INTEGER NOT NULL CHECK (used >= 0),
    -- How many holds are not resolved, also those that have expired: with 0, no hold needs to be added.
    holds         INTEGER NOT NULL DEFAULT 0,
    -- The highest warning level, in percent, that was reported.
    warned        INTEGER NOT NULL DEFAULT 0,
    -- When the limit was first exceeded; NULL before.
    over_since_us INTEGER,
    starts_us     INTEGER NOT NULL,
    -- NULL for a period without an end.
    ends_us       INTEGER,
    PRIMARY KEY (tenant_id, feature, subject, period)
) STRICT, WITHOUT ROWID;

CREATE INDEX tenancy_quota_counters_end ON tenancy_quota_counters (ends_us);

-- What is reserved. A hold counts while its state is `held` and it has not expired.
CREATE TABLE tenancy_quota_holds (
    tenant_id  TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    feature    TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    period     TEXT   NOT NULL,
    amount     INTEGER NOT NULL CHECK (amount > 0),
    expires_us INTEGER NOT NULL,
    -- `held`, `committed`, `released`, or `expired` after a later charge did not count it.
    state      TEXT   NOT NULL,
    PRIMARY KEY (tenant_id, id, feature, subject, period)
) STRICT, WITHOUT ROWID;

CREATE INDEX tenancy_quota_holds_open ON tenancy_quota_holds (tenant_id, feature, subject, period, expires_us)
    WHERE state = 'held';
CREATE INDEX tenancy_quota_holds_end ON tenancy_quota_holds (expires_us);

-- The charges with an idempotency key, each with its result.
CREATE TABLE tenancy_quota_keys (
    tenant_id  TEXT   NOT NULL,
    key        TEXT   NOT NULL,
    result     TEXT   NOT NULL,
    expires_us INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX tenancy_quota_keys_end ON tenancy_quota_keys (expires_us);
