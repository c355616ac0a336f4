//! [`TenantDb`], its builder, and [`Scope`].

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use sqlx::Pool;
use sqlx::pool::PoolOptions;
use tenancy_sql::{Schema, TenantType};

use super::backend::{Backend, BoundTenant, Conn, TxMode, agreed_type, change_error, database_error, sealed};
use super::dynamic::RewriteCache;
use super::enforcement::{ConnectionMode, Enforcement};
use super::executor::{Fetch, TenantExecutor};
use super::tx::{OpenTransaction, Tx};
use crate::audit::{AuditPolicy, AuditSink};
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "postgres")]
use crate::isolation::doctor::{self, Check, Report};
use crate::tenant::{Placement, Tenant, TenantId};

/// The data plane: owns the connections and lends them to one tenant at a time.
///
/// Cheap to clone. It runs no query itself: open a [`scope`](Self::scope) for single statements, or
/// [`begin`](Self::begin) a transaction.
pub struct TenantDb<DB: Backend>(pub(super) Arc<Inner<DB>>);

pub(super) struct Inner<DB: Backend> {
    pub(super) pool: Pool<DB>,
    /// Whether nobody else has the pool.
    owned: bool,
    enforcement: Enforcement,
    pub(super) connection_mode: ConnectionMode,
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "nobody is asked"))]
    schema: Schema,
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "nobody is asked"))]
    accepted: DB::Accepted,
    pub(super) audit: AuditPolicy,
    pub(super) copies: Vec<Arc<dyn AuditSink>>,
    /// The type of the tenant columns.
    tenant_type: Option<TenantType>,
    #[cfg_attr(not(feature = "dynamic"), expect(dead_code, reason = "nothing is rewritten at run time"))]
    pub(super) rewrites: RewriteCache,
}

impl<DB: Backend> Inner<DB> {
    pub(super) async fn open(
        &self,
        tenant: Option<&TenantId>,
        mode: TxMode,
    ) -> sqlx::Result<OpenTransaction<DB>> {
        // Where nobody else has the pool and nothing stands before the database, nothing can have been left behind.
        let verify_tenant = !(self.owned && self.connection_mode == ConnectionMode::Direct);
        OpenTransaction::open(&self.pool, self.connection_mode, tenant, mode, verify_tenant).await
    }

    /// The tenant as statements bind it.
    pub(super) fn bound(&self, ctx: &TenantContext) -> BoundTenant {
        BoundTenant { id: ctx.tenant_id().clone(), column: self.tenant_type }
    }

    /// Whether a statement by itself needs no transaction; `plain`: it is one, and reaches no table of the library.
    pub(super) fn autocommit(&self, writes: bool, plain: bool) -> bool {
        if DB::HAS_RLS {
            // The library's own tables have row-level security, whatever the user's have. And whoever shares the pool
            // may have left a transaction open, which would swallow a change.
            self.owned
                && plain
                && self.enforcement == Enforcement::PredicateOnly
                && self.connection_mode != ConnectionMode::PgBouncer
        } else {
            !writes
        }
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
            .field("enforcement", &self.0.enforcement)
            .field("connection_mode", &self.0.connection_mode)
            .field("audit", &self.0.audit)
            .finish_non_exhaustive()
    }
}

/// Puts a [`TenantDb`] together.
#[must_use = "call `build().await`"]
pub struct TenantDbBuilder<DB: Backend> {
    source: PoolSource<DB>,
    enforcement: Enforcement,
    connection_mode: ConnectionMode,
    audit: AuditPolicy,
    copies: Vec<Arc<dyn AuditSink>>,
    schema: Schema,
    accepted: DB::Accepted,
}

enum PoolSource<DB: Backend> {
    Url(PoolOptions<DB>, String),
    Pool(Pool<DB>),
}

impl<DB: Backend> fmt::Debug for TenantDbBuilder<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL can hold a password.
        f.debug_struct("TenantDbBuilder").field("database", &DB::NAME).finish_non_exhaustive()
    }
}

impl<DB: Backend> TenantDbBuilder<DB> {
    /// Whether changes must be recorded; [`AuditPolicy::Optional`] if not said.
    pub fn audit(mut self, policy: AuditPolicy) -> Self {
        self.audit = policy;
        self
    }

    /// Also sends each recorded event to `sink`, after its transaction has committed.
    ///
    /// The copy is best effort: what counts is the row that was written in the transaction.
    pub fn mirror_audit_to(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.copies.push(sink);
        self
    }

