//! [`AppDb`]: what differs between SQLite and PostgreSQL.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the pool is created here and passed to `TenantDb`, before the first request"
)]

use std::fs::DirBuilder;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{Pool, Postgres, Sqlite};
use tenancy::isolation::RlsPolicies;
use tenancy::isolation::doctor::Report;
use tenancy::operations::TenantData;
use tenancy::placement::{ConnectionLimits, DatabaseConfig, PostgresPlaces, SqliteFiles, SqlitePlaces};
use tenancy::scope::row::SupportsRow;
use tenancy::scope::{Schema, TenantDbBuilder};
use tenancy::tenant::{NewTenant, Placement, PlacementName, TenantId};
use tenancy::{Error, ErrorKind, Result, TenantDb};

use crate::model::{Member, Order, Project};

/// A database that this application supports: the same handlers run on SQLite and on PostgreSQL.
///
/// An application with one database does not need this trait: it uses `TenantDb<sqlx::Postgres>`.
pub trait AppDb: TenantData + SupportsRow<Project> + SupportsRow<Order> + SupportsRow<Member> {
    /// Opens the database.
    fn open(url: &str) -> impl Future<Output = sqlx::Result<Pool<Self>>> + Send;

    /// The application's migrations. They name tables without a schema, so they run in each tenant's place too.
    fn migrations() -> Migrator;

    /// Gives a new tenant a place of its own: a schema on PostgreSQL, a file on SQLite.
    fn own_place(tenant: NewTenant) -> NewTenant;

    /// Where the rows of a tenant can be: an operator moves it from one to another.
    fn places_of(tenant: &TenantId) -> Vec<Placement>;

    /// A database of a tenant, for a person.
    fn database(name: &PlacementName) -> String;

    /// Where the places of tenants are created. The pools are of the owner of the tables and of the application.
    ///
    /// # Errors
    /// If the directory of the tenants' files cannot be created.
    fn places(owner: &Pool<Self>, app: &Pool<Self>) -> Result<Self::Places>;

    /// Grants the role of the application what it needs, if it is not the owner.
    fn grant(owner: &Pool<Self>, app: &Pool<Self>) -> impl Future<Output = Result<()>> + Send;

    /// Starts a [`TenantDb`] that finds the places of tenants.
    ///
    /// # Errors
    /// As [`places`](Self::places).
    fn tenant_db(pool: Pool<Self>) -> Result<TenantDbBuilder<Self>>;

    /// Examines row-level security; `None` on SQLite, which has none.
    fn doctor(db: &TenantDb<Self>) -> impl Future<Output = Result<Option<Report>>> + Send;
}

/// The connections to the shared tables.
const CONNECTIONS: u32 = 8;
const POSTGRES_CONNECTIONS: u32 = 16;

impl AppDb for Sqlite {
    async fn open(url: &str) -> sqlx::Result<Pool<Self>> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(10));
        SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await
    }

    fn migrations() -> Migrator {
        sqlx::migrate!("migrations/sqlite")
    }

    fn own_place(tenant: NewTenant) -> NewTenant {
        tenant.own_database()
    }

    fn places_of(tenant: &TenantId) -> Vec<Placement> {
        vec![Placement::Shared, Placement::database_of(tenant)]
    }

    fn database(name: &PlacementName) -> String {
        format!("file {name}.db")
    }

    fn places(pool: &Pool<Self>, _: &Pool<Self>) -> Result<SqlitePlaces> {
        Ok(SqlitePlaces::new(tenant_files(pool)?).shared_tables((*pool.connect_options()).clone()))
    }

    async fn grant(_: &Pool<Self>, _: &Pool<Self>) -> Result<()> {
        Ok(())
    }

    fn tenant_db(pool: Pool<Self>) -> Result<TenantDbBuilder<Self>> {
        let files = tenant_files(&pool)?;
        Ok(TenantDb::from_pool(pool).databases(files, ConnectionLimits::new(CONNECTIONS + 4)))
    }

    async fn doctor(_: &TenantDb<Self>) -> Result<Option<Report>> {
        Ok(None)
    }
}

/// The files of tenants: for `saas.db` in the directory `saas.tenants` beside it.
fn tenant_files(pool: &Pool<Sqlite>) -> Result<SqliteFiles> {
    let directory = pool.connect_options().get_filename().with_extension("tenants");
    create_private(&directory).map_err(|e| {
        let text = format!("the directory `{}` of the tenants' files cannot be created", directory.display());
        Error::new(ErrorKind::Misconfigured, text).with_source(e)
    })?;
    SqliteFiles::new(directory)
}

/// Creates a directory that only this user can open, unless it exists.
fn create_private(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory)
}

impl AppDb for Postgres {
    async fn open(url: &str) -> sqlx::Result<Pool<Self>> {
        PgPoolOptions::new().max_connections(POSTGRES_CONNECTIONS).connect(url).await
    }

    fn migrations() -> Migrator {
        sqlx::migrate!("migrations/postgres")
    }

    fn own_place(tenant: NewTenant) -> NewTenant {
        tenant.own_schema()
    }

    fn places_of(tenant: &TenantId) -> Vec<Placement> {
        vec![Placement::Shared, Placement::schema_of(tenant), Placement::database_of(tenant)]
    }

    fn database(name: &PlacementName) -> String {
        format!("database {name}")
    }

    fn places(owner: &Pool<Self>, app: &Pool<Self>) -> Result<PostgresPlaces> {
        let places = PostgresPlaces::new(PgConnectOptions::clone(&owner.connect_options()));
        // A tenant is moved only if the role of the application is named: row-level security must refuse an old placement.
        Ok(match other_role(owner, app) {
            Some(role) => places.runtime_role(role),
            None => places,
        })
    }

    async fn grant(owner: &Pool<Self>, app: &Pool<Self>) -> Result<()> {
        let Some(role) = other_role(owner, app) else { return Ok(()) };
        let schema = Schema::new("tenant_id").expect("it is a name");
        let mut owner = owner.acquire().await.map_err(Error::from_sqlx)?;
        RlsPolicies::new(&schema).runtime_role(role).apply(&mut owner).await.map(|_| ())
    }

    fn tenant_db(pool: Pool<Self>) -> Result<TenantDbBuilder<Self>> {
        let app = PgConnectOptions::clone(&pool.connect_options());
        let registry =
            move |name: &PlacementName| Ok(Some(DatabaseConfig::new(app.clone().database(name.as_str()))));
        let limits = ConnectionLimits::new(POSTGRES_CONNECTIONS + 8).per_database(4);
        Ok(TenantDb::from_pool(pool).databases(registry, limits))
    }

    async fn doctor(db: &TenantDb<Self>) -> Result<Option<Report>> {
        db.doctor().await.map(Some)
    }
}

/// The role of the application, unless it is the owner of the tables too.
fn other_role(owner: &Pool<Postgres>, app: &Pool<Postgres>) -> Option<String> {
    let role = app.connect_options().get_username().to_owned();
    (role != owner.connect_options().get_username()).then_some(role)
}

pub(crate) async fn connect<DB: AppDb>(url: &str) -> Result<Pool<DB>> {
    DB::open(url).await.map_err(|e| {
        Error::new(ErrorKind::StoreUnavailable, format!("the database of DATABASE_URL cannot be opened: {e}"))
    })
}
