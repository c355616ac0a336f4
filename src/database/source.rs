//! [`Source`]: where the connections of a tenant come from.

use std::pin::pin;
use std::sync::Arc;

use sqlx::Pool;

use super::databases::{Databases, TenantDatabase};
use super::driver::Driver;
use super::error::to_sqlx_error;
use super::metrics;
use super::pooled::Pooled;
use super::route::Route;
use super::use_count::{ConnectionCount, UseCount};
use super::waiting::Waiting;
use crate::error::{Error, ErrorKind};

/// Where connections come from: the shared pool, or the database of one tenant.
pub(crate) enum Source<DB: Driver> {
    Shared(Pool<DB>, UseCount),
    Tenant(Arc<Databases<DB>>, Arc<TenantDatabase<DB>>),
}

impl<DB: Driver> Clone for Source<DB> {
    fn clone(&self) -> Self {
        match self {
            Self::Shared(pool, in_use) => Self::Shared(pool.clone(), in_use.clone()),
            Self::Tenant(databases, database) => Self::Tenant(databases.clone(), database.clone()),
        }
    }
}

impl<DB: Driver> Source<DB> {
    /// Waits for a connection, for a statement on this route.
    pub(crate) async fn acquire(&self, route: &Route) -> sqlx::Result<Pooled<DB>> {
        match self {
            Self::Shared(pool, in_use) => {
                let waiting = Waiting::for_shared_pool(route);
                match metrics::waiting(waiting, || pool.num_idle() > 0, pin!(pool.acquire())).await {
                    Ok(conn) => Ok(Pooled::shared(conn, in_use.enter(), DB::DRAINS_FOR)),
                    Err(sqlx::Error::PoolTimedOut)
                        if in_use.get() >= pool.options().get_max_connections() =>
                    {
                        metrics::ran_out(waiting, ErrorKind::ConnectionLimit);
                        Err(to_sqlx_error(all_in_use(pool)))
                    }
                    Err(sqlx::Error::PoolTimedOut) => {
                        metrics::ran_out(waiting, ErrorKind::StoreUnavailable);
                        Err(sqlx::Error::PoolTimedOut)
                    }
                    Err(error) => Err(error),
                }
            }
            Self::Tenant(databases, database) => databases.acquire(database).await,
        }
    }

    /// For what a statement on this route waits.
    pub(crate) fn waiting(&self, route: &Route) -> Waiting {
        match self {
            Self::Shared(..) => Waiting::for_shared_pool(route),
            Self::Tenant(..) => Waiting::for_database(false),
        }
    }

    /// The pool of the connections.
    #[cfg(feature = "postgres")]
    pub(crate) fn pool(&self) -> &Pool<DB> {
        match self {
            Self::Shared(pool, _) => pool,
            Self::Tenant(_, database) => database.pool(),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Shared(pool, _) => pool.close().await,
            Self::Tenant(databases, _) => databases.close().await,
        }
    }

    /// Whether the server of an acquired connection checks that its client is still there.
    pub(super) fn checks_client(&self, route: &Route) -> bool {
        match self {
            Self::Shared(..) => route.checks_client,
            Self::Tenant(_, database) => database.checks_client(),
        }
    }

    /// How many connections there are.
    pub(crate) fn count(&self) -> ConnectionCount {
        match self {
            Self::Shared(pool, in_use) => {
                let max = pool.options().get_max_connections();
                // A connection counts for a moment longer than it is out of its pool.
                ConnectionCount { in_use: in_use.get().min(max), open: pool.size(), max }
            }
            Self::Tenant(databases, _) => databases.count(),
        }
    }

    /// The number of open connections.
    pub(super) fn size(&self) -> u32 {
        match self {
            Self::Shared(pool, _) => pool.size(),
            Self::Tenant(_, database) => database.size(),
        }
    }
}

fn all_in_use<DB: Driver>(pool: &Pool<DB>) -> Error {
    Error::new(
        ErrorKind::ConnectionLimit,
        format!(
            "all {} connections of the pool are in use, and none became free in time; limit the connections of each \
             tenant with `max_connections_per_tenant`, or open more",
            pool.options().get_max_connections()
        ),
    )
}
