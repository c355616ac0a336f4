//! The scoped executor: sqlx's `Executor` for `&Scope` and `&mut Tx`, which rewrites SQL at run time.

use async_stream::try_stream;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use sqlx::{Execute, Executor, SqlStr};

use crate::database::{ItemStream, StreamItem, first_row, to_sqlx_error};
use crate::scope::session::{
    Backend, BoundQuery, Run, Scope, SqlxQuery, State, StatementLease, Tx, notice_move,
};

/// Runs any query of sqlx for one tenant. The SQL is rewritten so that it reaches only this tenant's rows, and
/// rejected if that cannot be proven.
///
/// A rejection is an [`sqlx::Error::Configuration`] that contains a [`tenancy::Error`](crate::Error) of kind
/// [`SqlRejected`](crate::ErrorKind::SqlRejected). [`Error::from_sqlx`](crate::Error::from_sqlx) returns that error.
/// Recent rewrites are cached. A statement that writes is executed to its end and committed before its first row is
/// returned.
impl<'c, DB: Backend> Executor<'c> for &'c Scope<'_, DB> {
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> ItemStream<'e, DB>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let query = SqlxQuery::new(query);
        Box::pin(try_stream! {
            let (core, ctx) = (self.core, Run::context(&self));
            core.check_statement(ctx, false).map_err(to_sqlx_error)?;
            let query = query.map_err(to_sqlx_error)?;
            let BoundQuery { sql, binds, persistent, read_only } =
                core.rewrites.bind(query, &core.bound(ctx)).await.map_err(to_sqlx_error)?;
            core.check_statement(ctx, !read_only).map_err(to_sqlx_error)?;
            let mut lease = core.lease(ctx, !read_only, true).await?;
            if read_only {
                let ended = {
                    let mut items = DB::stream(lease.conn(), sql, binds, persistent);
                    loop {
                        match items.try_next().await {
                            Ok(Some(item)) => yield item,
                            Ok(None) => break Ok(()),
                            Err(error) => break Err(error),
                        }
                    }
                };
                notice_move(ctx, lease.conn().settle(ended).await)?;
            } else {
                let items = DB::stream(lease.conn(), sql, binds, persistent).try_collect().await;
                let items: Vec<StreamItem<DB>> = notice_move(ctx, lease.conn().settle(items).await)?;
                lease.finish().await.map_err(to_sqlx_error)?;
                for item in items {
                    yield item;
                }
            }
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<DB::Row>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(first_row::<DB>(self.fetch_many(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<DB::Statement>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let (mut lease, sql) = self.to_prepare(&sql).await?;
            let statement = DB::prepare(lease.conn(), sql, parameters).await;
            lease.conn().settle(statement).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx_core::describe::Describe<DB>>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let (mut lease, sql) = self.to_prepare(&sql).await?;
            let description = DB::describe(lease.conn(), sql).await;
            lease.conn().settle(description).await
        })
    }
}

impl<DB: Backend> Scope<'_, DB> {
    /// A connection of the tenant, and the text to prepare on it.
    async fn to_prepare(&self, sql: &SqlStr) -> sqlx::Result<(StatementLease<DB>, SqlStr)> {
        self.core.check_statement(self.context(), false).map_err(to_sqlx_error)?;
        let mut lease = self.core.lease(self.context(), false, true).await?;
        let sql = self.core.rewrites.prepare::<DB>(sql, lease.conn().route).await.map_err(to_sqlx_error)?;
        Ok((lease, sql))
    }
}

/// Runs any query of sqlx inside the transaction, rewritten as on a [`Scope`].
///
/// The stream of a read-only statement can be dropped before its end, for example by a `break`. If the stream of a
/// statement that writes is dropped before its end, or any stream is dropped while it waits for a row (as by a
/// timeout), the transaction can no longer be committed.
impl<'c, DB: Backend> Executor<'c> for &'c mut Tx<'_, DB> {
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> ItemStream<'e, DB>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let query = SqlxQuery::new(query);
        Box::pin(try_stream! {
            let tenant = Run::bound_tenant(&self);
            let query = query.map_err(to_sqlx_error)?;
            let BoundQuery { sql, binds, persistent, read_only } =
                self.core.rewrites.bind(query, &tenant).await.map_err(to_sqlx_error)?;
            self.begin_checked(!read_only).await.map_err(to_sqlx_error)?;
            self.progress.matched_rows |= !read_only;
            // Between two rows no message is in flight. The next statement discards the unread rows.
            let state_between_rows = if read_only { State::Usable } else { State::Unread };
            let ended = {
                let mut items = DB::stream(self.conn.conn(), sql, binds, persistent);
                loop {
                    match self.progress.record_result(items.try_next().await) {
                        Ok(Some(item)) => {
                            self.progress.state = state_between_rows;
                            yield item;
                            self.progress.state = State::Running;
                        }
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                }
            };
            self.conn.conn().settle(ended).await?;
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<DB::Row>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(first_row::<DB>(self.fetch_many(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<DB::Statement>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let route = self.conn.conn().route;
            let sql = self.core.rewrites.prepare::<DB>(&sql, route).await.map_err(to_sqlx_error)?;
            self.begin_statement().await.map_err(to_sqlx_error)?;
            let statement = DB::prepare(self.conn.conn(), sql, parameters).await;
            let statement = self.conn.conn().settle(statement).await;
            self.progress.record_result(statement)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx_core::describe::Describe<DB>>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let route = self.conn.conn().route;
            let sql = self.core.rewrites.prepare::<DB>(&sql, route).await.map_err(to_sqlx_error)?;
            self.begin_statement().await.map_err(to_sqlx_error)?;
            let description = DB::describe(self.conn.conn(), sql).await;
            let description = self.conn.conn().settle(description).await;
            self.progress.record_result(description)
        })
    }
}
