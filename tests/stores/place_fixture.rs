//! Fixture: an application whose tenants are provisioned, with migrations of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Pool, Postgres, SqlSafeStr, Sqlite};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::placement::{
    ConnectionLimits, DatabaseConfig, MigratedPlace, PostgresPlaces, Provision, Provisioner, Seed,
    SqliteFiles, SqlitePlaces,
};
use tenancy::plan::Catalog;
use tenancy::scope::row::SupportsRow;
use tenancy::scope::{TenantDb, Tx};
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Placement, PlacementName, Slug, Tenant, TenantStore};
use tenancy::{ErrorKind, TenantContext, TenantScoped};

use crate::common::{CATALOG, Cleanup, TestBackend, postgres_url};

/// A row of the application. Each tenant gets the first one when it is provisioned.
#[derive(Debug, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "projects")]
pub(crate) struct Project {
    #[tenant(id)]
    pub(crate) id: i64,
    pub(crate) name: String,
}

struct FirstProject;

#[async_trait]
impl<DB: TestPlaces> Seed<DB> for FirstProject {
    async fn seed(&self, tx: &mut Tx<'_, DB>) -> tenancy::Result<()> {
        let name = format!("first of {}", tx.context().tenant().slug());
        Project::upsert(tx, &Project { id: 1, name }).await
    }
}

/// How a test finds the databases of tenants.
pub(crate) type Lookup<DB> =
    Box<dyn Fn(&PlacementName) -> tenancy::Result<Option<DatabaseConfig<DB>>> + Send + Sync>;

/// A database in which the places of tenants are provisioned.
pub(crate) trait TestPlaces: TestBackend + Provision + SupportsRow<Project> {
    /// The table of projects, as an application's migration creates it.
    const PROJECTS: &'static str;
    /// A query for the tables `table_N` of a place, as the sum of the bits N.
    const TABLES: &'static str;
    /// As `TABLES`, for those that row-level security protects, where the database has it.
    const PROTECTED: &'static str;
    /// The kinds of places, without the shared tables.
    fn kinds() -> Vec<fn(NewTenant) -> NewTenant>;
    fn places(pool: &Pool<Self>, directory: &std::path::Path) -> Self::Places;
    fn registry(pool: &Pool<Self>, directory: &std::path::Path) -> Lookup<Self>;
    /// A pool that reaches a place without the library.
    fn place_pool(pool: &Pool<Self>, directory: &std::path::Path, placement: &Placement) -> Pool<Self>;
    /// Removes a database that a test provisioned.
    fn cleanup(placement: &Placement) -> Option<Cleanup>;
}

impl TestPlaces for Sqlite {
    const PROJECTS: &'static str = "CREATE TABLE projects (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, \
        name TEXT NOT NULL, PRIMARY KEY (tenant_id, id)) STRICT";
    const TABLES: &'static str = "SELECT coalesce(sum(1 << CAST(substr(name, 7) AS integer)), 0) FROM sqlite_master \
        WHERE type = 'table' AND name LIKE 'table!_%' ESCAPE '!'";
    const PROTECTED: &'static str = Self::TABLES;

    fn kinds() -> Vec<fn(NewTenant) -> NewTenant> {
        vec![NewTenant::own_database]
    }

    fn places(pool: &Pool<Self>, directory: &std::path::Path) -> SqlitePlaces {
        SqlitePlaces::new(SqliteFiles::new(directory).unwrap())
            .shared_tables((*pool.connect_options()).clone())
    }

    fn registry(_: &Pool<Self>, directory: &std::path::Path) -> Lookup<Self> {
        let files = SqliteFiles::new(directory).unwrap();
        Box::new(move |name| {
            let exists = files.path(name).is_file();
            Ok(exists.then(|| DatabaseConfig::new(files.connect_options(name))))
        })
    }

    fn place_pool(pool: &Pool<Self>, directory: &std::path::Path, placement: &Placement) -> Pool<Self> {
        let files = SqliteFiles::new(directory).unwrap();
        match placement {
            Placement::Database { name } => Pool::connect_lazy_with(files.connect_options(name)),
            _ => pool.clone(),
        }
    }

    fn cleanup(_: &Placement) -> Option<Cleanup> {
        None
    }
}

