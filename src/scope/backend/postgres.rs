use std::time::Duration;

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Pool, Postgres, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;
use tenancy_sql::Dialect;

use super::{Backend, Mode, encode_tenant_id, plain_backend, sealed};
use crate::tenant::TenantId;

/// After how long a connection may have gone without anybody having noticed.
const IDLE: Duration = Duration::from_secs(10);

encode_tenant_id!(Postgres);

impl sealed::Sealed for Postgres {}

impl Backend for Postgres {
    const DIALECT: Dialect = Dialect::Postgres;
    // Row-level security only knows the tenant inside a transaction that said so.
    const BARE_READS: bool = false;

    async fn begin(conn: &mut PgConnection, tenant: Option<&TenantId>, mode: Mode) -> sqlx::Result<()> {
        let begin = match mode {
            Mode::Read => "BEGIN READ ONLY",
            Mode::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Mode::Write => "BEGIN",
        };
        // One message for both, and local to the transaction: nothing of the tenant outlives it.
        let statement = match tenant {
            Some(tenant) => format!("{begin}; SET LOCAL app.tenant_id = '{}'", setting(tenant)),
            None => begin.to_owned(),
        };
        let statement = AssertSqlSafe(statement).into_sql_str();
        <Postgres as sqlx::Database>::TransactionManager::begin(conn, Some(statement)).await
    }

    async fn enter(conn: &mut PgConnection, tenant: &TenantId) -> sqlx::Result<()> {
        let statement = format!("SET LOCAL app.tenant_id = '{}'", setting(tenant));
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn).await.map(|_| ())
    }

    async fn hold(conn: &mut PgConnection, key: &str) -> sqlx::Result<()> {
        // Ends with the transaction. Two keys of one hash wait for each other without need, and no more.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(key)
            .execute(conn)
            .await
            .map(|_| ())
    }

    fn abandon(conn: PoolConnection<Self>) {
        // The server may be inside a transaction of this tenant that nobody knows of: in sqlx 0.9.0 the pool
        // would hand it to the next request. Dropping the socket ends the session, and the transaction with it.
        drop(conn.detach());
    }

    async fn connect(options: PoolOptions<Self>, url: &str) -> sqlx::Result<Pool<Self>> {
        // sqlx asks a connection whether it is alive each time, which costs a round trip. `BEGIN` finds that out as
        // well, so only one that lay idle for long is asked.
        let options = options.test_before_acquire(false).before_acquire(|conn, meta| {
            Box::pin(async move {
                if meta.idle_for > IDLE {
                    conn.ping().await?;
                }
                Ok(true)
            })
        });
        options.connect(url).await
    }

    plain_backend!(
        Postgres,
        &[(1, "tenancy", include_str!("../../../migrations/postgres/0001_tenancy.sql"))]
    );
}

/// The tenant as text for `app.tenant_id`; every character of an id is safe, and it is checked all the same.
fn setting(tenant: &TenantId) -> String {
    let text = tenant.to_string();
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "a tenant id is plain text");
    text
}
