use std::str::FromStr;

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{Pool, SqlSafeStr, Sqlite};
use sqlx_core::transaction::TransactionManager;
use tenancy_sql::{Dialect, Schema};

use super::{Backend, Line, Mode, encode_tenant_id, plain_backend, sealed};
use crate::error::Result;
use crate::scope::walls::{SendMode, Walls};
use crate::tenant::TenantId;

encode_tenant_id!(Sqlite);

impl sealed::Sealed for Sqlite {}

impl Backend for Sqlite {
    const DIALECT: Dialect = Dialect::Sqlite;
    const TWO_WALLS: bool = false;
    type Accepted = ();

    async fn begin(line: Line<'_, Self>, _: Option<&TenantId>, mode: Mode, _: bool) -> sqlx::Result<()> {
        // A deferred transaction that reads and then writes can lose against another writer without waiting;
        // an immediate one waits for its turn at the start.
        let statement = match mode {
            Mode::Read | Mode::Snapshot => "BEGIN",
            Mode::Write => "BEGIN IMMEDIATE",
        };
        <Sqlite as sqlx::Database>::TransactionManager::begin(line.conn, Some(statement.into_sql_str())).await
    }

    async fn enter(_: Line<'_, Self>, _: &TenantId) -> sqlx::Result<()> {
        Ok(())
    }

    async fn hold(_: Line<'_, Self>, _: &str) -> sqlx::Result<()> {
        // A transaction that was opened to write is the only one there is.
        Ok(())
    }

    fn abandon(conn: PoolConnection<Self>) {
        // sqlx's worker thread rolls back a BEGIN whose caller has gone, and no state of a tenant is on the
        // connection. Closing it would also lose an in-memory database.
        drop(conn);
    }

    async fn connect(options: PoolOptions<Self>, url: &str, _: SendMode) -> sqlx::Result<Pool<Self>> {
        let connect =
            SqliteConnectOptions::from_str(url)?.journal_mode(SqliteJournalMode::Wal).foreign_keys(true);
        options.connect_with(connect).await
    }

    async fn probe(_: &Pool<Self>, _: Walls, _: SendMode, _: &Schema, (): &()) -> Result<()> {
        Ok(())
    }

    plain_backend!(
        Sqlite,
        &[
            (1, "tenancy", include_str!("../../../migrations/sqlite/0001_tenancy.sql")),
            (2, "tenants own", include_str!("../../../migrations/sqlite/0002_tenants_own.sql")),
        ]
    );
}
