use sqlx::SqlStr;
use sqlx_core::describe::Describe;

use futures_util::stream::BoxStream;

/// One step of a statement: what it did, or a row.
pub(super) type Step<DB> = sqlx::Either<<DB as sqlx::Database>::QueryResult, <DB as sqlx::Database>::Row>;

/// What a statement answers, step by step.
pub(super) type Steps<'c, DB> = BoxStream<'c, sqlx::Result<Step<DB>>>;

/// What the drop-in door needs of a connection.
#[expect(unnameable_types, reason = "part of a sealed trait")]
pub trait Streams: sqlx::Database {
    #[doc(hidden)]
    fn stream(
        conn: &mut Self::Connection,
        sql: SqlStr,
        binds: Self::Arguments,
        persistent: bool,
    ) -> BoxStream<'_, sqlx::Result<Step<Self>>>;

    #[doc(hidden)]
    fn prepare(
        conn: &mut Self::Connection,
        sql: SqlStr,
        parameters: &[Self::TypeInfo],
    ) -> impl Future<Output = sqlx::Result<Self::Statement>> + Send;

    #[doc(hidden)]
    fn describe(
        conn: &mut Self::Connection,
        sql: SqlStr,
    ) -> impl Future<Output = sqlx::Result<Describe<Self>>> + Send;
}

/// The twins differ in nothing but the database's name.
macro_rules! streams {
    ($db:ty) => {
        impl super::streams::Streams for $db {
            fn stream(
                conn: &mut Self::Connection,
                sql: sqlx::SqlStr,
                binds: Self::Arguments,
                persistent: bool,
            ) -> super::streams::Steps<'_, Self> {
                sqlx::Executor::fetch_many(conn, sqlx::query_with(sql, binds).persistent(persistent))
            }

            async fn prepare(
                conn: &mut Self::Connection,
                sql: sqlx::SqlStr,
                parameters: &[Self::TypeInfo],
            ) -> sqlx::Result<Self::Statement> {
                sqlx::Executor::prepare_with(conn, sql, parameters).await
            }

            async fn describe(
                conn: &mut Self::Connection,
                sql: sqlx::SqlStr,
            ) -> sqlx::Result<sqlx_core::describe::Describe<Self>> {
                sqlx::Executor::describe(conn, sql).await
            }
        }
    };
}
pub(super) use streams;
