//! [`OpenTransaction`]: a connection inside a transaction whose `BEGIN` finished.

use sqlx_core::transaction::TransactionManager;

use super::begin::Begin;
use super::bulkhead::BulkheadPermit;
use super::conn::Conn;
use super::driver::Driver;
use super::error::{change_error, database_error};
use super::pooled::Pooled;
use super::route::Route;
use super::source::Source;
use crate::error::Result;
use crate::tenant::TenantId;

/// A connection inside a transaction whose `BEGIN` finished. Dropping it rolls back.
///
/// The control plane uses it too, without a tenant.
pub(crate) struct OpenTransaction<DB: Driver> {
    conn: Option<Pooled<DB>>,
    route: Route,
}

impl<DB: Driver> OpenTransaction<DB> {
    /// Opens a transaction. If the future is dropped before `BEGIN` returned, the connection does not go back to the
    /// pool.
    ///
    /// In sqlx 0.9.0 a `begin` that is dropped in flight (a timeout, a client that disconnected) leaves the
    /// connection in the pool inside the tenant's open transaction, and every later user of it reads that tenant's
    /// rows.
    ///
    /// The connection holds `share`, the part of the tenant's share, until it is idle again.
    pub(crate) async fn open(
        source: &Source<DB>,
        mut share: Option<BulkheadPermit>,
        mut route: Route,
        begin: Begin<'_>,
    ) -> sqlx::Result<Self> {
        // After a restart of the server every pooled connection is dead, so each of them may fail once.
        let mut retries = source.size();
        loop {
            let mut conn = source.acquire(&route).await?;
            conn.hold(share.take());
            route.checks_client = source.checks_client(&route);
            let mut opening = Opening(Some(conn));
            let conn = opening.0.as_mut().expect("the connection was just stored");
            match begin_on(conn, &route, begin).await {
                Ok(()) => return Ok(Self { conn: opening.0.take(), route }),
                Err(error) if retries > 0 && is_retryable(&error) => {
                    share = conn.release_share();
                    retries -= 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn conn(&mut self) -> Conn<'_, DB> {
        let conn = self.conn.as_mut().expect("only the end of the transaction takes the connection");
        conn.conn(&self.route)
    }

    /// Sets the tenant of the transaction, and the schema in which its statements run from now on.
    pub(crate) async fn switch(
        &mut self,
        tenant: &TenantId,
        route: Route,
        verify_schema: bool,
    ) -> sqlx::Result<()> {
        let left = std::mem::replace(&mut self.route, route);
        DB::switch(self.conn(), tenant, &left, verify_schema).await
    }

    pub(crate) async fn commit(mut self) -> Result<()> {
        DB::TransactionManager::commit(self.conn().conn).await.map_err(|e| change_error(&e, None))?;
        self.ended();
        Ok(())
    }

    pub(crate) async fn rollback(mut self) -> Result<()> {
        if self.is_lost() {
            // Without its connection the server rolls back.
            return Ok(());
        }
        DB::TransactionManager::rollback(self.conn().conn).await.map_err(|e| database_error(&e))?;
        self.ended();
        Ok(())
    }

    /// Whether the connection is closed at the end, because a result is too large to read.
    pub(crate) fn is_lost(&self) -> bool {
        self.conn.as_ref().is_some_and(Pooled::is_lost)
    }

    /// Returns the connection: the result of the last statement was received, and there is nothing to roll back.
    fn ended(&mut self) {
        if let Some(mut conn) = self.conn.take() {
            conn.settled();
        }
    }
}

async fn begin_on<DB: Driver>(conn: &mut Pooled<DB>, route: &Route, begin: Begin<'_>) -> sqlx::Result<()> {
    DB::limit(conn, &route.limits).await?;
    DB::begin(conn.conn(route), begin).await?;
    conn.settled();
    Ok(())
}

/// Whether `BEGIN` can be retried on another connection: this connection was dead, or inside a transaction already,
/// and no statement ran on it.
fn is_retryable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::BeginFailed => true,
        // 57P: the server ended the connection or shuts down. 25P02: other code left a failed transaction open.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code == "25P02")
        }
        _ => false,
    }
}

/// A connection whose `BEGIN` is in flight.
struct Opening<DB: Driver>(Option<Pooled<DB>>);

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
            DB::TransactionManager::start_rollback(&mut **conn);
        }
    }
}
