//! [`Native`]: runs sqlx's own query objects, for the scoped executor and for the `query_checked!` macros.

use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use sqlx::database::HasStatementCache;
use sqlx::query::{Map, Query, QueryScalar};
use sqlx::{FromRow, SqlStr};
use sqlx_core::describe::Describe;

use super::conn::Conn;
use super::error::to_sqlx_error;
use super::row_limit::{RowCount, is_small};
use super::statement_clock::RunningStatement;
use crate::error::{Error, ErrorKind};

/// One item of a result: a row, or the summary of a finished statement.
pub(crate) type StreamItem<DB> =
    sqlx::Either<<DB as sqlx::Database>::QueryResult, <DB as sqlx::Database>::Row>;

/// The result of a statement as a stream.
pub(crate) type ItemStream<'c, DB> = BoxStream<'c, sqlx::Result<StreamItem<DB>>>;

/// Runs sqlx's own query objects on a connection.
#[expect(unnameable_types, reason = "part of a sealed trait")]
pub trait Native: sqlx::Database + HasStatementCache {
    fn stream(
        conn: Conn<'_, Self>,
        sql: SqlStr,
        binds: Self::Arguments,
        persistent: bool,
    ) -> BoxStream<'_, sqlx::Result<StreamItem<Self>>>;

    fn prepare(
        conn: Conn<'_, Self>,
        sql: SqlStr,
        parameters: &[Self::TypeInfo],
    ) -> impl Future<Output = sqlx::Result<Self::Statement>> + Send;

    fn describe(
        conn: Conn<'_, Self>,
        sql: SqlStr,
    ) -> impl Future<Output = sqlx::Result<Describe<Self>>> + Send;

    fn execute_query(
        conn: Conn<'_, Self>,
        query: Query<'_, Self, Self::Arguments>,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    fn fetch_mapped<F, T>(
        conn: Conn<'_, Self>,
        query: Map<'_, Self, F, Self::Arguments>,
    ) -> impl Future<Output = sqlx::Result<Vec<T>>> + Send
    where
        F: FnMut(Self::Row) -> sqlx::Result<T> + Send,
        T: Send + Unpin;

    fn fetch_scalars<T>(
        conn: Conn<'_, Self>,
        query: QueryScalar<'_, Self, T, Self::Arguments>,
    ) -> impl Future<Output = sqlx::Result<Vec<T>>> + Send
    where
        T: Send + Unpin,
        (T,): for<'r> FromRow<'r, Self::Row>;
}

/// The result of a statement, in which the first row over the limit of the plan is an error.
///
/// The statement counts as running until the stream is dropped.
fn limited<'c, DB: sqlx::Database>(
    items: ItemStream<'c, DB>,
    running: RunningStatement,
    max_rows: Option<u64>,
    too_large: &'c mut bool,
) -> ItemStream<'c, DB> {
    let result = (items, RowCount::new(max_rows), too_large, running);
    stream::try_unfold(result, async |(mut items, mut count, too_large, running)| {
        let Some(item) = items.try_next().await? else { return Ok(None) };
        if item.is_right()
            && let Err(error) = count.add()
        {
            *too_large = !is_small(items).await;
            return Err(error);
        }
        Ok(Some((item, (items, count, too_large, running))))
    })
    .boxed()
}

/// The error of `prepare` and `describe` behind a pooler: both leave a named statement on a connection.
fn preparing_unsupported() -> sqlx::Error {
    to_sqlx_error(Error::new(
        ErrorKind::Misconfigured,
        "statements cannot be prepared ahead behind a pooler that shares connections; run the query itself",
    ))
}

