//! What the data plane needs of a database, and the two that have it.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod probe;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::future::Future;

use sqlx::pool::PoolConnection;
use sqlx::{Arguments, Encode, Pool, SqlStr, Type};
use tenancy_sql::{Dialect, Schema};

use super::reference::binding;
use super::streams::Streams;
use super::walls::{SendMode, Walls};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// A database that a [`TenantDb`](super::TenantDb) can run on: `sqlx::Sqlite` or `sqlx::Postgres`.
///
/// Sealed: how a tenant is told to a database is this crate's business.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a database of `tenancy`",
    label = "not a database of `tenancy`",
    note = "use `sqlx::Sqlite` with the feature `sqlite`, or `sqlx::Postgres` with the feature `postgres`"
)]
pub trait Backend: sqlx::Database + sealed::Sealed + Streams {
    /// The dialect its statements are written in.
    const DIALECT: Dialect;

    /// Opens a transaction that belongs to a tenant (or, for the control plane, to none). With `echo` the database
    /// confirms both: that it began now, and whose it is.
    #[doc(hidden)]
    fn begin(
        line: Line<'_, Self>,
        tenant: Option<&TenantId>,
        mode: Mode,
        echo: bool,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Tells an open transaction its tenant.
    #[doc(hidden)]
    fn enter(line: Line<'_, Self>, tenant: &TenantId) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Makes every other transaction that holds the same key wait until this one ends.
    #[doc(hidden)]
    fn hold(line: Line<'_, Self>, key: &str) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Whether the database itself knows of tenants, inside a transaction that said whose it is.
    #[doc(hidden)]
    const TWO_WALLS: bool;

    /// Gives up a connection whose `begin` was not seen to end.
    #[doc(hidden)]
    fn abandon(conn: sqlx::pool::PoolConnection<Self>);

    #[doc(hidden)]
    fn execute(
        line: Line<'_, Self>,
        sql: SqlStr,
        binds: Self::Arguments,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    #[doc(hidden)]
    fn fetch(
        line: Line<'_, Self>,
        sql: SqlStr,
        binds: Self::Arguments,
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send;

    #[doc(hidden)]
    fn connect(
        options: sqlx::pool::PoolOptions<Self>,
        url: &str,
        send: SendMode,
    ) -> impl Future<Output = sqlx::Result<Pool<Self>>> + Send;

    /// The findings about a database that somebody has accepted.
    #[doc(hidden)]
    type Accepted: Default + Send + Sync;

    /// Refuses a database that is not what it was said to be, or would not keep tenants apart.
    #[doc(hidden)]
    fn probe(
        pool: &Pool<Self>,
        walls: Walls,
        send: SendMode,
        schema: &Schema,
        accepted: &Self::Accepted,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Brings the library's own tables up to date.
    #[doc(hidden)]
    fn migrate(pool: &Pool<Self>) -> impl Future<Output = Result<(), sqlx::migrate::MigrateError>> + Send;

    #[doc(hidden)]
    fn push(binds: &mut Self::Arguments, value: Value<'_>) -> Result<(), sqlx::error::BoxDynError>;

    #[doc(hidden)]
    fn int(row: &Self::Row, column: usize) -> sqlx::Result<i64>;

    #[doc(hidden)]
    fn optional_int(row: &Self::Row, column: usize) -> sqlx::Result<Option<i64>>;

    #[doc(hidden)]
    fn text(row: &Self::Row, column: usize) -> sqlx::Result<Option<String>>;

    #[doc(hidden)]
    fn bytes(row: &Self::Row, column: usize) -> sqlx::Result<Vec<u8>>;
}

pub(crate) mod sealed {
    #[expect(unnameable_types, reason = "that is what seals a trait")]
    pub trait Sealed {}
}

/// A connection, and how statements are sent on it.
#[doc(hidden)]
#[expect(unnameable_types, reason = "of a sealed trait's hidden methods")]
pub struct Line<'c, DB: sqlx::Database> {
    pub(crate) conn: &'c mut DB::Connection,
    pub(crate) send: SendMode,
}

impl<'c, DB: sqlx::Database> Line<'c, DB> {
    pub(crate) fn on(conn: &'c mut PoolConnection<DB>, send: SendMode) -> Self {
        Self { conn, send }
    }
}

impl<DB: sqlx::Database> std::fmt::Debug for Line<'_, DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("send", &self.send).finish_non_exhaustive()
    }
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
#[expect(unnameable_types, reason = "of a sealed trait's hidden methods")]
pub enum Mode {
    Read,
    /// To read several times as of one moment.
    Snapshot,
    Write,
}

/// A value of the library's own tables, or a tenant id of anybody's.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
#[expect(unnameable_types, reason = "of a sealed trait's hidden methods")]
pub enum Value<'a> {
    Int(i64),
    OptionalInt(Option<i64>),
    Text(&'a str),
    OptionalText(Option<&'a str>),
    Bytes(&'a [u8]),
    Tenant(&'a TenantId),
}

/// The binds of a statement, in order.
pub struct Binds<DB: Backend> {
    arguments: DB::Arguments,
    /// Whose references can be bound.
    tenant: Option<TenantId>,
}

impl<DB: Backend> std::fmt::Debug for Binds<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values are a tenant's data.
        f.debug_struct("Binds").field("len", &self.arguments.len()).finish_non_exhaustive()
    }
}

impl<DB: Backend> Binds<DB> {
    pub(crate) fn new() -> Self {
        Self { arguments: DB::Arguments::default(), tenant: None }
    }

    /// For a statement of this tenant.
    pub(crate) fn of(tenant: &TenantId) -> Self {
        Self { tenant: Some(tenant.clone()), ..Self::new() }
    }

    /// Adds a value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the value does not encode, [`ErrorKind::Misconfigured`] if it is a
    /// [`Ref`](super::Ref) of another tenant.
    pub fn push<'t, T: Encode<'t, DB> + Type<DB>>(&mut self, value: T) -> Result<()> {
        let arguments = &mut self.arguments;
        let added = match &self.tenant {
            Some(tenant) => binding(tenant, || arguments.add(value)),
            None => arguments.add(value),
        };
        added.map_err(|e| match e.downcast::<Error>() {
            Ok(own) => *own,
            Err(e) => {
                Error::new(ErrorKind::InvalidInput, "a value does not encode for the database").with_source(e)
            }
        })
    }

    pub(crate) fn push_value(&mut self, value: Value<'_>) -> Result<()> {
        DB::push(&mut self.arguments, value).map_err(|e| {
            Error::new(ErrorKind::InvalidInput, "a value does not encode for the database").with_source(e)
        })
    }

    pub(crate) fn into_arguments(self) -> DB::Arguments {
        self.arguments
    }
}

/// The twins differ in names only; this is the part that is the same to the letter.
macro_rules! plain_backend {
    ($db:ty, $migrations:expr) => {
        async fn execute(
            line: crate::scope::backend::Line<'_, Self>,
            sql: sqlx::SqlStr,
            binds: Self::Arguments,
        ) -> sqlx::Result<u64> {
            let query = sqlx::query_with::<$db, _>(sql, binds).persistent(line.send.names());
            Ok(query.execute(line.conn).await?.rows_affected())
        }

        async fn fetch(
            line: crate::scope::backend::Line<'_, Self>,
            sql: sqlx::SqlStr,
            binds: Self::Arguments,
        ) -> sqlx::Result<Vec<Self::Row>> {
            sqlx::query_with::<$db, _>(sql, binds).persistent(line.send.names()).fetch_all(line.conn).await
        }

        async fn migrate(pool: &sqlx::Pool<Self>) -> Result<(), sqlx::migrate::MigrateError> {
            crate::scope::backend::migrator($migrations).run(pool).await
        }

        fn push(
            binds: &mut Self::Arguments,
            value: crate::scope::backend::Value<'_>,
        ) -> Result<(), sqlx::error::BoxDynError> {
            use crate::scope::backend::Value;
            match value {
                Value::Int(int) => sqlx::Arguments::add(binds, int),
                Value::OptionalInt(int) => sqlx::Arguments::add(binds, int),
                Value::Text(text) => sqlx::Arguments::add(binds, text),
                Value::OptionalText(text) => sqlx::Arguments::add(binds, text),
                Value::Bytes(bytes) => sqlx::Arguments::add(binds, bytes),
                Value::Tenant(tenant) => sqlx::Arguments::add(binds, tenant),
            }
        }

        fn int(row: &Self::Row, column: usize) -> sqlx::Result<i64> {
            sqlx::Row::try_get(row, column)
        }

        fn optional_int(row: &Self::Row, column: usize) -> sqlx::Result<Option<i64>> {
            sqlx::Row::try_get(row, column)
        }

        fn text(row: &Self::Row, column: usize) -> sqlx::Result<Option<String>> {
            sqlx::Row::try_get(row, column)
        }

        fn bytes(row: &Self::Row, column: usize) -> sqlx::Result<Vec<u8>> {
            sqlx::Row::try_get(row, column)
        }
    };
}
pub(crate) use plain_backend;

/// A tenant id goes to the database in the type of its own kind: `uuid`, `bigint` or `text`.
macro_rules! encode_tenant_id {
    ($db:ty) => {
        impl sqlx::Type<$db> for crate::tenant::TenantId {
            fn type_info() -> <$db as sqlx::Database>::TypeInfo {
                <str as sqlx::Type<$db>>::type_info()
            }

            fn compatible(ty: &<$db as sqlx::Database>::TypeInfo) -> bool {
                <uuid::Uuid as sqlx::Type<$db>>::compatible(ty)
                    || <i64 as sqlx::Type<$db>>::compatible(ty)
                    || <str as sqlx::Type<$db>>::compatible(ty)
            }
        }

        impl<'q> sqlx::Encode<'q, $db> for crate::tenant::TenantId {
            fn encode_by_ref(
                &self,
                buf: &mut <$db as sqlx::Database>::ArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                use crate::tenant::TenantIdValue;
                match self.value() {
                    TenantIdValue::Uuid(uuid) => sqlx::Encode::<'_, $db>::encode(uuid, buf),
                    TenantIdValue::Int(int) => sqlx::Encode::<'_, $db>::encode(int, buf),
                    TenantIdValue::Text(text) => sqlx::Encode::<'_, $db>::encode(text.to_owned(), buf),
                }
            }

            fn produces(&self) -> Option<<$db as sqlx::Database>::TypeInfo> {
                use crate::tenant::TenantIdValue;
                Some(match self.value() {
                    TenantIdValue::Uuid(_) => <uuid::Uuid as sqlx::Type<$db>>::type_info(),
                    TenantIdValue::Int(_) => <i64 as sqlx::Type<$db>>::type_info(),
                    TenantIdValue::Text(_) => <str as sqlx::Type<$db>>::type_info(),
                })
            }
        }
    };
}
pub(crate) use encode_tenant_id;

/// The library's tables have a history of their own, beside that of the user's `sqlx migrate`.
pub(crate) fn migrator(files: &[(i64, &'static str, &'static str)]) -> sqlx::migrate::Migrator {
    use sqlx::SqlSafeStr;
    use sqlx::migrate::{Migration, MigrationType, Migrator};

    let migrations = files
        .iter()
        .map(|(version, name, sql)| {
            Migration::new(*version, (*name).into(), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name("tenancy_migrations");
    migrator
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
             its pool alone, and name a pooler by `send_mode`",
        ),
        sqlx::Error::Database(db) => match (db.kind(), db.code().as_deref()) {
            (Sql::UniqueViolation, _) => {
                return Error::new(ErrorKind::Conflict, "a row with this key exists; choose another key");
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
                );
            }
            (Sql::NotNullViolation | Sql::CheckViolation, _) => {
                return Error::new(ErrorKind::InvalidInput, "a value breaks a rule of its column");
            }
            // Postgres: serialization failure, deadlock, a lock that is not waited for. SQLite: busy and locked, with
            // their extended codes.
            (_, Some("40001" | "40P01" | "55P03" | "5" | "6" | "261" | "262" | "517" | "773")) => {
                (ErrorKind::Retryable, "the transaction lost against another one; run it again")
            }
            // SQLite's codes are shorter numbers.
            (_, Some(code)) if code.len() == 5 => match postgres_error(code, db.message()) {
                (ErrorKind::Conflict, text) => return Error::new(ErrorKind::Conflict, text),
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
            ErrorKind::Refused,
            "a statement that only reads was about to write, through a function perhaps; run it in a transaction",
        ),
        "42501" if message.contains("row-level security") => (
            ErrorKind::Refused,
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