    /// What is known of the tables.
    ///
    /// Without it every table is owned by tenants, by a column `tenant_id`, and functions in SQL of your own are those
    /// of the database that are known to read no table.
    ///
    /// Its `type` is how every statement binds the tenant's id: `uuid`, `bigint` or `text`. On SQLite a column of that type
    /// is BLOB (the 16 bytes of the UUID), INTEGER or TEXT (a UUID in lower case with hyphens). Where no type is declared, it
    /// is the type of the tenant columns that [`build`](Self::build) finds; for BLOB and INTEGER on SQLite, and where no
    /// table is found, the kind of each id.
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = schema;
        self
    }

    /// Opens the connections, and looks whether the database is what it was said to be.
    ///
    /// On PostgreSQL the [`doctor`](crate::isolation) examines it as well, so migrate before: a table that comes later
    /// is not seen. What it warns of is logged.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the database cannot be reached, [`ErrorKind::Misconfigured`] if the
    /// URL does not read, if the tenant columns have another type than the [`schema`](Self::schema) declares, or several
    /// types, or on PostgreSQL if the declared enforcement or connection mode does not fit the database,
    /// or if the doctor finds a fault that was not accepted.
    pub async fn build(self) -> Result<TenantDb<DB>> {
        let owned = matches!(self.source, PoolSource::Url(..));
        let pool = match self.source {
            PoolSource::Pool(pool) => pool,
            PoolSource::Url(options, url) => {
                DB::connect(options, &url, self.connection_mode).await.map_err(|e| match e {
                    sqlx::Error::Configuration(cause) => {
                        Error::new(ErrorKind::Misconfigured, "the database URL does not read")
                            .with_source(cause)
                    }
                    e => database_error(&e),
                })?
            }
        };
        DB::preflight(&pool, self.enforcement, self.connection_mode, &self.schema, &self.accepted).await?;
        let columns = DB::tenant_columns(&pool, &self.schema).await?;
        let tenant_type = agreed_type(self.schema.tenant_type(), &columns)?;
        Ok(TenantDb(Arc::new(Inner {
            pool,
            owned,
            enforcement: self.enforcement,
            connection_mode: self.connection_mode,
            audit: self.audit,
            copies: self.copies,
            tenant_type,
            rewrites: RewriteCache::new(&self.schema),
            schema: self.schema,
            accepted: self.accepted,
        })))
    }
}

#[cfg(feature = "postgres")]
impl TenantDbBuilder<sqlx::Postgres> {
    /// How many walls stand between tenants; [`Enforcement::PredicateAndRls`] if not said.
    pub fn enforcement(mut self, enforcement: Enforcement) -> Self {
        self.enforcement = enforcement;
        self
    }

    /// Takes a fault of the database as it is: [`build`](Self::build) fails on every other one that the
    /// [`doctor`](crate::isolation::doctor) finds.
    pub fn accept(mut self, check: Check) -> Self {
        self.accepted.push(check);
        self
    }

    /// What stands between the program and the database; [`ConnectionMode::Direct`] if not said.
    pub fn connection_mode(mut self, connection_mode: ConnectionMode) -> Self {
        self.connection_mode = connection_mode;
        self
    }
}

#[cfg(feature = "postgres")]
impl TenantDb<sqlx::Postgres> {
    /// A data plane on PostgreSQL, with a pool of its own that no other code can reach.
    ///
    /// In place of sqlx's question at every use whether a connection is alive, one that lay idle for ten seconds is
    /// asked, and a `BEGIN` on one that is gone is tried on another. `before_acquire` and `test_before_acquire` of the
    /// options are set for that.
    pub fn postgres(
        options: PoolOptions<sqlx::Postgres>,
        url: impl Into<String>,
    ) -> TenantDbBuilder<sqlx::Postgres> {
        TenantDbBuilder::new(PoolSource::Url(options, url.into()))
    }
}

#[cfg(feature = "postgres")]
impl TenantDb<sqlx::Postgres> {
    /// Examines the database once more, through the pool: for a readiness probe, or a test.
    ///
    /// What was [accepted](TenantDbBuilder::accept) is left out of the report.
    ///
    /// # Errors
    /// As [`doctor::examine`].
    pub async fn doctor(&self) -> Result<Report> {
        let mut conn = self.0.pool.acquire().await.map_err(|e| database_error(&e))?;
        Ok(doctor::examine(&mut conn, &self.0.schema).await?.accepting(&self.0.accepted))
    }
}

#[cfg(feature = "sqlite")]
impl TenantDb<sqlx::Sqlite> {
    /// A data plane on SQLite, with a pool of its own that no other code can reach.
    pub fn sqlite(
        options: PoolOptions<sqlx::Sqlite>,
        url: impl Into<String>,
    ) -> TenantDbBuilder<sqlx::Sqlite> {
        TenantDbBuilder::new(PoolSource::Url(options, url.into()))
    }
}

