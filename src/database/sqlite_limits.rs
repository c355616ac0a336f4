//! The time limits of a plan on SQLite: a progress handler ends a statement, and the busy timeout a wait for a lock.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Sqlite};
use sqlx_core::transaction::TransactionManager;

use super::pooled::Pooled;
use super::statement_clock::StatementClock;
use crate::plan::DatabaseLimits;

/// After how many steps of its virtual machine SQLite asks whether the statement may go on.
///
/// `COMMIT` and `ROLLBACK` take fewer, so neither is ever ended.
const STEPS: i32 = 1000;

/// Sets the time limits of a plan on a connection. They are taken off before the connection goes back to its pool.
pub(super) async fn set(conn: &mut Pooled<Sqlite>, limits: &DatabaseLimits) -> sqlx::Result<()> {
    let (statement, lock) = (limits.statement_timeout(), limits.lock_timeout());
    if statement.is_none() && lock.is_none() {
        return Ok(());
    }
    let busy_timeout = match lock {
        Some(_) => Some(sqlx::query_scalar("PRAGMA busy_timeout").fetch_one(&mut **conn).await?),
        None => None,
    };
    let clock = statement.map(StatementClock::new);
    conn.limit(clock.clone(), Box::new(move |conn| Box::pin(reset(conn, busy_timeout))));
    if let Some(lock) = lock {
        set_busy_timeout(conn, lock).await?;
    }
    if let Some(clock) = clock {
        conn.lock_handle().await?.set_progress_handler(STEPS, move || clock.allows());
    }
    Ok(())
}

async fn set_busy_timeout(conn: &mut SqliteConnection, timeout: Duration) -> sqlx::Result<()> {
    let pragma = format!("PRAGMA busy_timeout = {}", timeout.as_millis());
    sqlx::raw_sql(AssertSqlSafe(pragma)).execute(conn).await.map(|_| ())
}

/// Takes the time limits off the connection; closes it if that fails.
async fn reset(
    mut conn: PoolConnection<Sqlite>,
    busy_timeout: Option<i64>,
) -> Option<PoolConnection<Sqlite>> {
    match try_reset(&mut conn, busy_timeout).await {
        Ok(()) => Some(conn),
        Err(error) => {
            tracing::warn!(target: "tenancy::database", %error, "the time limits of a connection could not be removed, so it is closed");
            drop(conn.detach());
            None
        }
    }
}

async fn try_reset(conn: &mut SqliteConnection, busy_timeout: Option<i64>) -> sqlx::Result<()> {
    conn.lock_handle().await?.remove_progress_handler();
    // SQLite itself rolls back when it interrupts a write. The rollback of sqlx has failed then, and sqlx still counts
    // the transaction.
    if <Sqlite as sqlx::Database>::TransactionManager::get_transaction_depth(conn) > 0 {
        sqlx::raw_sql("BEGIN").execute(&mut *conn).await?;
        <Sqlite as sqlx::Database>::TransactionManager::rollback(conn).await?;
    }
    if let Some(milliseconds) = busy_timeout {
        let timeout = Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
        set_busy_timeout(conn, timeout).await?;
    }
    Ok(())
}
