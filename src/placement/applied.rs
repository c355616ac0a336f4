//! Reads which of the application's migrations a place has.

use sqlx::migrate::{AppliedMigration, Migrate, MigrateError};

use super::migration_error::migration_error;
use crate::database::is_missing_table;
use crate::error::Result;

const TABLE: &str = "_sqlx_migrations";

/// The migrations that were applied. A place without the table of migrations has none.
pub(crate) async fn list<C: Migrate>(conn: &mut C) -> Result<Vec<AppliedMigration>> {
    match conn.list_applied_migrations(TABLE).await {
        Err(MigrateError::Execute(sqlx::Error::Database(e))) if is_missing_table(&*e) => Ok(Vec::new()),
        found => found.map_err(|e| migration_error(&e)),
    }
}
