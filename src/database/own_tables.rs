//! [`OwnTables`]: where the library's own tables of tenants are, and the type of their tenant column.

use std::sync::Arc;

use tenancy_sql::TenantType;

use super::tenant_id::BoundTenant;
use crate::tenant::TenantId;

/// The tables with rows of tenants, each with the privileges that the role of the application needs on it, and no more.
///
/// A transaction of a tenant writes them beside its own tables. All other tables of the library are the control plane's.
pub(crate) const OWN_GRANTS: [(&str, &[&str]); 5] = [
    ("tenancy_audit_events", &["SELECT", "INSERT"]),
    ("tenancy_gauge_resources", &["SELECT", "INSERT", "DELETE"]),
    ("tenancy_gauges", &["SELECT", "INSERT", "UPDATE"]),
    ("tenancy_usage", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("tenancy_usage_batches", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
];

/// The privileges that the role of the application needs on a table of tenants. `None` for any other table.
pub(crate) fn own_grants(table: &str) -> Option<&'static [&'static str]> {
    OWN_GRANTS.iter().find(|(name, _)| *name == table).map(|(_, privileges)| *privileges)
}

/// The tables that belong to the operator, not to tenants.
pub(crate) const CONTROL_PLANE: [&str; 23] = [
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
    "tenancy_deletions",
    "tenancy_moves",
    "tenancy_fences",
];

/// The tables of [`OWN_GRANTS`].
#[derive(Debug, Clone)]
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct OwnTables {
    /// Their schema, quoted where needed. It is `None` if there are none, or if the database has no schemas.
    pub(crate) schema: Option<Arc<str>>,
    /// The type of their column `tenant_id`.
    pub(crate) tenant_type: TenantType,
}

impl Default for OwnTables {
    fn default() -> Self {
        Self { schema: None, tenant_type: TenantType::Text }
    }
}

impl OwnTables {
    /// The tenant id with the type of their column.
    pub(crate) fn bound(&self, tenant: &TenantId) -> BoundTenant {
        BoundTenant { id: tenant.clone(), column: Some(self.tenant_type) }
    }
}
