//! [`ConnectionLimits`]: how many connections the databases of tenants get; [`Permits`]: the part of one connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, ErrorKind, Result};

/// How many connections a [`TenantDb`](crate::TenantDb) opens, over all databases together.
///
/// ```
/// use std::time::Duration;
/// use tenancy::placement::ConnectionLimits;
///
/// // At most 100 connections, at most 5 of them to one tenant's database.
/// let limits = ConnectionLimits::new(100).per_database(5).wait(Duration::from_secs(3));
/// # let _ = limits;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ConnectionLimits {
    pub(super) total: u32,
    pub(super) per_database: u32,
    pub(super) wait: Duration,
    pub(super) idle: Duration,
}

impl ConnectionLimits {
    /// At most `total` connections, including the `max_connections` of the shared pool.
    ///
    /// The connections of the tenants' databases are what is left. A connection that is idle is closed when another
    /// database needs its place; one that is in use never is.
    pub fn new(total: u32) -> Self {
        Self { total, per_database: 4, wait: Duration::from_secs(30), idle: Duration::from_mins(1) }
    }

    /// Sets how many connections one database gets at most. The default is 4.
    pub fn per_database(self, per_database: u32) -> Self {
        Self { per_database, ..self }
    }

    /// Sets how long a statement waits for a connection. The default is 30 seconds.
    ///
    /// After that it fails with [`ErrorKind::TenantConnectionLimit`] if its own database uses all of its connections, else
    /// with [`ErrorKind::ConnectionLimit`].
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Sets after which time an idle connection is closed. The default is one minute.
    pub fn idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// The number of connections that are left beside those of the shared pool.
    pub(crate) fn beside(&self, shared: u32) -> Result<u32> {
        match self.total.checked_sub(shared) {
            Some(left @ 1..) if self.per_database > 0 => Ok(left),
            _ => Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the connection limits leave no connection for a tenant's database: {} in total, {shared} of them \
                     for the shared pool, {} for each database",
                    self.total, self.per_database
                ),
            )),
        }
    }
}

/// The part of the limits that one connection holds while it is in use.
pub(crate) struct Permits {
    _database: OwnedSemaphorePermit,
    _total: OwnedSemaphorePermit,
}

impl Permits {
    /// Waits for the part of the database first: a tenant that waits for its own connections takes none of the others'.
    pub(super) async fn acquire(database: &Arc<Semaphore>, total: &Arc<Semaphore>) -> Self {
        const OPEN: &str = "these semaphores are never closed";
        Self {
            _database: database.clone().acquire_owned().await.expect(OPEN),
            _total: total.clone().acquire_owned().await.expect(OPEN),
        }
    }
}
