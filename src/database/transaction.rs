//! [`OpenTransaction`]: a connection inside a transaction whose `BEGIN` finished.

use sqlx::Pool;
use sqlx::pool::PoolConnection;
use sqlx_core::transaction::TransactionManager;

use super::conn::{Conn, TxMode};
use super::connection_mode::ConnectionMode;
use super::driver::Driver;
use super::error::{change_error, database_error};
use crate::error::Result;
use crate::tenant::TenantId;

/// A connection inside a transaction that was seen to begin.
///
/// The control plane uses it too, without a tenant.
pub(crate) struct OpenTransaction<DB: Driver> {
    conn: Option<PoolConnection<DB>>,
    connection_mode: ConnectionMode,
}

impl<DB: Driver> OpenTransaction<DB> {
    /// Opens a transaction on a connection that nobody else can meet before its `BEGIN` has finished.
    ///
    /// In sqlx 0.9.0 a `begin` that is dropped in flight (a timeout, a client that went away) leaves the connection
    /// in the pool inside the tenant's open transaction, and every later user of it reads that tenant's rows. So the
    /// connection is given up unless the end of `BEGIN` was seen.
    pub(crate) async fn open(
        pool: &Pool<DB>,
        connection_mode: ConnectionMode,
        tenant: Option<&TenantId>,
        mode: TxMode,
        verify_tenant: bool,
    ) -> sqlx::Result<Self> {
        // A server that was started anew leaves connections in the pool that it knows nothing of.
        let mut dead = pool.size();
        loop {
            let conn = pool.acquire().await?;
            let mut opening = Opening(Some(conn));
            let conn = opening.0.as_mut().expect("it was just put there");
            match DB::begin(Conn::on(conn, connection_mode), tenant, mode, verify_tenant).await {
                Ok(()) => return Ok(Self { conn: opening.0.take(), connection_mode }),
                Err(error) if dead > 0 && is_unfit(&error) => dead -= 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn conn(&mut self) -> Conn<'_, DB> {
        let conn = self.conn.as_mut().expect("only the end of the transaction takes the connection");
        Conn::on(conn, self.connection_mode)
    }

    pub(crate) async fn commit(mut self) -> Result<()> {
        DB::TransactionManager::commit(self.conn().conn).await.map_err(|e| change_error(&e))?;
        self.conn = None;
        Ok(())
    }

    pub(crate) async fn rollback(mut self) -> Result<()> {
        DB::TransactionManager::rollback(self.conn().conn).await.map_err(|e| database_error(&e))?;
        self.conn = None;
        Ok(())
    }
}

/// Whether another connection may do: this one had ended before it was asked, or was inside a transaction already, and
/// nothing has happened on it.
fn is_unfit(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::BeginFailed => true,
        // The server's last words: it was told to end the connection, or all of them. Or somebody left a transaction
        // behind in which a statement had failed.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code == "25P02")
        }
        _ => false,
    }
}

/// A connection whose `BEGIN` is in flight.
struct Opening<DB: Driver>(Option<PoolConnection<DB>>);

impl<DB: Driver> Drop for Opening<DB> {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            DB::discard(conn);
        }
    }
}

impl<DB: Driver> Drop for OpenTransaction<DB> {
    fn drop(&mut self) {
        if let Some(conn) = &mut self.conn {
            DB::TransactionManager::start_rollback(conn);
        }
    }
}
