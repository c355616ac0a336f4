//! [`Pooled`]: a connection of a pool, which also holds its part of the connection limits.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Database;
use sqlx::pool::PoolConnection;

use super::bulkhead::BulkheadPermit;
use super::conn::Conn;
use super::limits::Permits;
use super::route::Route;
use super::statement_clock::StatementClock;
use super::use_count::InUse;

/// How often PostgreSQL checks during a statement whether its client is still there.
pub(super) const CLIENT_CHECK: Duration = Duration::from_secs(1);

/// A connection of a pool. Dropping it returns the connection to the pool.
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct Pooled<DB: Database> {
    conn: Option<PoolConnection<DB>>,
    held: Held,
    /// A statement was sent, and its result was not received to its end.
    in_flight: bool,
    /// A result was over the limit of rows, and its rest is too large to read.
    too_large: bool,
    /// How long to wait for the rest of the result of a dropped statement, before the connection is closed. `None`: for
    /// as long as it takes.
    drains_for: Option<Duration>,
    clock: Option<Arc<StatementClock>>,
    reset: Option<Reset<DB>>,
}

/// What the connection holds while it is in use.
#[derive(Default)]
struct Held {
    share: Option<BulkheadPermit>,
    database: Option<Permits>,
    in_use: Option<InUse>,
}

/// Takes the settings of a tenant off a connection; `None` if that failed, and the connection was closed.
type Reset<DB> =
    Box<dyn FnOnce(PoolConnection<DB>) -> BoxFuture<'static, Option<PoolConnection<DB>>> + Send + Sync>;

impl<DB: Database> Pooled<DB> {
    /// A connection of the shared pool, which limits its connections itself.
    pub(super) fn shared(conn: PoolConnection<DB>, in_use: InUse, drains_for: Option<Duration>) -> Self {
        Self::new(conn, Held { in_use: Some(in_use), ..Held::default() }, drains_for)
    }

    /// A connection of a tenant's database.
    pub(super) fn of_tenant(
        conn: PoolConnection<DB>,
        permits: Permits,
        drains_for: Option<Duration>,
    ) -> Self {
        Self::new(conn, Held { database: Some(permits), ..Held::default() }, drains_for)
    }

    fn new(conn: PoolConnection<DB>, held: Held, drains_for: Option<Duration>) -> Self {
        Self {
            conn: Some(conn),
            held,
            in_flight: false,
            too_large: false,
            drains_for,
            clock: None,
            reset: None,
        }
    }

    /// The connection, for one statement on this route.
    pub(crate) fn conn<'c>(&'c mut self, route: &'c Route) -> Conn<'c, DB> {
        self.in_flight = true;
        let conn = self.conn.as_mut().expect("only the end takes the connection");
        Conn {
            conn,
            route,
            in_flight: &mut self.in_flight,
            too_large: &mut self.too_large,
            max_rows: route.limits.max_rows(),
            clock: self.clock.as_ref(),
        }
    }

    /// Whether the connection is closed when it is dropped, because a result is too large to read.
    pub(super) fn is_lost(&self) -> bool {
        self.too_large && self.drains_for.is_some()
    }

    /// The result of the last statement was received to its end.
    pub(super) fn settled(&mut self) {
        self.in_flight = false;
    }

    /// Holds a part of the tenant's share until the connection is idle again.
    pub(crate) fn hold(&mut self, share: Option<BulkheadPermit>) {
        self.held.share = share;
    }

    /// Takes the part of the tenant's share back, for another connection.
    pub(super) fn release_share(&mut self) -> Option<BulkheadPermit> {
        self.held.share.take()
    }

    /// Sets what has to be undone before the connection is used by another tenant.
    #[cfg(feature = "sqlite")]
    pub(super) fn limit(&mut self, clock: Option<Arc<StatementClock>>, reset: Reset<DB>) {
        self.clock = clock;
        self.reset = Some(reset);
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
        let Some(mut conn) = self.conn.take() else { return };
        // The permits are held until the connection is idle: whoever gets them finds an idle connection.
        let held = std::mem::take(&mut self.held);
        if let Some(reset) = self.reset.take() {
            sqlx_core::rt::spawn(async move {
                if let Some(mut conn) = reset(conn).await {
                    conn.return_to_pool().await;
                }
                drop(held);
            });
            return;
        }
        let drains_for = self.drains_for.filter(|_| self.in_flight);
        if self.is_lost() {
            drop(conn.detach());
            sqlx_core::rt::spawn(end_on_the_server(held));
            return;
        }
        // The connection leaves `conn` here, and not when the task first runs, which it may never do.
        let returned = conn.return_to_pool();
        sqlx_core::rt::spawn(async move {
            let Some(limit) = drains_for else {
                returned.await;
                return drop(held);
            };
            if sqlx_core::rt::timeout(limit, returned).await.is_err() {
                end_on_the_server(held).await;
            }
        });
    }
}

/// Waits until the server has ended the statement of a closed connection. A tenant whose share is limited gets this part
/// of it back only then; the pool opens another connection at once.
async fn end_on_the_server(mut held: Held) {
    held.in_use = None;
    if held.share.is_some() || held.database.is_some() {
        sqlx_core::rt::sleep(2 * CLIENT_CHECK).await;
    }
}
