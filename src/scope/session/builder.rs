//! [`TenantDbBuilder`]: the settings of a [`TenantDb`], and the functions that start one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{Connection, Pool};
use tenancy_sql::Schema;

use super::backend::Backend;
use super::core::Core;
use super::db::TenantDb;
use super::places::{EnteredPlaces, Place};
use super::preflight::agreed_type;
use super::rewrite_cache::RewriteCache;
use crate::audit::{AuditPolicy, AuditSink};
use crate::database::{
    Bulkhead, ConnectionLimits, ConnectionMode, DatabaseRegistry, Databases, Enforcement, Route, Source,
    UseCount, database_error,
};
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "postgres")]
use crate::isolation::doctor::Check;
use crate::tenant::Placement;

/// Configures and builds a [`TenantDb`].
///
/// ```
/// use sqlx::sqlite::SqlitePoolOptions;
/// use tenancy::TenantDb;
/// use tenancy::audit::AuditPolicy;
///
/// async fn connect(url: &str) -> tenancy::Result<TenantDb<sqlx::Sqlite>> {
///     TenantDb::sqlite(SqlitePoolOptions::new(), url).audit(AuditPolicy::Required).build().await
/// }
/// ```
#[must_use = "call `build().await`"]
pub struct TenantDbBuilder<DB: Backend> {
    source: PoolSource<DB>,
    enforcement: Enforcement,
    connection_mode: ConnectionMode,
    audit: AuditPolicy,
    audit_mirrors: Vec<Arc<dyn AuditSink>>,
    schema: Option<Schema>,
    accepted: DB::Accepted,
    databases: Option<(Box<dyn DatabaseRegistry<DB>>, ConnectionLimits)>,
    max_connections_per_tenant: Option<u32>,
    tenant_connection_wait: Duration,
    required_migration: Option<i64>,
    role_per_tenant: bool,
}

enum PoolSource<DB: Backend> {
    Url(PoolOptions<DB>, String),
    Options(PoolOptions<DB>, <DB::Connection as Connection>::Options),
    Pool(Pool<DB>),
}

impl<DB: Backend> PoolSource<DB> {
    fn into_pool(self, connection_mode: ConnectionMode) -> Result<Pool<DB>> {
        let (options, connect) = match self {
            Self::Pool(pool) => return Ok(pool),
            Self::Options(options, connect) => (options, connect),
            Self::Url(options, url) => (options, DB::connect_options(&url).map_err(invalid_url)?),
        };
        Ok(DB::pool(options, connect, connection_mode))
    }
}

fn invalid_url(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Misconfigured, "the database URL cannot be parsed").with_source(error)
}

impl<DB: Backend> fmt::Debug for TenantDbBuilder<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL can hold a password.
        f.debug_struct("TenantDbBuilder").field("database", &DB::NAME).finish_non_exhaustive()
    }
}

impl<DB: Backend> TenantDbBuilder<DB> {
    /// Whether changes must be recorded in the audit log. The default is [`AuditPolicy::Optional`].
    pub fn audit(mut self, policy: AuditPolicy) -> Self {
        self.audit = policy;
        self
    }

    /// Also sends each recorded event to `sink`, after its transaction has committed.
    ///
    /// The copy is best effort. The record is the row that was written in the transaction.
    pub fn mirror_audit_to(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.audit_mirrors.push(sink);
        self
    }

    /// Declares the tables: their tenant columns, the shared tables, and the functions that your own SQL may call.
    ///
    /// Without a schema every table is tenant-owned with the column `tenant_id`, and your own SQL may call only
    /// built-in functions that are known to read no table.
    ///
    /// The `type` of the schema is the type in which every statement binds the tenant id: `uuid`, `bigint` or `text`.
    /// On SQLite the matching column types are BLOB (the 16 bytes of the UUID), INTEGER and TEXT (a UUID in lower
    /// case with hyphens). If the schema declares no type, [`build`](Self::build) takes the type of the tenant
    /// columns. For BLOB and INTEGER columns on SQLite, and if there is no table yet, the kind of each id decides.
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Names the databases of tenants with [`Placement::Database`](crate::tenant::Placement::Database), and limits the
    /// connections of the whole `TenantDb`.
    ///
    /// A pool is opened when its tenant is first used. Each database has the same tables as the shared one, with the
    /// tenant column, and the library's own tables (see [`SqlStore::migrate`](crate::store::SqlStore::migrate)): a
    /// gauge and an audit event are written in the same transaction as the rows.
    pub fn databases(
        mut self,
        registry: impl DatabaseRegistry<DB> + 'static,
        limits: ConnectionLimits,
    ) -> Self {
        self.databases = Some((Box::new(registry), limits));
        self
    }

