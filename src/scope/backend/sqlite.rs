//! SQLite as a [`Backend`].

use std::str::FromStr;

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{Pool, SqlSafeStr, Sqlite};
use sqlx_core::transaction::TransactionManager;
use tenancy_sql::{Dialect, Schema, TenantType};

use super::tenant_type::encode_tenant_id;
use super::{Backend, ColumnType, Conn, TenantColumn, TxMode, database_error, plain_backend, sealed};
use crate::error::Result;
use crate::scope::enforcement::{ConnectionMode, Enforcement};
use crate::tenant::TenantId;

encode_tenant_id!(Sqlite);

impl sealed::Sealed for Sqlite {}

impl Backend for Sqlite {
    const DIALECT: Dialect = Dialect::Sqlite;
    const HAS_RLS: bool = false;
    type Accepted = ();

    async fn begin(conn: Conn<'_, Self>, _: Option<&TenantId>, mode: TxMode, _: bool) -> sqlx::Result<()> {
        // A deferred transaction that reads and then writes can lose against another writer without waiting;
        // an immediate one waits for its turn at the start.
        let statement = match mode {
            TxMode::Read | TxMode::Snapshot => "BEGIN",
            TxMode::Write => "BEGIN IMMEDIATE",
        };
        <Sqlite as sqlx::Database>::TransactionManager::begin(conn.conn, Some(statement.into_sql_str())).await
    }

    async fn set_tenant(_: Conn<'_, Self>, _: &TenantId) -> sqlx::Result<()> {
        Ok(())
    }

    async fn advisory_lock(_: Conn<'_, Self>, _: &str) -> sqlx::Result<()> {
        // A transaction that was opened to write is the only one there is.
        Ok(())
    }

    fn discard(conn: PoolConnection<Self>) {
        // sqlx's worker thread rolls back a BEGIN whose caller has gone, and no state of a tenant is on the
        // connection. Closing it would also lose an in-memory database.
        drop(conn);
    }

    async fn connect(options: PoolOptions<Self>, url: &str, _: ConnectionMode) -> sqlx::Result<Pool<Self>> {
        let connect =
            SqliteConnectOptions::from_str(url)?.journal_mode(SqliteJournalMode::Wal).foreign_keys(true);
        options.connect_with(connect).await
    }

    async fn preflight(_: &Pool<Self>, _: Enforcement, _: ConnectionMode, _: &Schema, (): &()) -> Result<()> {
        Ok(())
    }

    async fn tenant_columns(pool: &Pool<Self>, schema: &Schema) -> Result<Vec<TenantColumn>> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT m.name, c.name, c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND substr(m.name, 1, 8) <> 'tenancy_'",
        )
        .fetch_all(pool)
        .await
        .map_err(|e| database_error(&e))?;
        let is_tenant = |(table, column, _): &(String, String, String)| {
            schema
                .tenant_column(Dialect::Sqlite, table)
                .is_some_and(|tenant| tenant.eq_ignore_ascii_case(column))
        };
        let column = |(table, column, written): (String, String, String)| {
            let is = affinity(&written);
            TenantColumn { name: format!("{table}.{column}"), written, is }
        };
        Ok(rows.into_iter().filter(is_tenant).map(column).collect())
    }

    plain_backend!(
        Sqlite,
        &[
            (1, "tenancy", include_str!("../../../migrations/sqlite/0001_tenancy.sql")),
            (2, "tenants own", include_str!("../../../migrations/sqlite/0002_tenants_own.sql")),
        ]
    );
}

/// <https://sqlite.org/datatype3.html#determination_of_column_affinity>
fn affinity(written: &str) -> ColumnType {
    let written = written.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| written.contains(word));
    if has(&["INT"]) {
        ColumnType::Stored(TenantType::BigInt)
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        ColumnType::Typed(TenantType::Text)
    } else if has(&["BLOB"]) {
        ColumnType::Stored(TenantType::Uuid)
    } else if ["", "ANY", "UUID"].contains(&written.as_str()) {
        ColumnType::Any
    } else {
        ColumnType::Numeric
    }
}
