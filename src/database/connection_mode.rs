//! [`ConnectionMode`]: what is between the program and PostgreSQL.

/// What is between a [`TenantDb`](crate::TenantDb) and PostgreSQL, and how statements are sent through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ConnectionMode {
    /// No pooler, or a pooler that assigns a client one server connection for its whole session.
    ///
    /// One message opens a transaction and sets its tenant.
    #[default]
    Direct,
    /// PgBouncer or another pooler that assigns a server connection for one transaction (`pool_mode = transaction`).
    ///
    /// Every statement runs in a transaction and is sent unnamed, which costs one more round trip. A named statement, or
    /// one outside a transaction, could be answered with another client's statement. Statements cannot be prepared ahead.
    PgBouncer,
    /// Citus. The tenant is set in a message of its own, because only then does it reach the workers.
    ///
    /// The role needs `citus.propagate_set_commands = 'local'`.
    Citus,
}

impl ConnectionMode {
    /// Whether a statement keeps a name on the connection, so that the next execution finds it there.
    pub(crate) const fn names(self) -> bool {
        !matches!(self, Self::PgBouncer)
    }
}
