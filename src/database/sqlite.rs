//! [`Driver`] for SQLite.

use std::str::FromStr;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{Pool, SqlSafeStr, Sqlite};
use sqlx_core::transaction::TransactionManager;
use tenancy_sql::TenantType;

use super::begin::Begin;
use super::bind::arguments;
use super::conn::{Conn, TxMode};
use super::connection_mode::ConnectionMode;
use super::driver::{Driver, common_methods};
use super::enforcement::Enforcement;
use super::error::{is_missing_table, moved, to_sqlx_error};
use super::own_tables::OwnTables;
use super::pooled::Pooled;
use super::route::Route;
use super::sqlite_limits;
use super::tenant_id::encode_tenant_id;
use super::value::Value;
use crate::error::Result;
use crate::plan::DatabaseLimits;
use crate::tenant::{Placement, TenantId};

encode_tenant_id!(Sqlite);

const FENCE: &str = "SELECT 1 FROM tenancy_fences WHERE tenant_id = $1 AND place = $2";

impl Driver for Sqlite {
    const HAS_RLS: bool = false;
    const HAS_SCHEMAS: bool = false;
    // Closing the connection would lose an in-memory database.
    const DRAINS_FOR: Option<Duration> = None;
    // One transaction writes at a time.
    const CLAIM_PLACE: &str = "DELETE FROM tenancy_ready_places WHERE name = \
        (SELECT name FROM tenancy_ready_places WHERE kind = $1 AND ready_us > 0 ORDER BY ready_us, name LIMIT 1) RETURNING name";

    /// An SQLite file belongs to one machine.
    const NOTIFY: Option<&str> = None;

    async fn begin(conn: Conn<'_, Self>, begin: Begin<'_>) -> sqlx::Result<()> {
        // A deferred transaction that reads and then writes can fail without waiting if another one writes. An
        // immediate transaction waits for the write lock at its start.
        let statement = match begin.mode {
            TxMode::Read | TxMode::Snapshot => "BEGIN",
            TxMode::Write => "BEGIN IMMEDIATE",
        };
        <Sqlite as sqlx::Database>::TransactionManager::begin(conn.conn, Some(statement.into_sql_str())).await
    }

    async fn switch(_: Conn<'_, Self>, _: &TenantId, _: &Route, _: bool) -> sqlx::Result<()> {
        Ok(())
    }

    async fn own_tables(_: &mut SqliteConnection) -> Result<OwnTables> {
        Ok(OwnTables::default())
    }

    async fn set_own_tenant_type(_: &mut SqliteConnection, _: TenantType) -> Result<()> {
        Ok(())
    }

    async fn check_connection_mode(_: &mut SqliteConnection, _: ConnectionMode) -> Result<()> {
        Ok(())
    }

    async fn check_database(_: &mut SqliteConnection, _: Enforcement, _: TenantType) -> Result<()> {
        Ok(())
    }

    async fn advisory_lock(_: Conn<'_, Self>, _: &str) -> sqlx::Result<()> {
        // SQLite runs one write transaction at a time.
        Ok(())
    }

    async fn limit(conn: &mut Pooled<Self>, limits: &DatabaseLimits) -> sqlx::Result<()> {
        sqlite_limits::set(conn, limits).await
    }

    async fn checks_client(_: &mut SqliteConnection, _: ConnectionMode) -> bool {
        false
    }

    async fn check_fence(conn: Conn<'_, Self>, tenant: &TenantId, placement: &Placement) -> sqlx::Result<()> {
        let binds = [Value::Text(&tenant.to_string()), Value::Text(&placement.to_string())];
        let binds = arguments::<Self>(&binds).map_err(to_sqlx_error)?;
        match Self::fetch(conn, FENCE.into_sql_str(), binds).await {
            Ok(found) if found.is_empty() => Ok(()),
            Ok(_) => Err(to_sqlx_error(moved())),
            // Without the tables of the library, no tenant was moved.
            Err(sqlx::Error::Database(e)) if is_missing_table(&*e) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn discard(conn: Pooled<Self>) {
        // sqlx's worker thread rolls back a BEGIN whose future was dropped, and SQLite has no tenant setting on the
        // connection. Closing the connection would lose an in-memory database.
        drop(conn);
    }

    fn connect_options(url: &str) -> sqlx::Result<SqliteConnectOptions> {
        Ok(SqliteConnectOptions::from_str(url)?.journal_mode(SqliteJournalMode::Wal).foreign_keys(true))
    }

    fn identity(connect: &SqliteConnectOptions) -> Option<(u64, u64)> {
        #[cfg(unix)]
        let identity = std::fs::metadata(connect.get_filename())
            .map(|file| {
                (std::os::unix::fs::MetadataExt::dev(&file), std::os::unix::fs::MetadataExt::ino(&file))
            })
            .ok();
        // Elsewhere a file that is open cannot be removed.
        #[cfg(not(unix))]
        let identity = None;
        identity
    }

    fn pool(options: PoolOptions<Self>, connect: SqliteConnectOptions, _: ConnectionMode) -> Pool<Self> {
        options.connect_lazy_with(connect)
    }

    common_methods!(
        Sqlite,
        &[
            (1, "tenancy", include_str!("../../migrations/sqlite/0001_tenancy.sql")),
            (2, "tenants own", include_str!("../../migrations/sqlite/0002_tenants_own.sql")),
            (3, "placements", include_str!("../../migrations/sqlite/0003_placements.sql")),
            (4, "billing", include_str!("../../migrations/sqlite/0004_billing.sql")),
            (5, "billing outbox", include_str!("../../migrations/sqlite/0005_billing_outbox.sql")),
            (6, "checkouts", include_str!("../../migrations/sqlite/0006_checkouts.sql")),
            (7, "usage", include_str!("../../migrations/sqlite/0007_usage.sql")),
            (8, "quotas", include_str!("../../migrations/sqlite/0008_quotas.sql")),
            (9, "gauge resources", include_str!("../../migrations/sqlite/0009_gauge_resources.sql")),
            (10, "suspensions", include_str!("../../migrations/sqlite/0010_suspensions.sql")),
            (11, "deletions", include_str!("../../migrations/sqlite/0011_deletions.sql")),
            (12, "erasure", include_str!("../../migrations/sqlite/0012_erasure.sql")),
            (13, "moves", include_str!("../../migrations/sqlite/0013_moves.sql")),
        ]
    );
}
