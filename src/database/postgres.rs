//! PostgreSQL as a [`Driver`].

use std::fmt::Write;
use std::time::Duration;

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Pool, Postgres, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;

use super::conn::{Conn, TxMode};
use super::connection_mode::ConnectionMode;
use super::driver::{Driver, common_methods};
use super::tenant_id::encode_tenant_id;
use crate::tenant::TenantId;

/// After how long a connection may have gone without anybody having noticed.
const IDLE: Duration = Duration::from_secs(10);

encode_tenant_id!(Postgres);

impl Driver for Postgres {
    const HAS_RLS: bool = true;

    async fn begin(
        conn: Conn<'_, Self>,
        tenant: Option<&TenantId>,
        mode: TxMode,
        verify_tenant: bool,
    ) -> sqlx::Result<()> {
        let begin = match mode {
            TxMode::Read => "BEGIN READ ONLY",
            TxMode::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            TxMode::Write => "BEGIN",
        };
        if conn.connection_mode == ConnectionMode::Citus {
            // A message of several statements reaches the workers whole, and its BEGIN is one too many there.
            open(conn.conn, begin.to_owned()).await?;
            return match tenant {
                Some(tenant) => Self::set_tenant(conn, tenant).await,
                None => Ok(()),
            };
        }
        // One message for all, and local to the transaction: nothing of the tenant outlives it. The echo is the tenant
        // as the database has it, in a transaction that is as old as this message and no older.
        let mut message = begin.to_owned();
        let mut right = "now() = statement_timestamp()".to_owned();
        if let Some(tenant) = tenant.map(setting) {
            let _ = write!(message, "; SET LOCAL app.tenant_id = '{tenant}'");
            let _ = write!(right, " AND current_setting('app.tenant_id') = '{tenant}'");
        }
        if verify_tenant {
            let _ = write!(message, "; SELECT 1/({right})::int");
        }
        open(conn.conn, message).await.map_err(|error| match &error {
            sqlx::Error::Database(e) if e.code().as_deref() == Some(DIVISION_BY_ZERO) => {
                sqlx::Error::BeginFailed
            }
            _ => error,
        })
    }

    async fn set_tenant(conn: Conn<'_, Self>, tenant: &TenantId) -> sqlx::Result<()> {
        let statement = format!("SET LOCAL app.tenant_id = '{}'", setting(tenant));
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn.conn).await.map(|_| ())
    }

    async fn advisory_lock(conn: Conn<'_, Self>, key: &str) -> sqlx::Result<()> {
        // Ends with the transaction. Two keys of one hash wait for each other without need, and no more.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(key)
            .persistent(conn.connection_mode.names())
            .execute(conn.conn)
            .await
            .map(|_| ())
    }

    fn discard(conn: PoolConnection<Self>) {
        // The server may be inside a transaction of this tenant that nobody knows of: in sqlx 0.9.0 the pool
        // would hand it to the next request. Dropping the socket ends the session, and the transaction with it.
        drop(conn.detach());
    }

    async fn connect(
        options: PoolOptions<Self>,
        url: &str,
        connection_mode: ConnectionMode,
    ) -> sqlx::Result<Pool<Self>> {
        let connect: PgConnectOptions = url.parse()?;
        let connect = if connection_mode.names() { connect } else { connect.statement_cache_capacity(0) };
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
        options.connect_with(connect).await
    }

    common_methods!(
        Postgres,
        &[
            (1, "tenancy", include_str!("../../migrations/postgres/0001_tenancy.sql")),
            (2, "tenants own", include_str!("../../migrations/postgres/0002_tenants_own.sql")),
        ]
    );
}

const DIVISION_BY_ZERO: &str = "22012";

async fn open(conn: &mut PgConnection, message: String) -> sqlx::Result<()> {
    let message = AssertSqlSafe(message).into_sql_str();
    <Postgres as sqlx::Database>::TransactionManager::begin(conn, Some(message)).await
}

/// The tenant as text for `app.tenant_id`; every character of an id is safe, and it is checked all the same.
fn setting(tenant: &TenantId) -> String {
    let text = tenant.to_string();
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "a tenant id is plain text");
    text
}
