//! Maps errors of sqlx and of the databases (SQLSTATE) to [`ErrorKind`].

use sqlx::error::{BoxDynError, DatabaseError};

use crate::error::{Error, ErrorKind};

impl Error {
    /// The error of this crate for one of sqlx, as SQL of your own on a scope gives it (feature `dynamic`).
    ///
    /// A rejected statement is [`ErrorKind::SqlRejected`] again, a violated key [`ErrorKind::Conflict`] with its
    /// [`constraint`](Self::constraint), and so on, so a handler that answers [`tenancy::Result`](crate::Result) needs no
    /// error type of its own.
    ///
    /// ```
    /// use tenancy::Error;
    /// use tenancy::scope::Scope;
    ///
    /// async fn close(scope: &Scope<'_, sqlx::Postgres>, id: i64) -> tenancy::Result<u64> {
    ///     let closed = sqlx::query("UPDATE orders SET status = 'closed' WHERE id = $1").bind(id);
    ///     Ok(closed.execute(scope).await.map_err(Error::from_sqlx)?.rows_affected())
    /// }
    /// ```
    pub fn from_sqlx(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Configuration(cause) | sqlx::Error::Encode(cause) if cause.is::<Self>() => {
                encoding_error(cause)
            }
            sqlx::Error::RowNotFound => Self::new(ErrorKind::NotFound, "no such row"),
            error => database_error(&error),
        }
    }
}

/// The error of a value that does not encode; an error of this crate is returned unchanged.
pub(crate) fn encoding_error(cause: BoxDynError) -> Error {
    match cause.downcast::<Error>() {
        Ok(own) => *own,
        Err(cause) => {
            Error::new(ErrorKind::InvalidInput, "a value does not encode for the database").with_source(cause)
        }
    }
}

/// The name of the constraint that a statement violates. SQLite reports no name, but the columns of a key.
fn constraint(error: &dyn DatabaseError) -> Option<String> {
    let said = || error.message().split_once("constraint failed: ").map(|(_, name)| name);
    error.constraint().or_else(said).map(str::to_owned)
}

/// One error for whatever a database says. The database's own text can hold values, so it is the cause only,
/// without the detail that names keys; a conflict keeps none at all.
pub(crate) fn database_error(error: &sqlx::Error) -> Error {
    use sqlx::error::ErrorKind as Sql;

    let (kind, text) = match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => {
            (ErrorKind::StoreUnavailable, "the database cannot be reached; try again later")
        }
        sqlx::Error::BeginFailed => (
            ErrorKind::Misconfigured,
            "a connection was inside of another transaction, or lost the tenant that it was told: let `TenantDb` have \
             its pool alone, and name a pooler by `connection_mode`",
        ),
        sqlx::Error::Encode(cause) | sqlx::Error::Configuration(cause) if cause.is::<Error>() => {
            let own: &Error = cause.downcast_ref().expect("it was just asked");
            return Error::new(own.kind(), own.to_string());
        }
        sqlx::Error::Encode(_) => (ErrorKind::InvalidInput, "a value does not encode for the database"),
        sqlx::Error::Database(db) => match (db.kind(), db.code().as_deref()) {
            (Sql::UniqueViolation, _) => {
                return Error::new(ErrorKind::Conflict, "a row with this key exists; choose another key")
                    .with_constraint(constraint(db.as_ref()));
            }
            // SQLite has one code for every fault of a statement.
            (_, code)
                if code == Some("42P10") || db.message().starts_with("ON CONFLICT clause does not match") =>
            {
                (
                    ErrorKind::Misconfigured,
                    "an upsert needs a unique index on the tenant column and the id; make them the primary key",
                )
            }
            (Sql::ForeignKeyViolation, _) => {
                return Error::new(
                    ErrorKind::ReferenceViolation,
                    "the row refers to one that is not there, or is still referred to",
                )
                .with_constraint(constraint(db.as_ref()));
            }
            (Sql::NotNullViolation | Sql::CheckViolation, _) => {
                return Error::new(ErrorKind::InvalidInput, "a value breaks a rule of its column")
                    .with_constraint(constraint(db.as_ref()));
            }
            // Postgres: serialization failure, deadlock, a lock that is not waited for. SQLite: busy and locked, with
            // their extended codes.
            (_, Some("40001" | "40P01" | "55P03" | "5" | "6" | "261" | "262" | "517" | "773")) => {
                (ErrorKind::Retryable, "the transaction lost against another one; run it again")
            }
            // SQLite's codes are shorter numbers.
            (_, Some(code)) if code.len() == 5 => match postgres_error(code, db.message()) {
                (ErrorKind::Conflict, text) => {
                    return Error::new(ErrorKind::Conflict, text).with_constraint(constraint(db.as_ref()));
                }
                known => known,
            },
            _ => (ErrorKind::Database, "the database refused the statement; the log has its words"),
        },
        _ => (ErrorKind::Database, "the answer of the database does not read; the log has the cause"),
    };
    Error::new(kind, text).with_source(error.to_string())
}

/// The same, for what was to last: when the answer is lost, it may have been kept.
pub(crate) fn change_error(error: &sqlx::Error) -> Error {
    let known = database_error(error);
    if known.kind() != ErrorKind::StoreUnavailable || matches!(error, sqlx::Error::PoolTimedOut) {
        return known;
    }
    Error::new(
        ErrorKind::OutcomeUnknown,
        "the connection broke before the answer came, so it is not known whether the change was kept; look before you \
         make it again",
    )
    .with_source(error.to_string())
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn postgres_error(code: &str, message: &str) -> (ErrorKind, &'static str) {
    match code {
        "23P01" => (ErrorKind::Conflict, "a row that excludes this one exists"),
        "25P02" => (
            ErrorKind::RolledBack,
            "a statement of this transaction failed, so nothing of it is kept; begin a new one",
        ),
        "25006" => (
            ErrorKind::SqlRejected,
            "a statement that only reads was about to write, through a function perhaps; run it in a transaction",
        ),
        "42501" if message.contains("row-level security") => (
            ErrorKind::SqlRejected,
            "the database refused a row that is not the tenant's; compare the table's policies with \
             `tenancy doctor`",
        ),
        "42501" => (
            ErrorKind::Misconfigured,
            "the database's role lacks a privilege; grant it, or see `tenancy doctor`",
        ),
        "26000" | "42P05" => (
            ErrorKind::Retryable,
            "behind a pooler a connection met a type of yours for the first time; run it again",
        ),
        "42P01" | "42703" | "42883" | "3F000" => (
            ErrorKind::Misconfigured,
            "the statement names something that is not in the database; are its migrations applied?",
        ),
        "57014" => (ErrorKind::StoreUnavailable, "the statement took longer than it may; try again later"),
        _ => match &code[..2] {
            "22" => (ErrorKind::InvalidInput, "a value does not fit where it is used"),
            // Connection failures, too few resources, shutdown.
            "08" | "53" | "57" => {
                (ErrorKind::StoreUnavailable, "the database cannot be reached; try again later")
            }
            _ => (ErrorKind::Database, "the database refused the statement; the log has its words"),
        },
    }
}