impl<DB: Backend> TenantDbBuilder<DB> {
    fn new(source: PoolSource<DB>) -> Self {
        Self {
            source,
            enforcement: Enforcement::default(),
            connection_mode: ConnectionMode::default(),
            audit: AuditPolicy::default(),
            copies: Vec::new(),
            schema: Schema::new("tenant_id").expect("`tenant_id` is a plain name"),
            accepted: DB::Accepted::default(),
        }
    }
}

impl<DB: Backend> TenantDb<DB> {
    /// A data plane on a pool that exists.
    ///
    /// # Security
    /// Whoever keeps a clone of the pool can run SQL that no scope has seen. Give the pool away, or take
    /// `TenantDb::postgres` or `TenantDb::sqlite`, which make one that nobody else has.
    ///
    /// A connection that they left inside a transaction, as a `begin` of sqlx does that is cancelled, is noticed where a
    /// transaction begins. A single statement under `Enforcement::PredicateOnly` begins none: it runs inside of theirs, and what
    /// it wrote is lost with it.
    pub fn from_pool(pool: Pool<DB>) -> TenantDbBuilder<DB> {
        TenantDbBuilder::new(PoolSource::Pool(pool))
    }

    /// Single statements of one tenant.
    pub fn scope<'a>(&'a self, ctx: &'a TenantContext) -> Scope<'a, DB> {
        Scope { db: &self.0, ctx }
    }

    /// A transaction of one tenant.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if there is no connection, [`ErrorKind::UnsupportedPlacement`] if the
    /// tenant's rows are not in the shared tables.
    #[track_caller]
    pub fn begin<'a>(&'a self, ctx: &'a TenantContext) -> impl Future<Output = Result<Tx<'a, DB>>> + Send {
        let begun_at = Location::caller();
        async move {
            admit(ctx)?;
            Tx::open(&self.0, ctx, begun_at).await
        }
    }
}

/// Whether a context opens anything here by itself.
pub(super) fn admit(ctx: &TenantContext) -> Result<()> {
    ctx.not_lent()?;
    shared_placement(ctx.tenant())
}

pub(super) fn shared_placement(tenant: &Tenant) -> Result<()> {
    if *tenant.placement() == Placement::Shared {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::UnsupportedPlacement,
        "this tenant's rows are not in the shared tables, and this data plane reaches no others",
    ))
}

/// Single statements of one tenant: each runs by itself.
///
/// Borrows the context, so it cannot outlive the request, be kept in a static, or be sent to a task.
#[derive(Clone, Copy)]
pub struct Scope<'a, DB: Backend> {
    pub(super) db: &'a Inner<DB>,
    ctx: &'a TenantContext,
}

impl<DB: Backend> Scope<'_, DB> {
    /// The context that opened the scope.
    pub fn context(&self) -> &TenantContext {
        self.ctx
    }

    /// Whether a statement by itself may change anything.
    pub(super) fn may_write(&self) -> Result<()> {
        if self.db.audit == AuditPolicy::Required {
            return Err(Error::new(
                ErrorKind::Unaudited,
                "changes must be recorded here: use `db.begin(&ctx)`, and `tx.record(..)` beside the change",
            ));
        }
        Ok(())
    }
}

impl<DB: Backend> fmt::Debug for Scope<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("ctx", self.ctx).finish_non_exhaustive()
    }
}

impl<DB: Backend> sealed::Sealed for &Scope<'_, DB> {}

impl<DB: Backend> TenantExecutor for &Scope<'_, DB> {
    type Database = DB;

    fn context(&self) -> &TenantContext {
        self.ctx
    }

    fn bound_tenant(&self) -> BoundTenant {
        self.db.bound(self.ctx)
    }

    async fn fetch<F: Fetch<DB>>(self, fetch: F) -> Result<F::Output> {
        admit(self.ctx)?;
        let writes = fetch.writes();
        if writes {
            self.may_write()?;
        }
        if self.db.autocommit(writes, fetch.plain()) {
            let mut conn = self.db.pool.acquire().await.map_err(|e| database_error(&e))?;
            let conn = Conn::on(&mut conn, self.db.connection_mode);
            let error = if writes { change_error } else { database_error };
            return fetch.run(conn).await.map_err(|e| error(&e));
        }
        if writes {
            let mut tx = Tx::open(self.db, self.ctx, Location::caller()).await?;
            let answer = (&mut tx).fetch(fetch).await?;
            tx.commit().await?;
            return Ok(answer);
        }
        // The rollback at the end rides with the connection's way home.
        let mut open =
            self.db.open(Some(self.ctx.tenant_id()), TxMode::Read).await.map_err(|e| database_error(&e))?;
        fetch.run(open.conn()).await.map_err(|e| database_error(&e))
    }
}
