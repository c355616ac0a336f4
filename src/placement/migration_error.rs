//! The errors of sqlx's migrator as errors of this crate.

use sqlx::migrate::MigrateError;

use crate::database::database_error;
use crate::error::{Error, ErrorKind};

/// An error of sqlx's migrator. It names the migration.
pub(super) fn migration_error(error: &MigrateError) -> Error {
    let (kind, text) = match error {
        MigrateError::ExecuteMigration(cause, version) => {
            let kind = database_error(cause).kind();
            let kind = if kind == ErrorKind::StoreUnavailable { kind } else { ErrorKind::Database };
            (kind, format!("the migration {version} failed"))
        }
        MigrateError::VersionMismatch(version) => (
            ErrorKind::Misconfigured,
            format!(
                "the migration {version} was applied with another text; restore its file, and add a new migration"
            ),
        ),
        MigrateError::VersionMissing(version) => (
            ErrorKind::Misconfigured,
            format!(
                "the migration {version} was applied, and this program does not have it; is it an older version?"
            ),
        ),
        MigrateError::Dirty(version) => (
            ErrorKind::Misconfigured,
            format!("the migration {version} was applied in part; repair the place, and delete its row"),
        ),
        MigrateError::Execute(cause) => return database_error(cause),
        _ => (ErrorKind::Database, "the migrations cannot be applied".to_owned()),
    };
    Error::new(kind, text).with_source(error.to_string())
}
