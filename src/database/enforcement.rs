//! [`Enforcement`]: how the database isolates tenants.

/// How a [`TenantDb`](crate::TenantDb) on PostgreSQL isolates tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Enforcement {
    /// The tenant predicate in every statement, and row-level security (RLS) in the database.
    ///
    /// A read takes two round trips, a write three.
    #[default]
    PredicateAndRls,
    /// The tenant predicate only, in one round trip. For tables without row-level security.
    ///
    /// A single statement does not set the tenant in the database, so a table with row-level security would look
    /// empty and reject every row. On a pool that other code shares, a statement still runs in a transaction.
    ///
    /// # Security
    /// Code that the rewriter cannot see, such as a function of your own that reads tables, can then read the rows of
    /// every tenant. A [`Tx`](crate::scope::Tx) still sets the tenant, because that costs no extra round trip.
    PredicateOnly,
}