    /// Limits how many connections one tenant uses at a time, in every placement. Without it, one tenant can use all.
    ///
    /// A tenant that uses its whole share waits for its own connections; the other tenants do not wait behind it. Half
    /// of the pool is a good start. A [`max_connections`](crate::plan::DatabaseLimits::max_connections) of the tenant's
    /// plan comes before it.
    ///
    /// The limit holds in this process. A request that runs a statement on a scope while it holds a transaction uses two
    /// connections.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sqlx::postgres::PgPoolOptions;
    /// use tenancy::TenantDb;
    ///
    /// async fn connect(url: &str) -> tenancy::Result<TenantDb<sqlx::Postgres>> {
    ///     TenantDb::postgres(PgPoolOptions::new().max_connections(16), url)
    ///         .max_connections_per_tenant(8)
    ///         .tenant_connection_wait(Duration::from_millis(500))
    ///         .build()
    ///         .await
    /// }
    /// ```
    pub fn max_connections_per_tenant(mut self, max: u32) -> Self {
        self.max_connections_per_tenant = Some(max);
        self
    }

    /// Sets how long a statement waits for the share of its own tenant. The default is one second.
    ///
    /// After that it fails with [`ErrorKind::TenantConnectionLimit`], which the web layer answers with 429. The wait for
    /// the pool comes after it, and is an option of the pool.
    pub fn tenant_connection_wait(mut self, wait: Duration) -> Self {
        self.tenant_connection_wait = wait;
        self
    }

    /// Rejects tenants whose schema or database lacks the application's migration with this version.
    ///
    /// The table `_sqlx_migrations` of the place is read when the tenant is first used, and again until the migration
    /// is there. The error is [`ErrorKind::MigrationPending`], which the web layer answers with 503.
    pub fn required_migration(mut self, version: i64) -> Self {
        self.required_migration = Some(version);
        self
    }

    /// Opens the connections, and checks that the database matches the settings.
    ///
    /// For its checks on PostgreSQL it opens two connections beside the pool, and closes them again.
    ///
    /// On PostgreSQL the [`doctor`](crate::isolation) examines the database as well, and its warnings are logged. Run
    /// your migrations before, because a table that is created later is not examined. The schemas of tenants are not
    /// examined either: the [`Provisioner`](crate::placement::Provisioner) writes their policies.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the database cannot be reached. [`ErrorKind::Misconfigured`]
    /// - if the URL cannot be parsed,
    /// - if [`max_connections_per_tenant`](Self::max_connections_per_tenant) is 0,
    /// - if the tenant columns have several types, or another type than the [`schema`](Self::schema) declares,
    /// - on PostgreSQL, if the declared enforcement or connection mode does not fit the database, or if the doctor
    ///   finds a fault that was not [accepted](TenantDbBuilder::accept).
    pub async fn build(self) -> Result<TenantDb<DB>> {
        let bulkhead = self.bulkhead()?;
        let schema = self.schema.unwrap_or_else(|| {
            warn_of_forgotten_file();
            default_schema()
        });
        let owned = !matches!(self.source, PoolSource::Pool(..));
        let pool = self.source.into_pool(self.connection_mode)?;
        DB::preflight(&pool, self.enforcement, self.connection_mode, &schema, &self.accepted).await?;
        let columns = DB::tenant_columns(&pool, &schema).await?;
        let tenant_type = agreed_type(schema.tenant_type(), &columns)?;
        let mut conn = pool.acquire().await.map_err(|e| database_error(&e))?;
        let own_tables = DB::own_tables(&mut conn).await?;
        let checks_client = DB::checks_client(&mut conn, self.connection_mode).await;
        drop(conn);
        let databases = self.databases.map(|(registry, limits)| {
            let shared = pool.options().get_max_connections();
            Databases::new(registry, limits, shared, own_tables.tenant_type).map(Arc::new)
        });
        Ok(TenantDb(Arc::new(Core {
            shared: Place {
                source: Source::Shared(pool, UseCount::default()),
                route: Route { checks_client, ..Route::of(self.connection_mode) },
                enforcement: self.enforcement,
                owned,
                placement: Placement::Shared,
                unverified: None,
            },
            databases: databases.transpose()?,
            bulkhead,
            own_tables,
            entered: EnteredPlaces::default(),
            required_migration: self.required_migration,
            role_per_tenant: self.role_per_tenant,
            audit: self.audit,
            audit_mirrors: self.audit_mirrors,
            tenant_type,
            rewrites: RewriteCache::new(&schema),
            schema,
            accepted: self.accepted,
        })))
    }
}

