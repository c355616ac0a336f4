//! The errors of reading and changing policies.

use crate::error::{Error, ErrorKind};

pub(super) fn refused(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misconfigured, text.into())
}

/// The database does not answer what it is asked.
pub(super) fn unread(error: sqlx::Error) -> Error {
    let text = format!("the database does not say what its tables are: {}", said(&error));
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

/// The first line of what the database said, which names tables and keys but no row.
pub(super) fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(db) => db.message().to_owned(),
        other => other.to_string(),
    }
}
