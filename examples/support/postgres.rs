//! A database for the test of one example. It is dropped with the value.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool};

const NO_POSTGRES: &str = "this test needs PostgreSQL 15 or later. Run `scripts/test`, which starts one; or make a role \
    with LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS, and set TEST_POSTGRES_URL=postgres://role@127.0.0.1:5432/postgres";

/// A new, empty database on the server of `TEST_POSTGRES_URL`.
pub(crate) struct FreshDatabase {
    pub(crate) url: String,
    server: String,
    name: String,
}

impl FreshDatabase {
    pub(crate) async fn new() -> Self {
        let server = std::env::var("TEST_POSTGRES_URL").unwrap_or_else(|_| panic!("{NO_POSTGRES}"));
        let name = format!("tenancy_test_{}", uuid::Uuid::now_v7().simple());
        execute(&server, format!("CREATE DATABASE {name}"))
            .await
            .unwrap_or_else(|e| panic!("{NO_POSTGRES}\n({e})"));
        let options: PgConnectOptions = server.parse().expect("TEST_POSTGRES_URL is a URL");
        let url = options.database(&name).to_url_lossy().to_string();
        Self { url, server, name }
    }
}

impl Drop for FreshDatabase {
    fn drop(&mut self) {
        let (server, drop) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        // On a thread, because the runtime of the test is inside of this call.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(execute(&server, drop))
        });
        assert!(
            matches!(dropped.join(), Ok(Ok(()))) || std::thread::panicking(),
            "{} stays behind",
            self.name
        );
    }
}

async fn execute(server: &str, sql: String) -> sqlx::Result<()> {
    let pool = PgPool::connect(server).await?;
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await;
    pool.close().await;
    done.map(|_| ())
}
