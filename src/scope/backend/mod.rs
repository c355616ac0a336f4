//! What the data plane needs of a database, and the two that have it.

mod errors;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod preflight;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tenant_type;

use std::future::Future;

use sqlx::pool::PoolConnection;
use sqlx::{Arguments, Encode, Pool, SqlStr, Type};
use tenancy_sql::{Dialect, Schema};

pub(super) use self::errors::encoding_error;
pub(crate) use self::errors::{change_error, database_error};
pub(crate) use self::tenant_type::BoundTenant;
pub(super) use self::tenant_type::{ColumnType, TenantColumn, agreed_type};
use super::enforcement::{ConnectionMode, Enforcement};
use super::foreign_key::binding;
use super::streams::Streams;
use crate::error::Result;
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

    /// Opens a transaction that belongs to a tenant (or, for the control plane, to none). With `verify_tenant` the database
    /// confirms both: that it began now, and whose it is.
    #[doc(hidden)]
    fn begin(
        conn: Conn<'_, Self>,
        tenant: Option<&TenantId>,
        mode: TxMode,
        verify_tenant: bool,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Tells an open transaction its tenant.
    #[doc(hidden)]
    fn set_tenant(conn: Conn<'_, Self>, tenant: &TenantId) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Makes every other transaction that holds the same key wait until this one ends.
    #[doc(hidden)]
    fn advisory_lock(conn: Conn<'_, Self>, key: &str) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Whether the database itself knows of tenants, inside a transaction that said whose it is.
    #[doc(hidden)]
    const HAS_RLS: bool;

    /// Gives up a connection whose `begin` was not seen to end.
    #[doc(hidden)]
    fn discard(conn: sqlx::pool::PoolConnection<Self>);

    #[doc(hidden)]
    fn execute(
        conn: Conn<'_, Self>,
        sql: SqlStr,
        binds: Self::Arguments,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    #[doc(hidden)]
    fn fetch(
        conn: Conn<'_, Self>,
        sql: SqlStr,
        binds: Self::Arguments,
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send;

    #[doc(hidden)]
    fn connect(
        options: sqlx::pool::PoolOptions<Self>,
        url: &str,
        connection_mode: ConnectionMode,
    ) -> impl Future<Output = sqlx::Result<Pool<Self>>> + Send;

    /// The findings about a database that somebody has accepted.
    #[doc(hidden)]
    type Accepted: Default + Send + Sync;

    /// Refuses a database that is not what it was said to be, or would not keep tenants apart.
    #[doc(hidden)]
    fn preflight(
        pool: &Pool<Self>,
        enforcement: Enforcement,
        connection_mode: ConnectionMode,
        schema: &Schema,
        accepted: &Self::Accepted,
    ) -> impl Future<Output = Result<()>> + Send;

    /// The tenant columns that there are, with their types.
    #[doc(hidden)]
    fn tenant_columns(
        pool: &Pool<Self>,
        schema: &Schema,
    ) -> impl Future<Output = Result<Vec<TenantColumn>>> + Send;

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
pub struct Conn<'c, DB: sqlx::Database> {
    pub(crate) conn: &'c mut DB::Connection,
    pub(crate) connection_mode: ConnectionMode,
}

impl<'c, DB: sqlx::Database> Conn<'c, DB> {
    pub(crate) fn on(conn: &'c mut PoolConnection<DB>, connection_mode: ConnectionMode) -> Self {
        Self { conn, connection_mode }
    }
}

impl<DB: sqlx::Database> std::fmt::Debug for Conn<'_, DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("connection_mode", &self.connection_mode).finish_non_exhaustive()
    }
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
#[expect(unnameable_types, reason = "of a sealed trait's hidden methods")]
pub enum TxMode {
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
    Tenant(&'a BoundTenant),
}

/// The binds of a statement, in order.
pub struct BindArguments<DB: Backend> {
    arguments: DB::Arguments,
    /// Whose references can be bound.
    tenant: Option<TenantId>,
}

impl<DB: Backend> std::fmt::Debug for BindArguments<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values are a tenant's data.
        f.debug_struct("Binds").field("len", &self.arguments.len()).finish_non_exhaustive()
    }
}

impl<DB: Backend> BindArguments<DB> {
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
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the value does not encode,
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) if it is a [`ForeignKey`](super::ForeignKey) of another tenant.
    pub fn push<'t, T: Encode<'t, DB> + Type<DB>>(&mut self, value: T) -> Result<()> {
        let arguments = &mut self.arguments;
        let added = match &self.tenant {
            Some(tenant) => binding(tenant, || arguments.add(value)),
            None => arguments.add(value),
        };
        added.map_err(encoding_error)
    }

    pub(crate) fn push_value(&mut self, value: Value<'_>) -> Result<()> {
        DB::push(&mut self.arguments, value).map_err(encoding_error)
    }

    pub(crate) fn into_arguments(self) -> DB::Arguments {
        self.arguments
    }
}

/// The twins differ in names only; this is the part that is the same to the letter.
macro_rules! plain_backend {
    ($db:ty, $migrations:expr) => {
        async fn execute(
            conn: crate::scope::backend::Conn<'_, Self>,
            sql: sqlx::SqlStr,
            binds: Self::Arguments,
        ) -> sqlx::Result<u64> {
            let query = sqlx::query_with::<$db, _>(sql, binds).persistent(conn.connection_mode.names());
            Ok(query.execute(conn.conn).await?.rows_affected())
        }

        async fn fetch(
            conn: crate::scope::backend::Conn<'_, Self>,
            sql: sqlx::SqlStr,
            binds: Self::Arguments,
        ) -> sqlx::Result<Vec<Self::Row>> {
            sqlx::query_with::<$db, _>(sql, binds)
                .persistent(conn.connection_mode.names())
                .fetch_all(conn.conn)
                .await
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