#[cfg(feature = "postgres")]
impl TenantDbBuilder<sqlx::Postgres> {
    /// How the database isolates tenants. The default is [`Enforcement::PredicateAndRls`].
    pub fn enforcement(mut self, enforcement: Enforcement) -> Self {
        self.enforcement = enforcement;
        self
    }

    /// Runs the statements of a tenant with a schema or a database of its own as the role of that place.
    ///
    /// The [`Provisioner`](crate::placement::Provisioner) creates the roles:
    /// [`PostgresPlaces::role_per_tenant`](crate::placement::PostgresPlaces::role_per_tenant). The application's role
    /// is a member of each and has no privilege of its own there. `SET LOCAL ROLE` is part of the message that begins
    /// a transaction, so it costs no round trip.
    ///
    /// # Security
    /// A statement cannot read another tenant's schema, even by a name with that schema: PostgreSQL rejects it. Code
    /// that can send any SQL can still choose another role with `SET ROLE`.
    pub fn role_per_tenant(mut self) -> Self {
        self.role_per_tenant = true;
        self
    }

    /// Accepts one kind of fault that the [`doctor`](crate::isolation::doctor) finds. [`build`](Self::build) fails on
    /// every other fault.
    pub fn accept(mut self, check: Check) -> Self {
        self.accepted.push(check);
        self
    }

    /// Whether a pooler or Citus is between the application and the database. The default is
    /// [`ConnectionMode::Direct`].
    pub fn connection_mode(mut self, connection_mode: ConnectionMode) -> Self {
        self.connection_mode = connection_mode;
        self
    }
}

impl<DB: Backend> TenantDbBuilder<DB> {
    fn bulkhead(&self) -> Result<Bulkhead> {
        match self.max_connections_per_tenant {
            Some(0) => Err(Error::new(
                ErrorKind::Misconfigured,
                "`max_connections_per_tenant` is 0, so no tenant could run a statement; set 1 or more",
            )),
            max => Ok(Bulkhead::new(max, self.tenant_connection_wait)),
        }
    }

    fn new(source: PoolSource<DB>) -> Self {
        Self {
            source,
            enforcement: Enforcement::default(),
            connection_mode: ConnectionMode::default(),
            audit: AuditPolicy::default(),
            audit_mirrors: Vec::new(),
            schema: None,
            max_connections_per_tenant: None,
            tenant_connection_wait: Duration::from_secs(1),
            required_migration: None,
            role_per_tenant: false,
            accepted: DB::Accepted::default(),
            databases: None,
        }
    }
}

/// The macros and the command line read `tenancy.toml`, and a `TenantDb` does not. `cargo run` and `cargo test` say where
/// the package is.
fn warn_of_forgotten_file() {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let file = Path::new(&package).join("tenancy.toml");
    if file.is_file() {
        tracing::warn!(
            file = %file.display(),
            "a `TenantDb` is built without `schema`, so it does not know the tables and functions of this file; add \
             `.schema(Schema::from_toml(include_str!(\"../tenancy.toml\"))?)`"
        );
    }
}

