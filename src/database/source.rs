//! [`Source`]: where the connections of a tenant come from.

use std::sync::Arc;

use sqlx::Pool;

use super::databases::{Databases, TenantDatabase};
use super::driver::Driver;
use super::pooled::Pooled;

/// Where connections come from: the shared pool, or the database of one tenant.
pub(crate) enum Source<DB: Driver> {
    Shared(Pool<DB>),
    Tenant(Arc<Databases<DB>>, Arc<TenantDatabase<DB>>),
}

impl<DB: Driver> Clone for Source<DB> {
    fn clone(&self) -> Self {
        match self {
            Self::Shared(pool) => Self::Shared(pool.clone()),
            Self::Tenant(databases, database) => Self::Tenant(databases.clone(), database.clone()),
        }
    }
}

impl<DB: Driver> Source<DB> {
    pub(crate) async fn acquire(&self) -> sqlx::Result<Pooled<DB>> {
        match self {
            Self::Shared(pool) => pool.acquire().await.map(Pooled::shared),
            Self::Tenant(databases, database) => databases.acquire(database).await,
        }
    }

    /// The number of open connections.
    pub(super) fn size(&self) -> u32 {
        match self {
            Self::Shared(pool) => pool.size(),
            Self::Tenant(_, database) => database.size(),
        }
    }
}
