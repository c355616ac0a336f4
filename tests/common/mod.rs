//! A world of two tenants, acme and globex, on a database of its own.
#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(unreachable_pub, missing_debug_implementations, reason = "this is no library")]

use std::sync::Arc;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Pool, Postgres, Sqlite};
use tenancy::audit::AuditPolicy;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::scope::{Backend, TenantDb};
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus};
use tenancy::{TenantContext, TenantScoped};
use uuid::Uuid;

pub const CATALOG: &str = r#"
version = 1
fallback = "free"
upgrade_url = "/upgrade"

[features]
projects = { kind = "gauge", unit = "projects" }
export   = { kind = "flag" }

[plans.free]
features = { projects = 5, export = false }

[plans.pro]
prices   = ["price_pro"]
features = { projects = 50, export = true }

[plans.enterprise]
prices   = ["price_enterprise"]
features = { projects = "unlimited", export = true }
"#;

/// A row of the table of orders.
#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
pub struct Order {
    #[tenant(id)]
    pub id: Uuid,
    pub status: String,
    pub total: i64,
}

/// A database that tests can make fresh.
pub trait TestBackend: Backend {
    /// The table of orders, as an application would make it.
    const ORDERS: &'static str;

    /// A new, empty database.
    fn fresh_url() -> impl Future<Output = (String, Cleanup)> + Send;
    /// The same, opened.
    fn fresh(connections: u32) -> impl Future<Output = (Pool<Self>, Cleanup)> + Send;
    fn raw(pool: &Pool<Self>, sql: &str) -> impl Future<Output = sqlx::Result<()>> + Send;
    /// The one number that a query without binds answers.
    fn number(pool: &Pool<Self>, sql: &str) -> impl Future<Output = i64> + Send;
}

/// Removes a test's database when the test ends, whichever way.
pub struct Cleanup(Option<Box<dyn FnOnce() + Send>>);

impl Cleanup {
    /// Drops the database of this name.
    pub fn database<F>(name: String, dropped: impl FnOnce(String) -> F + Send + 'static) -> Self
    where
        F: Future<Output = sqlx::Result<()>>,
    {
        Self(Some(Box::new(move || {
            let gone = name.clone();
            // The test's own runtime is going away.
            let thread = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(dropped(gone))
            });
            if !matches!(thread.join(), Ok(Ok(()))) {
                #[expect(clippy::print_stderr, reason = "this is a test's last word")]
                {
                    eprintln!("the database {name} was left behind");
                }
            }
        })))
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some(clean) = self.0.take() {
            clean();
        }
    }
}

impl TestBackend for Sqlite {
    const ORDERS: &'static str = "CREATE TABLE orders (
        tenant_id BLOB NOT NULL, id BLOB NOT NULL, status TEXT NOT NULL, total INTEGER NOT NULL CHECK (total >= 0),
        PRIMARY KEY (tenant_id, id)) STRICT";

    async fn fresh_url() -> (String, Cleanup) {
        let dir = tempfile::tempdir().expect("a directory for the test's database");
        let url = format!("sqlite:{}", dir.path().join("test.db").display());
        (url, Cleanup(Some(Box::new(move || drop(dir)))))
    }

    async fn fresh(connections: u32) -> (Pool<Self>, Cleanup) {
        let (url, cleanup) = Self::fresh_url().await;
        let options = url
            .parse::<sqlx::sqlite::SqliteConnectOptions>()
            .expect("the URL reads")
            .create_if_missing(true)
            .busy_timeout(std::time::Duration::from_mins(1))
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
        let pool = sqlx::sqlite::SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(std::time::Duration::from_mins(1))
            .connect_with(options)
            .await
            .expect("an SQLite file opens");
        (pool, cleanup)
    }

    async fn raw(pool: &Pool<Self>, sql: &str) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.map(|_| ())
    }

    async fn number(pool: &Pool<Self>, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await.expect("the query answers a number")
    }
}

impl TestBackend for Postgres {
    const ORDERS: &'static str = "CREATE TABLE orders (
        tenant_id uuid NOT NULL, id uuid NOT NULL, status text NOT NULL, total bigint NOT NULL CHECK (total >= 0),
        PRIMARY KEY (tenant_id, id));
        ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
        ALTER TABLE orders FORCE ROW LEVEL SECURITY;
        CREATE POLICY own ON orders USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)";

    async fn fresh_url() -> (String, Cleanup) {
        let url = postgres_url();
        let server = sqlx::PgPool::connect(&url).await.unwrap_or_else(|e| panic!("{NO_POSTGRES}\n({e})"));
        let (exempt, version): (bool, i32) = sqlx::query_as(
            "SELECT rolsuper OR rolbypassrls, current_setting('server_version_num')::int \
             FROM pg_roles WHERE rolname = current_user",
        )
        .fetch_one(&server)
        .await
        .expect("the role reads");
        assert!(
            !exempt,
            "TEST_POSTGRES_URL logs in as a role that row-level security does not bind; \
             use one with LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS"
        );
        assert!(version >= 150_000, "PostgreSQL 15 or later is needed; this is {version}");
        let name = format!("tenancy_test_{}", Uuid::now_v7().simple());
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&server)
            .await
            .expect("the role of TEST_POSTGRES_URL can make databases (CREATEDB)");
        server.close().await;
        let options: sqlx::postgres::PgConnectOptions = url.parse().expect("TEST_POSTGRES_URL reads");
        let fresh = options.database(&name).to_url_lossy().to_string();
        let cleanup = Cleanup::database(name, async move |name| {
            let server = sqlx::PgPool::connect(&url).await?;
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&server).await.map(|_| ())
        });
        (fresh, cleanup)
    }

    async fn fresh(connections: u32) -> (Pool<Self>, Cleanup) {
        let (url, cleanup) = Self::fresh_url().await;
        let pool = sqlx::postgres::PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(std::time::Duration::from_mins(1))
            .connect(&url)
            .await
            .expect("the new database opens");
        (pool, cleanup)
    }

    async fn raw(pool: &Pool<Self>, sql: &str) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.map(|_| ())
    }

    async fn number(pool: &Pool<Self>, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await.expect("the query answers a number")
    }
}