/// The schema of an application that declares none: every table has the tenant column `tenant_id`.
pub(crate) fn default_schema() -> Schema {
    Schema::new("tenant_id").expect("`tenant_id` is a plain name")
}

#[cfg(feature = "postgres")]
impl TenantDb<sqlx::Postgres> {
    /// Starts a data plane on PostgreSQL with a private pool that no other code can reach.
    ///
    /// A connection is pinged only after ten idle seconds, not on every use as in sqlx. If `BEGIN` fails on a dead
    /// connection, it is retried on another one. `before_acquire` and `test_before_acquire` of the options are
    /// overwritten.
    ///
    /// ```
    /// use sqlx::postgres::PgPoolOptions;
    /// use tenancy::TenantDb;
    /// use tenancy::scope::ConnectionMode;
    ///
    /// async fn connect(url: &str) -> tenancy::Result<TenantDb<sqlx::Postgres>> {
    ///     let options = PgPoolOptions::new().max_connections(20);
    ///     TenantDb::postgres(options, url).connection_mode(ConnectionMode::PgBouncer).build().await
    /// }
    /// ```
    pub fn postgres(
        options: PoolOptions<sqlx::Postgres>,
        url: impl Into<String>,
    ) -> TenantDbBuilder<sqlx::Postgres> {
        TenantDbBuilder::new(PoolSource::Url(options, url.into()))
    }

    /// As [`postgres`](Self::postgres), with the options of a connection instead of a URL: for a password from a
    /// secret store, a certificate, or a host that is a directory of sockets.
    ///
    /// ```
    /// use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
    /// use tenancy::TenantDb;
    ///
    /// async fn connect(password: &str) -> tenancy::Result<TenantDb<sqlx::Postgres>> {
    ///     let connect = PgConnectOptions::new().host("db.internal").username("app").password(password);
    ///     TenantDb::postgres_with(PgPoolOptions::new().max_connections(20), connect).build().await
    /// }
    /// ```
    pub fn postgres_with(
        options: PoolOptions<sqlx::Postgres>,
        connect: sqlx::postgres::PgConnectOptions,
    ) -> TenantDbBuilder<sqlx::Postgres> {
        TenantDbBuilder::new(PoolSource::Options(options, connect))
    }
}

#[cfg(feature = "sqlite")]
impl TenantDb<sqlx::Sqlite> {
    /// Starts a data plane on SQLite with a private pool that no other code can reach. The file is in WAL mode, and
    /// foreign keys are enforced.
    pub fn sqlite(
        options: PoolOptions<sqlx::Sqlite>,
        url: impl Into<String>,
    ) -> TenantDbBuilder<sqlx::Sqlite> {
        TenantDbBuilder::new(PoolSource::Url(options, url.into()))
    }

    /// As [`sqlite`](Self::sqlite), with the options of a connection instead of a URL. They are used as they are.
    pub fn sqlite_with(
        options: PoolOptions<sqlx::Sqlite>,
        connect: sqlx::sqlite::SqliteConnectOptions,
    ) -> TenantDbBuilder<sqlx::Sqlite> {
        TenantDbBuilder::new(PoolSource::Options(options, connect))
    }
}

impl<DB: Backend> TenantDb<DB> {
    /// Starts a data plane on an existing pool.
    ///
    /// # Security
    /// Code that keeps a clone of the pool can run SQL on it without a scope. Move the pool in without a clone, or
    /// use `TenantDb::postgres` or `TenantDb::sqlite`, which create a private pool.
    ///
    /// Other code can leave a pooled connection inside a transaction, for example by a cancelled `begin` of sqlx. On
    /// PostgreSQL every statement on a shared pool therefore runs in a transaction, whose `BEGIN` detects that. With
    /// [`ConnectionMode::Citus`] it is not detected.
    pub fn from_pool(pool: Pool<DB>) -> TenantDbBuilder<DB> {
        TenantDbBuilder::new(PoolSource::Pool(pool))
    }
}
