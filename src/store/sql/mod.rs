//! [`SqlStore`]: every storage trait of the crate, on PostgreSQL and SQLite. This file has the type, its connections
//! and the audit sink; each other trait has a file of its own.

#[cfg(feature = "api-keys")]
mod api_keys;
#[cfg(feature = "cli")]
mod audit_events;
#[cfg(feature = "stripe")]
mod billing;
#[cfg(feature = "custom-domains")]
mod domains;
#[cfg(feature = "quota")]
mod meter;
#[cfg(feature = "quota")]
mod meter_keys;
#[cfg(feature = "quota")]
mod meter_rows;
#[cfg(feature = "operations")]
mod moves;
#[cfg(feature = "stripe")]
mod outbox;
mod overrides;
mod places;
mod query;
#[cfg(feature = "operations")]
mod removal;
mod tenant_changes;
mod tenants;
#[cfg(feature = "stripe")]
mod usage_errors;

#[cfg(feature = "operations")]
pub(crate) use self::moves::{MoveRecord, went_on};

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Pool;
use tenancy_sql::TenantType;
use tokio::sync::OnceCell;

use crate::audit::{AuditEvent, AuditSink};
use crate::database::{
    Begin, ConnectionMode, Lease, OpenTransaction, OwnTables, Route, Source, TxMode, UseCount, database_error,
};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::Backend;
use crate::store::timing::{Timing, timing_setters};

/// Stores tenants, their domains and API keys, billing state, and audit events in PostgreSQL or SQLite.
///
/// The names of its tables start with `tenancy_`; [`migrate`](Self::migrate) creates them.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
/// use tenancy::store::SqlStore;
/// use tenancy::tenant::{NewTenant, Slug, TenantStore};
///
/// # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
/// let store = SqlStore::new(pool);
/// store.migrate().await?;
/// let acme = store.insert(NewTenant::new(Slug::parse("acme")?, "Acme", "free")).await?;
/// assert_eq!(store.by_id(acme.id()).await?, Some(acme));
/// # Ok(()) }
/// # }
/// ```
pub struct SqlStore<DB: Backend> {
    pool: Pool<DB>,
    connection_mode: ConnectionMode,
    /// The type that [`migrate`](Self::migrate) gives the tenant columns.
    tenant_type: Option<TenantType>,
    /// What the first check found.
    own_tables: Arc<OnceCell<OwnTables>>,
    timing: Timing,
}

impl<DB: Backend> Clone for SqlStore<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            connection_mode: self.connection_mode,
            tenant_type: self.tenant_type,
            own_tables: self.own_tables.clone(),
            timing: self.timing.clone(),
        }
    }
}

impl<DB: Backend> fmt::Debug for SqlStore<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("database", &DB::NAME).finish_non_exhaustive()
    }
}

impl<DB: Backend> SqlStore<DB> {
    /// A store that uses this pool.
    pub fn new(pool: Pool<DB>) -> Self {
        Self {
            pool,
            connection_mode: ConnectionMode::default(),
            tenant_type: None,
            own_tables: Arc::default(),
            timing: Timing::default(),
        }
    }

    timing_setters!();

    /// Acquires a connection for one read: in a transaction behind PgBouncer, else in autocommit mode.
    async fn reader(&self) -> Result<Lease<DB>> {
        self.lease(TxMode::Read).await
    }

    /// Acquires a connection for one write; as [`reader`](Self::reader).
    #[cfg(feature = "quota")]
    async fn writer(&self) -> Result<Lease<DB>> {
        self.lease(TxMode::Write).await
    }

    async fn lease(&self, mode: TxMode) -> Result<Lease<DB>> {
        if self.connection_mode == ConnectionMode::PgBouncer {
            return self.begin_tx(mode).await.map(Lease::Transaction);
        }
        let route = Route::of(self.connection_mode);
        let conn = self.source().acquire(&route).await.map_err(|e| database_error(&e))?;
        Ok(Lease::Autocommit(conn, route))
    }

    /// Begins a transaction without a tenant.
    async fn begin_tx(&self, mode: TxMode) -> Result<OpenTransaction<DB>> {
        let (route, begin) = (Route::of(self.connection_mode), Begin::without_tenant(mode));
        OpenTransaction::open(&self.source(), None, route, begin).await.map_err(|e| database_error(&e))
    }

