-- What billing needs beyond the subscriptions, on PostgreSQL.

-- The plan that an operator granted. Billing never lowers it.
ALTER TABLE tenancy_tenants ADD COLUMN granted_plan text;

-- The tenant that an event names, if a subscription of that tenant keeps the event in the quarantine.
ALTER TABLE tenancy_billing_quarantine ADD COLUMN tenant_id text;

CREATE INDEX tenancy_billing_quarantine_of_tenant ON tenancy_billing_quarantine (tenant_id);

-- Since when the state of a subscription is not certain; NULL if it is.
ALTER TABLE tenancy_subscriptions ADD COLUMN unclear_us bigint;

CREATE INDEX tenancy_subscriptions_unclear ON tenancy_subscriptions (unclear_us) WHERE unclear_us IS NOT NULL;

-- Events whose processing failed, and how often. The account is '' for events of your own account.
CREATE TABLE tenancy_billing_failures (
    account   text NOT NULL,
    event     text NOT NULL,
    failures  bigint NOT NULL,
    failed_us bigint NOT NULL,
    PRIMARY KEY (account, event)
);
