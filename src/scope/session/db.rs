//! [`TenantDb`]: the data plane. Its builder is in `builder.rs`, its pool and settings in `core.rs`.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use super::backend::Backend;
use super::core::{Core, check_context};
#[cfg(feature = "postgres")]
use super::preflight::check_connection;
use super::scope::Scope;
use super::tx::Tx;
use crate::context::TenantContext;
use crate::database::TxMode;
use crate::error::Result;
#[cfg(feature = "postgres")]
use crate::isolation::doctor::{self, Report};

/// The data plane: a connection pool that is used for one tenant at a time.
///
/// It is cheap to clone, and runs no query itself. Open a [`scope`](Self::scope) for single statements, or
/// [`begin`](Self::begin) a transaction.
///
/// ```
/// use tenancy::{TenantContext, TenantDb, TenantScoped};
///
/// #[derive(TenantScoped, sqlx::FromRow)]
/// #[tenant(table = "orders")]
/// struct Order {
///     #[tenant(id)]
///     id: i64,
/// }
///
/// async fn count(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext) -> tenancy::Result<u64> {
///     Order::count(&db.scope(ctx)).await
/// }
/// ```
pub struct TenantDb<DB: Backend>(pub(in crate::scope) Arc<Core<DB>>);

impl<DB: Backend> TenantDb<DB> {
    /// A scope, on which single statements of one tenant run.
    pub fn scope<'a>(&'a self, ctx: &'a TenantContext) -> Scope<'a, DB> {
        Scope { core: &self.0, ctx }
    }

    /// Begins a transaction of one tenant.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if there is no connection,
    /// [`PlacementMissing`](crate::ErrorKind::PlacementMissing) if the tenant's schema or database does not exist,
    /// [`TenantConnectionLimit`](crate::ErrorKind::TenantConnectionLimit) if the tenant uses its whole share of the
    /// connections, [`ConnectionLimit`](crate::ErrorKind::ConnectionLimit) if all connections are in use,
    /// [`UnsupportedPlacement`](crate::ErrorKind::UnsupportedPlacement) if this `TenantDb` does not serve its placement,
    /// [`CrossTenantContext`](crate::ErrorKind::CrossTenantContext) for a context of a cross-tenant read.
    #[track_caller]
    pub fn begin<'a>(&'a self, ctx: &'a TenantContext) -> impl Future<Output = Result<Tx<'a, DB>>> + Send {
        let begun_at = Location::caller();
        async move {
            check_context(ctx)?;
            Tx::open(&self.0, ctx, begun_at).await
        }
    }

    /// Closes all connections, also those to the databases of tenants, and waits until those in use are returned.
    ///
    /// Call it at shutdown, after the server has answered its last request. Statements of this `TenantDb` and its clones
    /// fail afterwards with [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable). A pool that was passed to
    /// [`from_pool`](Self::from_pool) is closed too, with its clones.
    pub async fn close(&self) {
        self.0.shared.source.close().await;
        if let Some(databases) = &self.0.databases {
            databases.close().await;
        }
    }

    /// Begins a transaction of one tenant for the operator: no limit of the tenant's plan applies.
    pub(crate) async fn begin_unlimited<'a>(
        &'a self,
        ctx: &'a TenantContext,
        mode: TxMode,
    ) -> Result<Tx<'a, DB>> {
        check_context(ctx)?;
        Tx::open_unlimited(&self.0, ctx, mode).await
    }
}

#[cfg(feature = "postgres")]
impl TenantDb<sqlx::Postgres> {
    /// Runs the doctor's checks again, for a test or an operator. A readiness probe asks [`health`](Self::health).
    ///
    /// Each call opens a connection beside the pool, with the options and the hooks of the pool, and closes it afterwards. sqlx
    /// does not log the statements of that connection.
    ///
    /// The schemas of tenants are left out, as when the `TenantDb` is built: there can be thousands.
    /// [`doctor::examine_search_path`] examines one.
    ///
    /// The report leaves out the faults that were [accepted](super::builder::TenantDbBuilder::accept).
    ///
    /// # Errors
    /// As [`doctor::examine`].
    pub async fn doctor(&self) -> Result<Report> {
        let mut conn = check_connection(self.0.shared.source.pool()).await?;
        let report = doctor::examine_shared(&mut conn, &self.0.schema).await?;
        // Every result is read, so an error while closing does not matter.
        let _ = conn.close().await;
        Ok(report.accepting(&self.0.accepted))
    }
}

impl<DB: Backend> Clone for TenantDb<DB> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<DB: Backend> fmt::Debug for TenantDb<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantDb")
            .field("database", &DB::NAME)
            .field("enforcement", &self.0.shared.enforcement)
            .field("connection_mode", &self.0.shared.route.connection_mode)
            .field("audit", &self.0.audit)
            .finish_non_exhaustive()
    }
}
