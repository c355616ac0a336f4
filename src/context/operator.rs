//! [`TenantContext::for_operator`]: a context for the command line, which reads what no plan decides about.

use std::sync::{Arc, OnceLock};

use super::{Actor, Inner, ResolvedBy, TenantContext};
use crate::plan::Entitlements;
use crate::tenant::Tenant;

impl TenantContext {
    /// Creates a context for an operator, whatever the tenant's status, plan and region.
    pub(crate) fn for_operator(tenant: Arc<Tenant>, actor: Actor, entitlements: Arc<Entitlements>) -> Self {
        let (resolved_by, request_id) = (ResolvedBy::Internal, OnceLock::new());
        Self(Arc::new(Inner { tenant, actor, entitlements, resolved_by, request_id }))
    }
}
