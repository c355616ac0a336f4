//! [`Pooled`]: a connection of a pool, which also holds its part of the connection limits.

use std::fmt;
use std::ops::{Deref, DerefMut};

use sqlx::Database;
use sqlx::pool::PoolConnection;

use super::limits::Permits;

/// A connection of a pool. Dropping it returns the connection to the pool.
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct Pooled<DB: Database> {
    conn: Option<PoolConnection<DB>>,
    permits: Option<Permits>,
}

impl<DB: Database> Pooled<DB> {
    /// A connection of the shared pool, which limits its connections itself.
    pub(crate) fn shared(conn: PoolConnection<DB>) -> Self {
        Self { conn: Some(conn), permits: None }
    }

    /// A connection of a tenant's database.
    pub(crate) fn of_tenant(conn: PoolConnection<DB>, permits: Permits) -> Self {
        Self { conn: Some(conn), permits: Some(permits) }
    }

    /// Closes the connection at once, without a message to the server.
    #[cfg(feature = "postgres")]
    pub(super) fn abort(mut self) {
        if let Some(conn) = self.conn.take() {
            drop(conn.detach());
        }
    }
}

impl<DB: Database> fmt::Debug for Pooled<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled").finish_non_exhaustive()
    }
}

impl<DB: Database> Deref for Pooled<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        self.conn.as_ref().expect("only the end takes the connection")
    }
}

impl<DB: Database> DerefMut for Pooled<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.conn.as_mut().expect("only the end takes the connection")
    }
}

impl<DB: Database> Drop for Pooled<DB> {
    fn drop(&mut self) {
        // Without permits, sqlx returns the connection in the same way.
        if let (Some(mut conn), Some(permits)) = (self.conn.take(), self.permits.take()) {
            // The permits are held until the connection is idle: whoever gets them finds an idle connection to close.
            sqlx_core::rt::spawn(async move {
                conn.return_to_pool().await;
                drop(permits);
            });
        }
    }
}