/// The implementation of [`Native`], which is the same for both databases.
macro_rules! native {
    ($db:ty) => {
        use futures_util::future::BoxFuture;
        use sqlx::{Execute, Executor, SqlStr};
        use sqlx_core::describe::Describe;

        use super::{Conn, ItemStream, Native, limited, preparing_unsupported};

        type Arguments = <$db as sqlx::Database>::Arguments;
        type Row = <$db as sqlx::Database>::Row;
        type TypeInfo = <$db as sqlx::Database>::TypeInfo;
        type Statement = <$db as sqlx::Database>::Statement;

        impl Native for $db {
            fn stream(
                conn: Conn<'_, Self>,
                sql: SqlStr,
                binds: Arguments,
                persistent: bool,
            ) -> ItemStream<'_, Self> {
                let persistent = persistent && conn.uses_named_statements();
                let query = sqlx::query_with(conn.text(sql), binds).persistent(persistent);
                let (running, max_rows) = (conn.start(), conn.max_rows);
                limited::<Self>(conn.conn.fetch_many(query), running, max_rows, conn.too_large)
            }

            async fn prepare(
                conn: Conn<'_, Self>,
                sql: SqlStr,
                parameters: &[TypeInfo],
            ) -> sqlx::Result<Statement> {
                if !conn.uses_named_statements() {
                    return Err(preparing_unsupported());
                }
                let sql = conn.text(sql);
                conn.conn.prepare_with(sql, parameters).await
            }

            async fn describe(conn: Conn<'_, Self>, sql: SqlStr) -> sqlx::Result<Describe<Self>> {
                if !conn.uses_named_statements() {
                    return Err(preparing_unsupported());
                }
                let sql = conn.text(sql);
                conn.conn.describe(sql).await
            }

            async fn execute_query(
                mut conn: Conn<'_, Self>,
                query: sqlx::query::Query<'_, Self, Arguments>,
            ) -> sqlx::Result<u64> {
                let done = query.execute(RoutedExecutor(conn.reborrow())).await;
                Ok(conn.settle(done).await?.rows_affected())
            }

            async fn fetch_mapped<F, T>(
                mut conn: Conn<'_, Self>,
                query: sqlx::query::Map<'_, Self, F, Arguments>,
            ) -> sqlx::Result<Vec<T>>
            where
                F: FnMut(Row) -> sqlx::Result<T> + Send,
                T: Send + Unpin,
            {
                let rows = query.fetch_all(RoutedExecutor(conn.reborrow())).await;
                conn.settle(rows).await
            }

            async fn fetch_scalars<T>(
                mut conn: Conn<'_, Self>,
                query: sqlx::query::QueryScalar<'_, Self, T, Arguments>,
            ) -> sqlx::Result<Vec<T>>
            where
                T: Send + Unpin,
                (T,): for<'r> sqlx::FromRow<'r, Row>,
            {
                let rows = query.fetch_all(RoutedExecutor(conn.reborrow())).await;
                conn.settle(rows).await
            }
        }

        /// Sends the statement of a query object of sqlx as the route says: with its text, named or unnamed.
        #[derive(Debug)]
        struct RoutedExecutor<'c>(Conn<'c, $db>);

        impl<'c> Executor<'c> for RoutedExecutor<'c> {
            type Database = $db;

            fn fetch_many<'e, 'q: 'e, E>(self, mut query: E) -> ItemStream<'e, $db>
            where
                'c: 'e,
                E: 'q + Execute<'q, $db>,
            {
                match query.take_arguments() {
                    Ok(binds) => {
                        let persistent = query.persistent();
                        <$db as Native>::stream(self.0, query.sql(), binds.unwrap_or_default(), persistent)
                    }
                    Err(error) => {
                        Box::pin(futures_util::stream::once(async { Err(sqlx::Error::Encode(error)) }))
                    }
                }
            }

            fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<Row>>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $db>,
            {
                let items = self.fetch_many(query);
                Box::pin(super::first_row::<$db>(items))
            }

            fn prepare_with<'e>(self, _: SqlStr, _: &'e [TypeInfo]) -> BoxFuture<'e, sqlx::Result<Statement>>
            where
                'c: 'e,
            {
                Box::pin(async { Err(preparing_unsupported()) })
            }

            fn describe<'e>(self, _: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<$db>>>
            where
                'c: 'e,
            {
                Box::pin(async { Err(preparing_unsupported()) })
            }
        }
    };
}

#[cfg(feature = "postgres")]
mod postgres {
    native!(sqlx::Postgres);
}
#[cfg(feature = "sqlite")]
mod sqlite {
    native!(sqlx::Sqlite);
}

/// The first row of a stream. It reads the stream to its end, because a statement can fail after its first row.
pub(crate) async fn first_row<DB: sqlx::Database>(
    mut items: ItemStream<'_, DB>,
) -> sqlx::Result<Option<DB::Row>> {
    let mut first = None;
    while let Some(item) = items.try_next().await? {
        if let sqlx::Either::Right(row) = item {
            first.get_or_insert(row);
        }
    }
    Ok(first)
}
