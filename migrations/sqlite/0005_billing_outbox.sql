-- The notifications of billing, disputes, and when a subscription is looked at again, on SQLite.

-- Notifications that are not delivered yet. Those of one tenant are delivered in the order of `seq`.
CREATE TABLE tenancy_billing_outbox (
    id         TEXT NOT NULL PRIMARY KEY,
    tenant_id  TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    event      TEXT,
    kind       TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    -- The next attempt, or the end of the lease of the node that delivers it.
    due_us     INTEGER NOT NULL,
    claims     INTEGER NOT NULL,
    failures   INTEGER NOT NULL,
    error      TEXT,
    -- When it was given up; NULL if it was not.
    failed_us  INTEGER,
    UNIQUE (tenant_id, seq)
) STRICT;

CREATE INDEX tenancy_billing_outbox_due ON tenancy_billing_outbox (due_us) WHERE failed_us IS NULL;

-- The disputes of a tenant's customers. The account is part of the id, as in the ids of customers.
CREATE TABLE tenancy_billing_disputes (
    id         TEXT NOT NULL PRIMARY KEY,
    tenant_id  TEXT NOT NULL,
    status     TEXT NOT NULL,
    created_us INTEGER NOT NULL
) STRICT;

CREATE INDEX tenancy_billing_disputes_of_tenant ON tenancy_billing_disputes (tenant_id);

-- When the grace period of a past-due subscription ends; NULL if nothing ends.
ALTER TABLE tenancy_subscriptions ADD COLUMN due_us INTEGER;

CREATE INDEX tenancy_subscriptions_due ON tenancy_subscriptions (due_us) WHERE due_us IS NOT NULL;
