//! [`Waiting`]: for what a statement waits, as the labels of its metrics.

use super::route::Route;

/// For what a statement waits.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "only metrics have labels"))]
pub(crate) struct Waiting {
    /// Where the rows of the tenant are.
    pub(super) placement: &'static str,
    /// Which limit makes the statement wait: that of the pool, or that of the tenant.
    pub(super) limit: &'static str,
}

impl Waiting {
    /// For a connection of the pool of the shared tables, which tenants with schemas use too.
    pub(crate) fn for_shared_pool(route: &Route) -> Self {
        Self { placement: if route.schema.is_some() { "schema" } else { "shared" }, limit: "pool" }
    }

    /// For a connection to a tenant's database: for one of its own, or for one of those of all databases.
    pub(super) fn for_database(is_own_limit: bool) -> Self {
        Self { placement: "database", limit: if is_own_limit { "tenant" } else { "pool" } }
    }

    /// For a part of the tenant's share of the connections.
    pub(crate) fn for_share(self) -> Self {
        Self { limit: "tenant", ..self }
    }
}
