//! [`TenantDbBuilder`]: the settings of a data plane, and the constructors of [`TenantDb`].

use std::fmt;
use std::sync::Arc;

use sqlx::Pool;
use sqlx::pool::PoolOptions;
use tenancy_sql::Schema;

use super::backend::Backend;
use super::core::Core;
use super::db::TenantDb;
use super::enforcement::Enforcement;
use super::preflight::agreed_type;
use super::rewrite_cache::RewriteCache;
use crate::audit::{AuditPolicy, AuditSink};
use crate::database::{ConnectionMode, database_error};
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "postgres")]
use crate::isolation::doctor::Check;

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
        Ok(TenantDb(Arc::new(Core {
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
}
