//! [`Conn`]: a connection with its connection mode; [`TxMode`]: whether a transaction reads or writes.

use sqlx::pool::PoolConnection;

use super::connection_mode::ConnectionMode;

/// A connection, and the mode in which statements are sent on it.
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct Conn<'c, DB: sqlx::Database> {
    pub(crate) conn: &'c mut DB::Connection,
    pub(crate) connection_mode: ConnectionMode,
}

impl<'c, DB: sqlx::Database> Conn<'c, DB> {
    pub(crate) fn on(conn: &'c mut PoolConnection<DB>, connection_mode: ConnectionMode) -> Self {
        Self { conn, connection_mode }
    }

    /// The same connection, borrowed for one statement.
    pub(crate) fn reborrow(&mut self) -> Conn<'_, DB> {
        Conn { conn: &mut *self.conn, connection_mode: self.connection_mode }
    }
}

impl<DB: sqlx::Database> std::fmt::Debug for Conn<'_, DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("connection_mode", &self.connection_mode).finish_non_exhaustive()
    }
}

/// Whether a transaction reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub enum TxMode {
    Read,
    /// Several reads that see the database as of one moment.
    Snapshot,
    Write,
}
