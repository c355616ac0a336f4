//! The errors of `RlsPolicies`: how a database error becomes one of this crate.

use crate::error::{Error, ErrorKind};

/// The declaration does not fit the database.
pub(super) fn misconfigured(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misconfigured, text.into())
}

/// A query on the catalogue failed.
pub(super) fn read_error(error: sqlx::Error) -> Error {
    let text = format!("the catalogue of the database cannot be read: {}", message(&error));
    Error::new(kind(&error), text).with_source(error)
}

pub(super) fn kind(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            ErrorKind::StoreUnavailable
        }
        sqlx::Error::Database(db) if matches!(db.code().as_deref(), Some("40001" | "40P01" | "55P03")) => {
            ErrorKind::Retryable
        }
        _ => ErrorKind::Database,
    }
}

/// The message of a database error, which names tables and keys but contains no row.
pub(super) fn message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(db) => db.message().to_owned(),
        other => other.to_string(),
    }
}
