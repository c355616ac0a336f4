//! [`Driver`]: what the library needs of a database. `postgres.rs` and `sqlite.rs` implement it.

use std::future::Future;

use sqlx::{Pool, SqlStr};

use super::conn::{Conn, TxMode};
use super::connection_mode::ConnectionMode;
use super::native::Native;
use super::value::Value;
use crate::tenant::TenantId;

/// What the library needs of a database: how a transaction begins, and how values are sent and read.
#[expect(unnameable_types, reason = "a sealed trait: `scope::Backend` is its public name")]
pub trait Driver: Native {
    /// Opens a transaction that belongs to a tenant (or, for the control plane, to none). With `verify_tenant` the database
    /// confirms both: that it began now, and whose it is.
    fn begin(
        conn: Conn<'_, Self>,
        tenant: Option<&TenantId>,
        mode: TxMode,
        verify_tenant: bool,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Tells an open transaction its tenant.
    fn set_tenant(conn: Conn<'_, Self>, tenant: &TenantId) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Makes every other transaction that holds the same key wait until this one ends.
    fn advisory_lock(conn: Conn<'_, Self>, key: &str) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Whether the database itself knows of tenants, inside a transaction that said whose it is.
    const HAS_RLS: bool;

    /// Gives up a connection whose `begin` was not seen to end.
    fn discard(conn: sqlx::pool::PoolConnection<Self>);

    fn execute(
        conn: Conn<'_, Self>,
        sql: SqlStr,
        binds: Self::Arguments,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    fn fetch(
        conn: Conn<'_, Self>,
        sql: SqlStr,
        binds: Self::Arguments,
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send;

    fn connect(
        options: sqlx::pool::PoolOptions<Self>,
        url: &str,
        connection_mode: ConnectionMode,
    ) -> impl Future<Output = sqlx::Result<Pool<Self>>> + Send;

    /// Brings the library's own tables up to date.
    fn migrate(pool: &Pool<Self>) -> impl Future<Output = Result<(), sqlx::migrate::MigrateError>> + Send;

    fn push(binds: &mut Self::Arguments, value: Value<'_>) -> Result<(), sqlx::error::BoxDynError>;

    fn int(row: &Self::Row, column: usize) -> sqlx::Result<i64>;

    fn optional_int(row: &Self::Row, column: usize) -> sqlx::Result<Option<i64>>;

    fn text(row: &Self::Row, column: usize) -> sqlx::Result<Option<String>>;

    fn bytes(row: &Self::Row, column: usize) -> sqlx::Result<Vec<u8>>;
}

/// The twins differ in names only; this is the part that is the same to the letter.
macro_rules! common_methods {
    ($db:ty, $migrations:expr) => {
        async fn execute(
            conn: crate::database::Conn<'_, Self>,
            sql: sqlx::SqlStr,
            binds: Self::Arguments,
        ) -> sqlx::Result<u64> {
            let query = sqlx::query_with::<$db, _>(sql, binds).persistent(conn.connection_mode.names());
            Ok(query.execute(conn.conn).await?.rows_affected())
        }

        async fn fetch(
            conn: crate::database::Conn<'_, Self>,
            sql: sqlx::SqlStr,
            binds: Self::Arguments,
        ) -> sqlx::Result<Vec<Self::Row>> {
            sqlx::query_with::<$db, _>(sql, binds)
                .persistent(conn.connection_mode.names())
                .fetch_all(conn.conn)
                .await
        }

        async fn migrate(pool: &sqlx::Pool<Self>) -> Result<(), sqlx::migrate::MigrateError> {
            crate::database::driver::migrator($migrations).run(pool).await
        }

        fn push(
            binds: &mut Self::Arguments,
            value: crate::database::Value<'_>,
        ) -> Result<(), sqlx::error::BoxDynError> {
            use crate::database::Value;
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
pub(crate) use common_methods;

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
