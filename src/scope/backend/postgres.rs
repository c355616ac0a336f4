use std::fmt::Write;
use std::time::Duration;

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Pool, Postgres, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;
use tenancy_sql::{Dialect, Schema};

use super::{Backend, Line, Mode, encode_tenant_id, plain_backend, probe, sealed};
use crate::error::Result;
use crate::isolation::doctor::Check;
use crate::scope::walls::{SendMode, Walls};
use crate::tenant::TenantId;

/// After how long a connection may have gone without anybody having noticed.
const IDLE: Duration = Duration::from_secs(10);

encode_tenant_id!(Postgres);

impl sealed::Sealed for Postgres {}

impl Backend for Postgres {
    const DIALECT: Dialect = Dialect::Postgres;
    const TWO_WALLS: bool = true;
    type Accepted = Vec<Check>;

    async fn begin(
        line: Line<'_, Self>,
        tenant: Option<&TenantId>,
        mode: Mode,
        echo: bool,
    ) -> sqlx::Result<()> {
        let begin = match mode {
            Mode::Read => "BEGIN READ ONLY",
            Mode::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Mode::Write => "BEGIN",
        };
        if line.send == SendMode::Citus {
            // A message of several statements reaches the workers whole, and its BEGIN is one too many there.
            open(line.conn, begin.to_owned()).await?;
            return match tenant {
                Some(tenant) => Self::enter(line, tenant).await,
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
        if echo {
            let _ = write!(message, "; SELECT 1/({right})::int");
        }
        open(line.conn, message).await.map_err(|error| match &error {
            sqlx::Error::Database(e) if e.code().as_deref() == Some(DIVISION_BY_ZERO) => {
                sqlx::Error::BeginFailed
            }
            _ => error,
        })
    }

    async fn enter(line: Line<'_, Self>, tenant: &TenantId) -> sqlx::Result<()> {
        let statement = format!("SET LOCAL app.tenant_id = '{}'", setting(tenant));
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(line.conn).await.map(|_| ())
    }

    async fn hold(line: Line<'_, Self>, key: &str) -> sqlx::Result<()> {
        // Ends with the transaction. Two keys of one hash wait for each other without need, and no more.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(key)
            .persistent(line.send.names())
            .execute(line.conn)
            .await
            .map(|_| ())
    }

    fn abandon(conn: PoolConnection<Self>) {
        // The server may be inside a transaction of this tenant that nobody knows of: in sqlx 0.9.0 the pool
        // would hand it to the next request. Dropping the socket ends the session, and the transaction with it.
        drop(conn.detach());
    }

    async fn connect(options: PoolOptions<Self>, url: &str, send: SendMode) -> sqlx::Result<Pool<Self>> {
        let connect: PgConnectOptions = url.parse()?;
        let connect = if send.names() { connect } else { connect.statement_cache_capacity(0) };
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

    async fn probe(
        pool: &Pool<Self>,
        walls: Walls,
        send: SendMode,
        schema: &Schema,
        accepted: &Self::Accepted,
    ) -> Result<()> {
        probe::probe(pool, walls, send, schema, accepted).await
    }

    plain_backend!(
        Postgres,
        &[
            (1, "tenancy", include_str!("../../../migrations/postgres/0001_tenancy.sql")),
            (2, "tenants own", include_str!("../../../migrations/postgres/0002_tenants_own.sql")),
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