const NO_POSTGRES: &str = "this test needs PostgreSQL 15 or later. Run `scripts/test`, which starts one; or install \
    it (`apt-get install postgresql`), make a role with LOGIN CREATEDB, and set \
    TEST_POSTGRES_URL=postgres://role@127.0.0.1:5432/postgres";

pub fn postgres_url() -> String {
    std::env::var("TEST_POSTGRES_URL").unwrap_or_else(|_| panic!("{NO_POSTGRES}"))
}

const NO_ADMIN: &str = "this test makes roles, which a superuser has to do. Run `scripts/test`, which starts a server \
    for that; where you name a server of your own by TEST_POSTGRES_URL, name a superuser of it too: \
    TEST_POSTGRES_ADMIN_URL=postgres://postgres@127.0.0.1:5432/postgres";

/// As [`postgres_url`], for a superuser of the same server.
pub fn admin_url() -> String {
    std::env::var("TEST_POSTGRES_ADMIN_URL").unwrap_or_else(|_| panic!("{NO_ADMIN}"))
}

pub const NO_REDIS: &str = "this test needs Redis. Run `scripts/test`, which starts one; or install it \
    (`apt-get install redis-server`), start it, and set TEST_REDIS_URL=redis://127.0.0.1:6379/";

pub fn redis_url() -> String {
    std::env::var("TEST_REDIS_URL").unwrap_or_else(|_| panic!("{NO_REDIS}"))
}

const NO_MYSQL: &str = "this test needs MariaDB 10.6 or later. Run `scripts/test`, which starts one; or install it \
    (`apt-get install mariadb-server`), make a user with GRANT ALL ON `tenancy\\_test\\_%`.*, and set \
    TEST_MYSQL_URL=mysql://user@localhost/?socket=/run/mysqld/mysqld.sock";

/// A new, empty database on MariaDB.
pub async fn fresh_mysql() -> (MySqlConnection, Cleanup) {
    let url = std::env::var("TEST_MYSQL_URL").unwrap_or_else(|_| panic!("{NO_MYSQL}"));
    let options: MySqlConnectOptions = url.parse().expect("TEST_MYSQL_URL reads");
    let mut server = options.connect().await.unwrap_or_else(|e| panic!("{NO_MYSQL}\n({e})"));
    let name = format!("tenancy_test_{}", Uuid::now_v7().simple());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut server)
        .await
        .expect("the user of TEST_MYSQL_URL can make databases whose names begin with `tenancy_test_`");
    let connection = options.clone().database(&name).connect().await.expect("the new database opens");
    let cleanup = Cleanup::database(name, async move |name| {
        let mut server = options.connect().await?;
        let drop = format!("DROP DATABASE IF EXISTS {name}");
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut server).await.map(|_| ())
    });
    (connection, cleanup)
}

pub struct World<DB: Backend> {
    pub db: TenantDb<DB>,
    pub pool: Pool<DB>,
    pub store: Arc<SqlStore<DB>>,
    pub directory: TenantDirectory,
    /// On the plan `free`.
    pub acme: TenantContext,
    /// On the plan `pro`.
    pub globex: TenantContext,
    cleanup: Cleanup,
}

impl<DB: TestBackend> World<DB> {
    pub async fn new() -> Self {
        Self::with(AuditPolicy::Optional, 8).await
    }

    pub async fn with(policy: AuditPolicy, connections: u32) -> Self {
        let (pool, cleanup) = DB::fresh(connections).await;
        let store = Arc::new(SqlStore::new(pool.clone()));
        store.migrate().await.expect("the crate's tables are made");
        DB::raw(&pool, DB::ORDERS).await.expect("the table of orders is made");
        let catalog = Arc::new(Catalog::from_toml(CATALOG).expect("the catalog reads"));
        let directory = TenantDirectory::new(store.clone(), catalog);
        let acme = enter(&directory, "acme", "free").await;
        let globex = enter(&directory, "globex", "pro").await;
        let db = TenantDb::from_pool(pool.clone()).audit(policy).build().await.expect("the pool is open");
        Self { db, pool, store, directory, acme, globex, cleanup }
    }

    /// A context of the same tenant as it stands now.
    pub async fn again(&self, ctx: &TenantContext) -> tenancy::Result<TenantContext> {
        self.directory.context(ctx.tenant_id(), ctx.actor().clone()).await
    }
}

async fn enter(directory: &TenantDirectory, slug: &str, plan: &str) -> TenantContext {
    let tenant =
        NewTenant::new(Slug::parse(slug).unwrap(), slug.to_uppercase(), plan).status(TenantStatus::Active);
    let tenant = directory.store().insert(tenant).await.expect("the tenant is new");
    directory.context(tenant.id(), Actor::user(format!("{slug}-user"))).await.expect("the tenant is open")
}

pub fn id_text(id: &TenantId) -> String {
    id.to_string()
}

/// Runs each test on SQLite and on Postgres.
#[macro_export]
macro_rules! on_every_database {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test::<sqlx::Sqlite>().await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test::<sqlx::Postgres>().await;
            })+
        }
    };
}
