//! [`ConnectionMode`]: whether a connection pooler or Citus is between the application and PostgreSQL.

/// Whether a connection pooler or Citus is between a [`TenantDb`](crate::TenantDb) and PostgreSQL.
///
/// The mode decides how statements are sent.
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
    /// Every statement runs in a transaction and is sent unnamed, which costs one more round trip. A named statement,
    /// or a statement outside a transaction, could return the result of another client's statement. `prepare` and
    /// `describe` return an error.
    PgBouncer,
    /// Citus. A separate message sets the tenant, because Citus propagates the setting to its workers only then.
    ///
    /// The role needs `citus.propagate_set_commands = 'local'`.
    Citus,
}

impl ConnectionMode {
    /// Whether prepared statements are named, so that the next execution on the connection can reuse them.
    pub(crate) const fn uses_named_statements(self) -> bool {
        !matches!(self, Self::PgBouncer)
    }
}
