//! [`Begin`]: what a transaction sets and checks at its begin.

use super::conn::TxMode;
use crate::tenant::TenantId;

/// What a transaction sets and checks at its begin.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "SQLite reads the mode only"))]
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct Begin<'a> {
    /// `None` for a transaction of the control plane.
    pub(crate) tenant: Option<&'a TenantId>,
    pub(crate) mode: TxMode,
    /// The database confirms that the transaction began with this message, and that its tenant is the given one.
    pub(crate) verify_tenant: bool,
    /// The database confirms that the schema of the route exists.
    pub(crate) verify_schema: bool,
}

impl Begin<'_> {
    /// A transaction of the control plane, on a pool that other code may use too.
    pub(crate) fn without_tenant(mode: TxMode) -> Self {
        Self { tenant: None, mode, verify_tenant: true, verify_schema: false }
    }
}
