//! [`Driver`]: the database operations that the library needs. `postgres.rs` and `sqlite.rs` implement it.

use std::future::Future;
use std::time::Duration;

use sqlx::{Connection, Pool, SqlStr};
use tenancy_sql::TenantType;

use super::begin::Begin;
use super::conn::Conn;
use super::connection_mode::ConnectionMode;
use super::enforcement::Enforcement;
use super::native::Native;
use super::own_tables::OwnTables;
use super::pooled::Pooled;
use super::route::Route;
use super::value::Value;
use crate::error::Result;
use crate::plan::DatabaseLimits;
use crate::tenant::{Placement, TenantId};

/// The database operations that the library needs: begin a transaction, set the tenant, bind and read values.
#[expect(unnameable_types, reason = "a sealed trait: `scope::Backend` is its public name")]
pub trait Driver: Native {
    /// Opens a transaction of a tenant, or for the control plane a transaction without a tenant.
    fn begin(conn: Conn<'_, Self>, begin: Begin<'_>) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Sets the tenant of an open transaction, and the schema and the role of its route. `left`: what the transaction
    /// had before. With `verify_schema` the database confirms that the schema exists.
    fn switch(
        conn: Conn<'_, Self>,
        tenant: &TenantId,
        left: &Route,
        verify_schema: bool,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Where the library's own tables of tenants are, and the type of their tenant column.
    fn own_tables(conn: &mut Self::Connection) -> impl Future<Output = Result<OwnTables>> + Send;

    /// Changes the type of the tenant column of the library's own tables.
    fn set_own_tenant_type(
        conn: &mut Self::Connection,
        tenant_type: TenantType,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Rejects a database that is Citus and not declared so, or the other way round.
    fn check_connection_mode(
        conn: &mut Self::Connection,
        connection_mode: ConnectionMode,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Whether a database can have several schemas.
    const HAS_SCHEMAS: bool;

    /// Checks a database of a tenant when its first connection was opened.
    fn check_database(
        conn: &mut Self::Connection,
        enforcement: Enforcement,
        own_type: TenantType,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Takes a lock on `key` until the transaction ends. Another transaction that locks the same key waits.
    fn advisory_lock(conn: Conn<'_, Self>, key: &str) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Whether the database supports row-level security (RLS).
    const HAS_RLS: bool;

    /// Deletes a row of `tenancy_ready_places` of the kind `$1`, and returns its name. A row that another transaction
    /// deletes is passed over.
    const CLAIM_PLACE: &str;

    /// How long to wait for the rest of the result of a dropped statement, before its connection is closed. `None`: for
    /// as long as it takes.
    const DRAINS_FOR: Option<Duration>;

    /// Sets limits of the plan that the message of `begin` cannot set, until the connection goes back to its pool.
    fn limit(
        conn: &mut Pooled<Self>,
        limits: &DatabaseLimits,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Whether a transaction can make the server check during a statement that its client is still there.
    fn checks_client(
        conn: &mut Self::Connection,
        connection_mode: ConnectionMode,
    ) -> impl Future<Output = bool> + Send;

    /// Notifies the listeners of this database of the message `$1` when the transaction commits, if the database can.
    const NOTIFY: Option<&str>;

    /// Rejects a tenant that is being moved, or was moved, where no policy does.
    fn check_fence(
        conn: Conn<'_, Self>,
        tenant: &TenantId,
        placement: &Placement,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Disposes of a connection whose `begin` did not return.
    fn discard(conn: Pooled<Self>);

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

    /// How to connect to the database of a URL.
    fn connect_options(url: &str) -> sqlx::Result<<Self::Connection as Connection>::Options>;

    /// A pool with these options, without a connection yet.
    fn pool(
        options: sqlx::pool::PoolOptions<Self>,
        connect: <Self::Connection as Connection>::Options,
        connection_mode: ConnectionMode,
    ) -> Pool<Self>;

    /// What a database has that another one of the same name has not; `None` if the server sees to it.
    ///
    /// An SQLite file that was removed stays open for whoever opened it before.
    fn identity(_: &<Self::Connection as Connection>::Options) -> Option<(u64, u64)> {
        None
    }

    /// Runs the migrations of the library's own tables.
    fn migrate(
        conn: &mut Self::Connection,
    ) -> impl Future<Output = std::result::Result<(), sqlx::migrate::MigrateError>> + Send;

    fn push(
        binds: &mut Self::Arguments,
        value: Value<'_>,
    ) -> std::result::Result<(), sqlx::error::BoxDynError>;

    fn int(row: &Self::Row, column: usize) -> sqlx::Result<i64>;

    fn optional_int(row: &Self::Row, column: usize) -> sqlx::Result<Option<i64>>;

    fn text(row: &Self::Row, column: usize) -> sqlx::Result<Option<String>>;

    fn bytes(row: &Self::Row, column: usize) -> sqlx::Result<Vec<u8>>;
}

/// The methods of [`Driver`] whose source is the same for both databases.
macro_rules! common_methods {
    ($db:ty, $migrations:expr) => {
        async fn execute(
            conn: crate::database::Conn<'_, Self>,
            sql: sqlx::SqlStr,
            binds: Self::Arguments,
        ) -> sqlx::Result<u64> {
            let query =
                sqlx::query_with::<$db, _>(conn.text(sql), binds).persistent(conn.uses_named_statements());
            let running = conn.start();
            let done = query.execute(&mut *conn.conn).await;
            running.end();
            Ok(conn.settle(done).await?.rows_affected())
        }

        async fn fetch(
            conn: crate::database::Conn<'_, Self>,
            sql: sqlx::SqlStr,
            binds: Self::Arguments,
        ) -> sqlx::Result<Vec<Self::Row>> {
            let query =
                sqlx::query_with::<$db, _>(conn.text(sql), binds).persistent(conn.uses_named_statements());
            let running = conn.start();
            let rows =
                crate::database::read_rows(query.fetch(&mut *conn.conn), conn.max_rows, conn.too_large).await;
            running.end();
            conn.settle(rows).await
        }

        async fn migrate(
            conn: &mut Self::Connection,
        ) -> std::result::Result<(), sqlx::migrate::MigrateError> {
            crate::database::driver::migrator($migrations).run_direct(None, conn, false).await
        }

        fn push(
            binds: &mut Self::Arguments,
            value: crate::database::Value<'_>,
        ) -> std::result::Result<(), sqlx::error::BoxDynError> {
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

/// A migrator with its own history table, separate from the one of the user's `sqlx migrate`.
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
