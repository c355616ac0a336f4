//! [`Enforcement`]: what keeps tenants apart in the database.

/// What keeps the tenants of a [`TenantDb`](super::db::TenantDb) on PostgreSQL apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Enforcement {
    /// The tenant predicate in every statement, and row-level security (RLS) behind it.
    ///
    /// A read takes two round trips, a write three.
    #[default]
    PredicateAndRls,
    /// The tenant predicate alone, in one round trip. For tables without row-level security.
    ///
    /// A single statement does not set the tenant in the database, so a table with row-level security would look empty
    /// and reject every row. On a pool that other code shares, a statement still runs in a transaction.
    ///
    /// # Security
    /// Nothing then stops what the rewriter cannot see, such as a function of your own that reads tables. A
    /// [`Tx`](super::tx::Tx) still sets the tenant, because that costs no extra round trip.
    PredicateOnly,
}
