//! PostgreSQL as a [`Backend`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Pool, Postgres, Row, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;
use tenancy_sql::{Dialect, Schema, TenantType};

use super::tenant_type::encode_tenant_id;
use super::{
    Backend, ColumnType, Conn, TenantColumn, TxMode, database_error, plain_backend, preflight, sealed,
};
use crate::error::Result;
use crate::isolation::doctor::Check;
use crate::scope::enforcement::{ConnectionMode, Enforcement};
use crate::tenant::TenantId;

/// After how long a connection may have gone without anybody having noticed.
const IDLE: Duration = Duration::from_secs(10);

encode_tenant_id!(Postgres);

impl sealed::Sealed for Postgres {}

impl Backend for Postgres {
    const DIALECT: Dialect = Dialect::Postgres;
    const HAS_RLS: bool = true;
    type Accepted = Vec<Check>;

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

    async fn preflight(
        pool: &Pool<Self>,
        enforcement: Enforcement,
        connection_mode: ConnectionMode,
        schema: &Schema,
        accepted: &Self::Accepted,
    ) -> Result<()> {
        preflight::preflight(pool, enforcement, connection_mode, schema, accepted).await
    }

    async fn tenant_columns(pool: &Pool<Self>, schema: &Schema) -> Result<Vec<TenantColumn>> {
        // Only the tenant columns are read, and each table has its own. Simple queries, for a pooler's sake.
        let tables = rows(pool, TABLES.to_owned()).await?;
        let wanted: BTreeMap<&str, &str> = tables
            .iter()
            .filter_map(|[table, qualified]| {
                // A table can be declared by either name.
                schema.tenant_column(Dialect::Postgres, qualified)?;
                Some((qualified.as_str(), schema.tenant_column(Dialect::Postgres, table)?))
            })
            .collect();
        let names: BTreeSet<&str> = wanted.values().copied().collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        // The schema takes plain names only.
        let names = names.into_iter().collect::<Vec<_>>().join("', '");
        let columns = rows(pool, format!("{TYPED_COLUMNS} AND a.attname IN ('{names}')")).await?;
        let column = |[table, column, written]: [String; 3]| {
            let is = match written.as_str() {
                "uuid" => TenantType::Uuid,
                "bigint" | "integer" => TenantType::BigInt,
                _ => TenantType::Text,
            };
            let own = wanted.get(table.as_str()) == Some(&column.as_str());
            own.then(|| TenantColumn {
                name: format!("{table}.{column}"),
                written,
                is: ColumnType::Typed(is),
            })
        };
        Ok(columns.into_iter().filter_map(column).collect())
    }

    plain_backend!(
        Postgres,
        &[
            (1, "tenancy", include_str!("../../../migrations/postgres/0001_tenancy.sql")),
            (2, "tenants own", include_str!("../../../migrations/postgres/0002_tenants_own.sql")),
        ]
    );
}

/// The tables that the role can use: each as a statement names it, and with its schema.
const TABLES: &str = "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname::text \
    ELSE n.nspname || '.' || c.relname END, n.nspname || '.' || c.relname \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' \
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND left(c.relname, 8) <> 'tenancy_' \
    AND (has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(c.oid, 'DELETE'))";

/// Columns that can hold a tenant's id: the table with its schema, the column, and its type.
const TYPED_COLUMNS: &str = "SELECT n.nspname || '.' || c.relname, a.attname::text, \
    format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) \
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_type t ON t.oid = a.atttypid \
    WHERE a.attnum > 0 AND NOT a.attisdropped AND coalesce(nullif(t.typbasetype, 0), t.oid) \
    IN ('uuid'::regtype, 'int8'::regtype, 'int4'::regtype, 'text'::regtype, 'varchar'::regtype)";

/// The rows of a query whose columns are all texts.
async fn rows<const N: usize>(pool: &Pool<Postgres>, sql: String) -> Result<Vec<[String; N]>> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(pool).await.map_err(|e| database_error(&e))?;
    rows.iter()
        .map(|row| {
            let mut texts = std::array::from_fn(|_| String::new());
            for (at, text) in texts.iter_mut().enumerate() {
                *text = row.try_get(at).map_err(|e| database_error(&e))?;
            }
            Ok(texts)
        })
        .collect()
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
