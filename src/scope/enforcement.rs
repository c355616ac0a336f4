/// How many walls stand between the tenants of a [`TenantDb`](super::TenantDb) on PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Enforcement {
    /// The statement's own predicate, and row-level security behind it: a read takes two round trips, a write three.
    #[default]
    PredicateAndRls,
    /// The statement's own predicate alone, in one round trip. For tables without row-level security: a single
    /// statement does not tell the database its tenant, so tables that have it would show and take nothing. On a pool
    /// of somebody else's making a statement stands in a transaction all the same.
    ///
    /// # Security
    /// What the rewriter cannot see, a function of your own that reads tables for one, is then stopped by nothing.
    /// A [`Tx`](super::Tx) still tells the database its tenant, for it costs nothing there.
    PredicateOnly,
}

/// What stands between a [`TenantDb`](super::TenantDb) and PostgreSQL, and how statements are sent through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ConnectionMode {
    /// Nothing, or a pooler that gives a client one connection for its whole session. A transaction and its tenant
    /// are opened in one message.
    #[default]
    Direct,
    /// PgBouncer, or another pooler, that gives a client a connection for one transaction (`pool_mode = transaction`).
    ///
    /// Every statement stands in a transaction and is sent without a name, which costs one more round trip: a
    /// statement with a name, or outside of a transaction, can be answered with another client's there. Statements
    /// cannot be prepared ahead.
    PgBouncer,
    /// Citus. The tenant is told in a message of its own, since only then it reaches the workers, and the role needs
    /// `citus.propagate_set_commands = 'local'`.
    Citus,
}

impl ConnectionMode {
    /// Whether statements keep a name on the connection, to be found there again.
    pub(super) const fn names(self) -> bool {
        !matches!(self, Self::PgBouncer)
    }
}
