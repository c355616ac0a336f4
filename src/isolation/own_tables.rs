//! The names of this crate's own tables. Their migrations create their policies.

/// The prefix of their names.
pub(super) const PREFIX: &str = "tenancy_";

/// The table of audit events.
pub(super) const AUDIT_EVENTS: &str = "tenancy_audit_events";

/// The tables that belong to the operator, not to tenants.
pub(super) const CONTROL_PLANE: [&str; 20] = [
    "tenancy_tenants",
    "tenancy_slugs",
    "tenancy_domains",
    "tenancy_domain_claims",
    "tenancy_api_keys",
    "tenancy_customers",
    "tenancy_subscriptions",
    "tenancy_billing_events",
    "tenancy_billing_quarantine",
    "tenancy_billing_failures",
    "tenancy_billing_outbox",
    "tenancy_billing_disputes",
    "tenancy_checkouts",
    "tenancy_usage_errors",
    "tenancy_quota_counters",
    "tenancy_quota_holds",
    "tenancy_quota_keys",
    "tenancy_provisioning",
    "tenancy_tenant_migrations",
    "tenancy_ready_places",
];
