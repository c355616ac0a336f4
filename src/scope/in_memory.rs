//! [`sqlite_in_memory`]: a database for tests and examples.

use sqlx::SqlitePool;
use sqlx::sqlite::SqlitePoolOptions;

use crate::database::database_error;
use crate::error::Result;

/// Creates an SQLite database in memory, runs the SQL of its tables, and returns its pool. For tests and examples.
///
/// The pool has one connection, which it never closes, because the database ends with that connection. A transaction
/// therefore makes every other statement wait.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
/// use tenancy::TenantDb;
///
/// let tables = "CREATE TABLE notes (tenant_id BLOB, id INTEGER, text TEXT, PRIMARY KEY (tenant_id, id))";
/// let db = TenantDb::from_pool(tenancy::scope::sqlite_in_memory(tables).await?).build().await?;
/// # let _ = db;
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Error::from_sqlx`](crate::Error::from_sqlx), if SQLite rejects the SQL.
pub async fn sqlite_in_memory(tables: &'static str) -> Result<SqlitePool> {
    let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = one.connect("sqlite::memory:").await.map_err(|e| database_error(&e))?;
    sqlx::raw_sql(tables).execute(&pool).await.map_err(|e| database_error(&e))?;
    Ok(pool)
}
