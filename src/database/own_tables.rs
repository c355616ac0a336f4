//! [`OwnTables`]: where the library's own tables of tenants are, and the type of their tenant column.

use std::sync::Arc;

use tenancy_sql::TenantType;

use super::tenant_id::BoundTenant;
use crate::tenant::TenantId;

/// The tables `tenancy_gauges`, `tenancy_gauge_resources`, `tenancy_audit_events`, `tenancy_usage` and
/// `tenancy_usage_batches`, which contain rows of tenants.
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
