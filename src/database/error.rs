//! Maps errors of sqlx and of the databases (SQLSTATE) to [`ErrorKind`].

use sqlx::error::{BoxDynError, DatabaseError};

use super::privilege::missing_privilege;
use crate::error::{Error, ErrorKind};

impl Error {
    /// Converts an error of sqlx, such as your own SQL on a scope returns (feature `dynamic`), into an error of this
    /// crate.
    ///
    /// A rejected statement becomes [`ErrorKind::SqlRejected`]. A violated key becomes [`ErrorKind::Conflict`] with
    /// its [`constraint`](Self::constraint), and so on. A handler that returns [`tenancy::Result`](crate::Result)
    /// needs no error type of its own.
    ///
    /// ```
    /// use tenancy::Error;
    /// use tenancy::scope::Scope;
    ///
    /// async fn close(scope: &Scope<'_, sqlx::Postgres>, id: i64) -> tenancy::Result<u64> {
    ///     let update = sqlx::query("UPDATE orders SET status = 'closed' WHERE id = $1").bind(id);
    ///     Ok(update.execute(scope).await.map_err(Error::from_sqlx)?.rows_affected())
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

/// Wraps an error of this crate in an [`sqlx::Error::Configuration`]; `Error::from_sqlx` unwraps it.
pub(crate) fn to_sqlx_error(error: Error) -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(error))
}

/// The error of a value that cannot be encoded. An error of this crate is returned unchanged.
pub(crate) fn encoding_error(cause: BoxDynError) -> Error {
    match cause.downcast::<Error>() {
        Ok(error) => *error,
        Err(cause) => {
            Error::new(ErrorKind::InvalidInput, "a value does not encode for the database").with_source(cause)
        }
    }
}

/// The name of the constraint that a statement violates. SQLite reports the columns of the key instead of a name.
fn constraint(error: &dyn DatabaseError) -> Option<String> {
    let sqlite_columns = || error.message().split_once("constraint failed: ").map(|(_, name)| name);
    error.constraint().or_else(sqlite_columns).map(str::to_owned)
}

/// Maps an error of sqlx to an error of this crate.
///
/// The database's message can contain values. It is therefore kept as the source only, without the detail that names
/// keys. A conflict keeps no source.
pub(crate) fn database_error(error: &sqlx::Error) -> Error {
    statement_error(error, None)
}

/// As [`database_error`], for a statement whose command is known, such as `INSERT`: the privilege that is missing.
pub(crate) fn statement_error(error: &sqlx::Error, command: Option<&str>) -> Error {
    use sqlx::error::ErrorKind as Sql;

    let (kind, text) = match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => {
            (ErrorKind::StoreUnavailable, "the database cannot be reached; try again later")
        }
        sqlx::Error::PoolClosed => {
            (ErrorKind::StoreUnavailable, "the connections are closed, because this program is ending")
        }
        sqlx::Error::BeginFailed => (
            ErrorKind::Misconfigured,
            "a connection was inside another transaction, or lost the tenant that was set on it: give `TenantDb` a \
             pool of its own, and declare a pooler with `connection_mode`",
        ),
        sqlx::Error::Encode(cause) | sqlx::Error::Configuration(cause) if cause.is::<Error>() => {
            let inner: &Error = cause.downcast_ref().expect("the guard checked the type");
            return Error::new(inner.kind(), inner.to_string());
        }
        sqlx::Error::Encode(_) => (ErrorKind::InvalidInput, "a value does not encode for the database"),
        sqlx::Error::Database(db) => match (db.kind(), db.code().as_deref()) {
            (Sql::UniqueViolation, _) => {
                return Error::new(ErrorKind::Conflict, "a row with this key exists; choose another key")
                    .with_constraint(constraint(db.as_ref()));
            }
            // SQLite has one code for every error in a statement's text.
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
                    "the row refers to a row that does not exist, or other rows still refer to it",
                )
                .with_constraint(constraint(db.as_ref()));
            }
            (Sql::NotNullViolation | Sql::CheckViolation, _) => {
                return Error::new(ErrorKind::InvalidInput, "a value breaks a rule of its column")
                    .with_constraint(constraint(db.as_ref()));
            }
            // SQLite interrupts a statement when its time limit has passed.
            (_, Some("9")) => (ErrorKind::StatementTimeout, TOO_LONG),
            // PostgreSQL: serialization failure, deadlock, lock not available. SQLite: busy and locked, with their
            // extended codes.
            (_, Some("55P03")) if db.message().contains("lock timeout") => (
                ErrorKind::Retryable,
                "another transaction held a lock for longer than the lock timeout; run it again",
            ),
            (_, Some("40001" | "40P01" | "55P03" | "5" | "6" | "261" | "262" | "517" | "773")) => {
                (ErrorKind::Retryable, "the transaction conflicted with another one; run it again")
            }
            (_, Some("42501")) if !db.message().contains("row-level security") => {
                return missing_privilege(db.message(), command).with_source(error.to_string());
            }
            // A SQLSTATE has five characters; SQLite's codes are shorter.
            (_, Some(code)) if code.len() == 5 => match postgres_error(code, db.message()) {
                (ErrorKind::Conflict, text) => {
                    return Error::new(ErrorKind::Conflict, text).with_constraint(constraint(db.as_ref()));
                }
                known => known,
            },
            _ => (ErrorKind::Database, "the database rejected the statement; the log has its message"),
        },
        _ => (ErrorKind::Database, "the result from the database could not be read; the log has the cause"),
    };
    Error::new(kind, text).with_source(error.to_string())
}