impl TestPlaces for Postgres {
    const PROJECTS: &'static str = "CREATE TABLE projects (tenant_id uuid NOT NULL, id bigint NOT NULL, \
        name text NOT NULL, PRIMARY KEY (tenant_id, id))";
    const TABLES: &'static str = "SELECT coalesce(sum(1 << substr(relname, 7)::int), 0) FROM pg_class \
        WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname LIKE 'table!_%' ESCAPE '!'";
    const PROTECTED: &'static str = "SELECT coalesce(sum(1 << substr(relname, 7)::int), 0) FROM pg_class \
        WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname LIKE 'table!_%' ESCAPE '!' \
        AND relrowsecurity AND relforcerowsecurity";

    fn kinds() -> Vec<fn(NewTenant) -> NewTenant> {
        vec![NewTenant::own_schema, NewTenant::own_database]
    }

    fn places(pool: &Pool<Self>, _: &std::path::Path) -> PostgresPlaces {
        PostgresPlaces::new((*pool.connect_options()).clone())
    }

    fn registry(pool: &Pool<Self>, _: &std::path::Path) -> Lookup<Self> {
        let options = (*pool.connect_options()).clone();
        Box::new(move |name| Ok(Some(DatabaseConfig::new(options.clone().database(name.as_str())))))
    }

    fn place_pool(pool: &Pool<Self>, _: &std::path::Path, placement: &Placement) -> Pool<Self> {
        let options = (*pool.connect_options()).clone();
        Pool::connect_lazy_with(match placement {
            Placement::Database { name } => options.database(name.as_str()),
            Placement::Schema { name } => options.options([("search_path", name.as_str())]),
            _ => options,
        })
    }

    fn cleanup(placement: &Placement) -> Option<Cleanup> {
        let Placement::Database { name } = placement else { return None };
        Some(Cleanup::database(name.to_string(), async move |name| {
            let server = sqlx::PgPool::connect(&postgres_url()).await?;
            let drop = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&server).await.map(|_| ())
        }))
    }
}

/// Migrations with these texts, whose versions count from 1.
pub(crate) fn migrator(texts: &[&str]) -> Migrator {
    let migration = |(n, text): (usize, &&str)| {
        let sql = AssertSqlSafe((*text).to_owned()).into_sql_str();
        Migration::new(
            i64::try_from(n).unwrap() + 1,
            format!("step {n}").into(),
            MigrationType::Simple,
            sql,
            false,
        )
    };
    Migrator::with_migrations(texts.iter().enumerate().map(migration).collect())
}

/// The data plane of an application whose shared tables are migrated.
async fn data_plane<DB: TestPlaces>(
    pool: &Pool<DB>,
    store: &SqlStore<DB>,
    files: &std::path::Path,
    required_migration: Option<i64>,
) -> (TenantDirectory, TenantDb<DB>) {
    let catalog = Arc::new(Catalog::from_toml(CATALOG).unwrap());
    let directory = TenantDirectory::new(Arc::new(store.clone()), catalog);
    let limits = ConnectionLimits::new(6 + 8).per_database(2);
    let mut db = TenantDb::from_pool(pool.clone()).databases(DB::registry(pool, files), limits);
    if let Some(version) = required_migration {
        db = db.required_migration(version);
    }
    (directory, db.build().await.unwrap())
}

/// The provisioner of another process of an application that exists.
pub(crate) fn provisioner_of<DB: TestPlaces>(
    pool: &Pool<DB>,
    files: &std::path::Path,
    texts: &[&str],
) -> Provisioner<DB> {
    Provisioner::new(SqlStore::new(pool.clone()), DB::places(pool, files), migrator(texts))
}

/// As [`provisioner_of`], with the first rows of each tenant.
pub(crate) async fn seeding_provisioner_of<DB: TestPlaces>(
    pool: &Pool<DB>,
    files: &std::path::Path,
    texts: &[&str],
) -> Provisioner<DB> {
    let (directory, db) = data_plane(pool, &SqlStore::new(pool.clone()), files, None).await;
    provisioner_of(pool, files, texts).seed(db, directory, FirstProject)
}

pub(crate) struct App<DB: TestPlaces> {
    pub(crate) pool: Pool<DB>,
    pub(crate) store: SqlStore<DB>,
    pub(crate) directory: TenantDirectory,
    pub(crate) db: TenantDb<DB>,
    pub(crate) files: tempfile::TempDir,
    cleanup: Vec<Cleanup>,
}

impl<DB: TestPlaces> App<DB> {
    /// An application whose shared tables are migrated.
    pub(crate) async fn new() -> Self {
        Self::requiring(None).await
    }

