-- The notifications of billing, disputes, and when a subscription is looked at again, on PostgreSQL.

-- Notifications that are not delivered yet. Those of one tenant are delivered in the order of `seq`.
CREATE TABLE tenancy_billing_outbox (
    id         text NOT NULL PRIMARY KEY,
    tenant_id  text NOT NULL,
    seq        bigint NOT NULL,
    event      text,
    kind       text NOT NULL,
    created_us bigint NOT NULL,
    -- The next attempt, or the end of the lease of the node that delivers it.
    due_us     bigint NOT NULL,
    claims     bigint NOT NULL,
    failures   bigint NOT NULL,
    error      text,
    -- When it was given up; NULL if it was not.
    failed_us  bigint,
    UNIQUE (tenant_id, seq)
);

CREATE INDEX tenancy_billing_outbox_due ON tenancy_billing_outbox (due_us) WHERE failed_us IS NULL;

-- The disputes of a tenant's customers. The account is part of the id, as in the ids of customers.
CREATE TABLE tenancy_billing_disputes (
    id         text NOT NULL PRIMARY KEY,
    tenant_id  text NOT NULL,
    status     text NOT NULL,
    created_us bigint NOT NULL
);

CREATE INDEX tenancy_billing_disputes_of_tenant ON tenancy_billing_disputes (tenant_id);

-- When the grace period of a past-due subscription ends; NULL if nothing ends.
ALTER TABLE tenancy_subscriptions ADD COLUMN due_us bigint;

CREATE INDEX tenancy_subscriptions_due ON tenancy_subscriptions (due_us) WHERE due_us IS NOT NULL;