/// Whether the statement names a table that does not exist. SQLite has no code for that.
pub(crate) fn is_missing_table(error: &dyn DatabaseError) -> bool {
    error.code().as_deref() == Some("42P01") || error.message().contains("no such table")
}

/// The error of a statement that changes rows. If the connection breaks before the result arrives, the change may
/// have been committed: [`ErrorKind::OutcomeUnknown`].
pub(crate) fn change_error(error: &sqlx::Error, command: Option<&str>) -> Error {
    let known = statement_error(error, command);
    // Neither ran to its end.
    let is_known = match error {
        sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(error) => error.code().as_deref() == Some(CANCELLED),
        _ => false,
    };
    if is_known || known.kind() != ErrorKind::StoreUnavailable {
        return known;
    }
    Error::new(
        ErrorKind::OutcomeUnknown,
        "the connection broke before the result arrived, so the change may or may not have been committed; check \
         before you repeat it",
    )
    .with_source(error.to_string())
}

const TOO_LONG: &str = "the statement ran longer than its time limit and was ended; read fewer rows at once, add an index, or raise the \
     `statement_timeout_ms` of the plan";

/// The SQLSTATE of a statement of a tenant that is being moved: see `migrations/postgres/0013_moves.sql`.
const MOVED: &str = "TNMOV";

const MOVED_TEXT: &str = "the tenant is being moved to another place, or was moved there and this process has its old placement; try again";

/// The error of a place in which a tenant is refused.
#[cfg(feature = "sqlite")]
pub(crate) fn moved() -> Error {
    Error::new(ErrorKind::TenantMoving, MOVED_TEXT)
}

/// An error that says whether a place refused the tenant of a statement because of a move.
pub(crate) trait IsMoved {
    fn is_moved(&self) -> bool;
}

impl IsMoved for Error {
    fn is_moved(&self) -> bool {
        self.kind() == ErrorKind::TenantMoving
    }
}

impl IsMoved for sqlx::Error {
    fn is_moved(&self) -> bool {
        match self {
            Self::Configuration(cause) => cause.downcast_ref().is_some_and(Error::is_moved),
            Self::Database(error) => error.code().as_deref() == Some(MOVED),
            _ => false,
        }
    }
}

/// The SQLSTATE of a statement that was cancelled, or that ran too long.
const CANCELLED: &str = "57014";

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn postgres_error(code: &str, message: &str) -> (ErrorKind, &'static str) {
    match code {
        "23P01" => (ErrorKind::Conflict, "a row that excludes this one exists"),
        MOVED => (ErrorKind::TenantMoving, MOVED_TEXT),
        "25P02" => (
            ErrorKind::RolledBack,
            "a statement of this transaction failed, so it is rolled back; begin a new one",
        ),
        "25006" => (
            ErrorKind::SqlRejected,
            "a read-only statement tried to write, perhaps through a function; run it in a transaction",
        ),
        "42501" => (
            ErrorKind::SqlRejected,
            "row-level security rejected a row of another tenant; check the table's policies with \
             `tenancy doctor`",
        ),
        "26000" | "42P05" => (
            ErrorKind::Retryable,
            "a connection behind a pooler did not know one of your types yet; run it again",
        ),
        "0A000" if message.contains("cached plan") => (
            ErrorKind::Retryable,
            "the columns of a table changed since the statement was prepared; run the transaction again",
        ),
        "42883" | "42804" => (
            ErrorKind::Misconfigured,
            "the types of a comparison, a call or a value do not fit, such as text and uuid; bind or cast to the type of \
             the column, or apply the missing migrations",
        ),
        "42P01" if ["\"tenancy_", ".tenancy_"].iter().any(|name| message.contains(name)) => (
            ErrorKind::Misconfigured,
            "a table of the library is not in this database; run `SqlStore::migrate` there, or `Migrations` for the places \
             of tenants",
        ),
        "42P01" | "42703" | "3F000" => (
            ErrorKind::Misconfigured,
            "the statement names an object that is not in the database; apply its migrations",
        ),
        // PostgreSQL has one code for both. Where it speaks another language, a cancelled statement is a timeout, too.
        CANCELLED if message.contains("user request") => (
            ErrorKind::StoreUnavailable,
            "an administrator or another program cancelled the statement; try again later",
        ),
        CANCELLED => (ErrorKind::StatementTimeout, TOO_LONG),
        _ => match &code[..2] {
            "22" => (ErrorKind::InvalidInput, "a value does not fit where it is used"),
            // Connection failures, too few resources, shutdown.
            "08" | "53" | "57" => {
                (ErrorKind::StoreUnavailable, "the database cannot be reached; try again later")
            }
            _ => (ErrorKind::Database, "the database rejected the statement; the log has its message"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_table_of_the_library_names_what_makes_it() {
        for (table, why) in [
            ("\"tenancy_tenants\"", "run `SqlStore::migrate` there"),
            ("\"public.tenancy_tenants\"", "run `SqlStore::migrate` there"),
            ("\"my_tenancy_notes\"", "apply its migrations"),
        ] {
            let (kind, text) = postgres_error("42P01", &format!("relation {table} does not exist"));
            assert_eq!(kind, ErrorKind::Misconfigured);
            assert!(text.contains(why), "{table}: {text}");
        }
    }
}
