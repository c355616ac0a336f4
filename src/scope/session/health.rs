//! [`Health`]: whether the database answers, and how many connections are in use.

use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::Connection;

use super::backend::Backend;
use super::db::TenantDb;
use crate::database::{ConnectionCount, database_error, measure_connections};
use crate::error::{ErrorKind, Result};

/// Whether the shared database of a [`TenantDb`] answers, and how many connections are in use.
///
/// It has no tenant's name and no address, so a probe may show it as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// How long the database took to answer, with the wait for a connection, in milliseconds; `None` if it did not.
    pub answered_in_ms: Option<u64>,
    /// Why it did not answer, as [`ErrorKind::code`]: `connection-limit` if all connections were in use.
    pub error: Option<&'static str>,
    /// The connections of the shared tables, which tenants with schemas use too; without that of the probe.
    pub shared: ConnectionCount,
    /// The connections to all databases of tenants together; `None` if there are none of those.
    pub databases: Option<ConnectionCount>,
}

impl Health {
    /// Whether the shared database answered in time. The databases of tenants are not asked.
    pub fn is_ready(&self) -> bool {
        self.error.is_none()
    }
}

impl<DB: Backend> TenantDb<DB> {
    /// Asks the shared database for a sign of life, and counts connections, for a readiness probe.
    ///
    /// It waits for `wait` at most. It takes a connection of the pool like a request, and no tenant's share of it. Whether
    /// the database isolates tenants is checked by [`build`](super::builder::TenantDbBuilder::build) and the doctor, and not
    /// here. With the feature `metrics` it sets the gauges `tenancy_connections_…`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use axum::Json;
    /// use axum::extract::State;
    /// use axum::http::StatusCode;
    /// use tenancy::TenantDb;
    /// use tenancy::scope::Health;
    ///
    /// async fn ready(State(db): State<TenantDb<sqlx::Postgres>>) -> (StatusCode, Json<Health>) {
    ///     let health = db.health(Duration::from_secs(1)).await;
    ///     let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    ///     (status, Json(health))
    /// }
    /// ```
    pub async fn health(&self, wait: Duration) -> Health {
        // Before the connection of this probe.
        let shared = self.0.shared.source.count();
        let start = Instant::now();
        let answered = sqlx_core::rt::timeout(wait, self.answer()).await;
        let milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let error = match answered {
            Ok(answered) => answered.err().map(|error| error.kind()),
            Err(_) if shared.in_use >= shared.max => Some(ErrorKind::ConnectionLimit),
            Err(_) => Some(ErrorKind::StoreUnavailable),
        };
        let databases = self.0.databases.as_ref().map(|databases| databases.count());
        measure_connections("shared", shared);
        if let Some(databases) = databases {
            measure_connections("databases", databases);
        }
        Health {
            answered_in_ms: error.is_none().then_some(milliseconds),
            error: error.map(ErrorKind::code),
            shared,
            databases,
        }
    }

    async fn answer(&self) -> Result<()> {
        let mut conn =
            self.0.shared.source.acquire(&self.0.shared.route).await.map_err(|e| database_error(&e))?;
        conn.conn(&self.0.shared.route).conn.ping().await.map_err(|e| database_error(&e))
    }
}