    fn source(&self) -> Source<DB> {
        Source::Shared(self.pool.clone(), UseCount::default())
    }

    /// Creates or upgrades the crate's own tables. Several nodes may call it at the same time.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the database cannot be reached; [`ErrorKind::Database`] if it rejects
    /// a statement, or was migrated by a newer version of the crate.
    pub async fn migrate(&self) -> Result<()> {
        let mut conn = self.pool.acquire().await.map_err(|e| database_error(&e))?;
        DB::migrate(&mut conn).await.map_err(|e| match e {
            sqlx::migrate::MigrateError::Execute(e) => database_error(&e),
            e => Error::new(ErrorKind::Database, "the tables of `tenancy` cannot be upgraded")
                .with_source(e.to_string()),
        })?;
        self.set_tenant_type(&mut conn).await
    }

    /// Gives the tenant columns of the crate's own tables their type.
    pub(crate) async fn set_tenant_type(&self, conn: &mut DB::Connection) -> Result<()> {
        match self.tenant_type {
            Some(tenant_type) => DB::set_own_tenant_type(conn, tenant_type).await,
            None => Ok(()),
        }
    }

    /// Checks that the database matches the settings of the store. Call it at the start of a program.
    ///
    /// Otherwise the first event that the store writes is rejected with the same error.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the connection mode does not match the database, such as Citus that was not
    /// declared; [`ErrorKind::StoreUnavailable`] if the database cannot be reached.
    pub async fn check(&self) -> Result<()> {
        self.own_tables().await.map(|_| ())
    }

    async fn own_tables(&self) -> Result<&OwnTables> {
        self.own_tables
            .get_or_try_init(|| async {
                let mut conn = self.pool.acquire().await.map_err(|e| database_error(&e))?;
                DB::check_connection_mode(&mut conn, self.connection_mode).await?;
                let found = DB::own_tables(&mut conn).await?;
                if DB::HAS_SCHEMAS && found.schema.is_none() {
                    return Err(Error::new(
                        ErrorKind::Misconfigured,
                        "the tables of `tenancy` do not exist here; run `SqlStore::migrate` first",
                    ));
                }
                Ok(found)
            })
            .await
    }
}

#[cfg(feature = "postgres")]
impl SqlStore<sqlx::Postgres> {
    /// Notifies the `InvalidationListener` of every process of a change that the store did not write, such as
    /// [`Invalidation::Members`](crate::store::Invalidation::Members), after you committed it.
    ///
    /// The store notifies them of its own changes, in the transaction of the change.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the database cannot be reached.
    pub async fn publish(&self, change: &crate::store::Invalidation) -> Result<()> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        query::notify::<sqlx::Postgres>(tx.conn(), change).await?;
        tx.commit().await
    }

    /// What the pool connects to: the server, PgBouncer or Citus; [`ConnectionMode::Direct`] by default.
    ///
    /// [`migrate`](Self::migrate) needs a direct connection to the server: sqlx holds a session-level lock meanwhile.
    #[must_use]
    pub fn connection_mode(mut self, connection_mode: ConnectionMode) -> Self {
        self.connection_mode = connection_mode;
        self
    }

    /// The type that [`migrate`](Self::migrate) gives the column `tenant_id` of the library's tables
    /// of tenants; `text` if it is not set.
    ///
    /// On Citus use the type of your own tenant columns: tables that are distributed by columns of one type keep the
    /// rows of a tenant on one node, and a transaction that writes an order, a gauge and an event commits there.
    #[must_use]
    pub fn tenant_id_type(mut self, tenant_type: TenantType) -> Self {
        self.tenant_type = Some(tenant_type);
        self
    }
}

/// Writes audit events that belong to no change of rows, such as rejected requests. Events about a change are written
/// by [`Tx::record`](crate::scope::Tx::record), in the same transaction as the change.
#[async_trait]
impl<DB: Backend> AuditSink for SqlStore<DB> {
    async fn write(&self, events: &[AuditEvent]) -> Result<()> {
        let own_tables = self.own_tables().await?;
        let mut tx = self.begin_tx(TxMode::Write).await?;
        for event in events {
            query::record::<DB>(&mut tx, own_tables, event).await?;
        }
        tx.commit().await
    }
}
