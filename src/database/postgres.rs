//! [`Driver`] for PostgreSQL.

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

/// How long a connection is idle before it is pinged on its next use.
const PING_AFTER_IDLE: Duration = Duration::from_secs(10);

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
            // Citus forwards a message of several statements to its workers whole, with a BEGIN too many.
            send_begin(conn.conn, begin.to_owned()).await?;
            return match tenant {
                Some(tenant) => Self::set_tenant(conn, tenant).await,
                None => Ok(()),
            };
        }
        // One message begins the transaction and sets the tenant. The setting is local to the transaction. The check
        // fails unless the transaction began with this message and its tenant is this one.
        let mut message = begin.to_owned();
        let mut check = "now() = statement_timestamp()".to_owned();
        if let Some(tenant) = tenant.map(setting_value) {
            let _ = write!(message, "; SET LOCAL app.tenant_id = '{tenant}'");
            let _ = write!(check, " AND current_setting('app.tenant_id') = '{tenant}'");
        }
        if verify_tenant {
            let _ = write!(message, "; SELECT 1/({check})::int");
        }
        send_begin(conn.conn, message).await.map_err(|error| match &error {
            sqlx::Error::Database(e) if e.code().as_deref() == Some(DIVISION_BY_ZERO) => {
                sqlx::Error::BeginFailed
            }
            _ => error,
        })
    }

    async fn set_tenant(conn: Conn<'_, Self>, tenant: &TenantId) -> sqlx::Result<()> {
        let statement = format!("SET LOCAL app.tenant_id = '{}'", setting_value(tenant));
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn.conn).await.map(|_| ())
    }

    async fn advisory_lock(conn: Conn<'_, Self>, key: &str) -> sqlx::Result<()> {
        // The lock ends with the transaction. Two keys with the same hash wait for each other needlessly; that is
        // safe.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(key)
            .persistent(conn.connection_mode.uses_named_statements())
            .execute(conn.conn)
            .await
            .map(|_| ())
    }

    fn discard(conn: PoolConnection<Self>) {
        // The session may be inside a transaction of this tenant. In sqlx 0.9.0 the pool would give it to the next
        // request. Closing the socket ends the session, and the transaction with it.
        drop(conn.detach());
    }

    async fn connect(
        options: PoolOptions<Self>,
        url: &str,
        connection_mode: ConnectionMode,
    ) -> sqlx::Result<Pool<Self>> {
        let connect: PgConnectOptions = url.parse()?;
        let connect = if connection_mode.uses_named_statements() {
            connect
        } else {
            connect.statement_cache_capacity(0)
        };
        // `test_before_acquire` pings a connection on each use, which costs a round trip. `BEGIN` detects a dead
        // connection as well, so only a connection that was idle for long is pinged.
        let options = options.test_before_acquire(false).before_acquire(|conn, meta| {
            Box::pin(async move {
                if meta.idle_for > PING_AFTER_IDLE {
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

async fn send_begin(conn: &mut PgConnection, message: String) -> sqlx::Result<()> {
    let message = AssertSqlSafe(message).into_sql_str();
    <Postgres as sqlx::Database>::TransactionManager::begin(conn, Some(message)).await
}

/// The tenant id as text for `app.tenant_id`. It is part of the SQL, so its characters are checked once more.
fn setting_value(tenant: &TenantId) -> String {
    let text = tenant.to_string();
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "a tenant id is plain text");
    text
}