    /// An application that requires a migration in each place.
    pub(crate) async fn requiring(version: Option<i64>) -> Self {
        let (pool, cleanup) = DB::fresh(6).await;
        let store = SqlStore::new(pool.clone());
        store.migrate().await.unwrap();
        let files = tempfile::tempdir().unwrap();
        let shared =
            Provisioner::new(store.clone(), DB::places(&pool, files.path()), migrator(&[DB::PROJECTS]));
        let migrated: Vec<_> = shared.migrations().run().collect().await;
        assert!(matches!(&migrated[..], [Ok(MigratedPlace { result: Ok(_), .. })]), "{migrated:?}");
        let (directory, db) = data_plane(&pool, &store, files.path(), version).await;
        Self { pool, store, directory, db, files, cleanup: vec![cleanup] }
    }

    /// A provisioner of a program with these migrations.
    pub(crate) fn provisioner(&self, texts: &[&str]) -> Provisioner<DB> {
        let places = DB::places(&self.pool, self.files.path());
        Provisioner::new(self.store.clone(), places, migrator(texts)).seed(
            self.db.clone(),
            self.directory.clone(),
            FirstProject,
        )
    }

    pub(crate) fn new_tenant(slug: &str, kind: fn(NewTenant) -> NewTenant) -> NewTenant {
        kind(NewTenant::new(Slug::parse(slug).unwrap(), slug, "free"))
    }

    /// Creates a tenant, whose database is dropped at the end of the test.
    pub(crate) async fn create(
        &mut self,
        provisioner: &Provisioner<DB>,
        slug: &str,
        kind: fn(NewTenant) -> NewTenant,
    ) -> tenancy::Result<Arc<Tenant>> {
        let created = create_patiently(provisioner, Self::new_tenant(slug, kind)).await;
        let tenant = self.store.by_slug(&Slug::parse(slug).unwrap()).await.unwrap().expect("it is inserted");
        self.forget(tenant.placement());
        created
    }

    /// Drops the database of a placement at the end of the test.
    pub(crate) fn forget(&mut self, placement: &Placement) {
        self.cleanup.splice(0..0, DB::cleanup(placement));
    }

    /// A pool that reaches the place of a tenant without the library.
    pub(crate) fn place(&self, tenant: &Tenant) -> Pool<DB> {
        DB::place_pool(&self.pool, self.files.path(), tenant.placement())
    }

    pub(crate) async fn context(&self, tenant: &Tenant) -> tenancy::Result<TenantContext> {
        self.directory.context(tenant.id(), Actor::user("ada")).await
    }

    /// The names of the tenant's projects.
    pub(crate) async fn projects(&self, tenant: &Tenant) -> tenancy::Result<Vec<String>> {
        let ctx = self.context(tenant).await?;
        let page =
            Project::list(&self.db.scope(&ctx), tenancy::scope::select::PageRequest::first(50)).await?;
        Ok(page.items.into_iter().map(|project| project.name).collect())
    }
}

/// Creates a tenant, and goes on while its place is locked. A process that a test starts has the lock files of this
/// process until it runs its program, and so keeps a lock that was released meanwhile.
pub(crate) async fn create_patiently<DB: TestPlaces>(
    provisioner: &Provisioner<DB>,
    new: NewTenant,
) -> tenancy::Result<Arc<Tenant>> {
    let id = new.clone().into_tenant().id().clone();
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut created = provisioner.create(new).await;
    while created.as_ref().is_err_and(|error| error.kind() == ErrorKind::Retryable)
        && Instant::now() < deadline
    {
        tokio::task::yield_now().await;
        created = provisioner.resume(&id).await;
    }
    created
}

/// The recorded migrations of a place, by version: whether each failed.
pub(crate) async fn failures<DB: TestPlaces>(app: &App<DB>, tenant: &Tenant) -> HashMap<i64, bool> {
    let mut failures = HashMap::new();
    for version in 1..9 {
        let sql = |failed: &str| {
            format!(
                "SELECT count(*) FROM tenancy_tenant_migrations WHERE tenant_id = '{}' AND version = {version} \
                 AND error IS {failed} NULL",
                tenant.id()
            )
        };
        let count = async |failed| DB::number(&app.pool, &sql(failed)).await;
        match (count("").await, count("NOT").await) {
            (0, 0) => {}
            (applied, failed) => {
                assert_eq!(applied + failed, 1);
                failures.insert(version, failed == 1);
            }
        }
    }
    failures
}
