//! [`Scope`] and [`Tx`] as executors of sqlx: the scoped executor.

use async_stream::try_stream;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use sqlx::{Execute, Executor, SqlStr};

use crate::database::{Conn, Step, Steps, carried, first};
use crate::scope::session::{Backend, Ready, Run, Scope, SqlxQuery, State, Tx};

/// Runs any query of sqlx for one tenant: the text is rewritten so that it reaches that tenant's rows only, and
/// refused where that cannot be proven.
///
/// A refusal is an [`sqlx::Error::Configuration`] whose source is a [`tenancy::Error`](crate::Error) of kind
/// [`SqlRejected`](crate::ErrorKind::SqlRejected); [`Error::from_sqlx`](crate::Error::from_sqlx) gives that error. The texts that
/// were used last are remembered with what they were rewritten to. Statements that write are finished, and committed, before their first row is handed
/// out.
impl<'c, DB: Backend> Executor<'c> for &'c Scope<'_, DB> {
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Steps<'e, DB>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let query = SqlxQuery::of(query);
        Box::pin(try_stream! {
            let (core, ctx) = (self.core, Run::context(&self));
            core.permit(ctx, false).map_err(carried)?;
            let query = query.map_err(carried)?;
            let Ready { sql, binds, persistent, read_only } =
                core.rewrites.ready(query, &core.bound(ctx)).await.map_err(carried)?;
            core.permit(ctx, !read_only).map_err(carried)?;
            let mut lease = core.lease(ctx.tenant_id(), !read_only, true).await?;
            if read_only {
                let mut steps = DB::stream(lease.conn(), sql, binds, persistent);
                while let Some(step) = steps.try_next().await? {
                    yield step;
                }
            } else {
                let steps: Vec<Step<DB>> =
                    DB::stream(lease.conn(), sql, binds, persistent).try_collect().await?;
                lease.finish().await.map_err(carried)?;
                for step in steps {
                    yield step;
                }
            }
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<DB::Row>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(first::<DB>(self.fetch_many(query)))
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
            self.core.permit(Run::context(&self), false).map_err(carried)?;
            let sql = self.core.rewrites.prepare::<DB>(&sql).await.map_err(carried)?;
            let mut conn = self.core.pool.acquire().await?;
            DB::prepare(Conn::on(&mut conn, self.core.connection_mode), sql, parameters).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx_core::describe::Describe<DB>>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            self.core.permit(Run::context(&self), false).map_err(carried)?;
            let sql = self.core.rewrites.prepare::<DB>(&sql).await.map_err(carried)?;
            let mut conn = self.core.pool.acquire().await?;
            DB::describe(Conn::on(&mut conn, self.core.connection_mode), sql).await
        })
    }
}

/// As on a [`Scope`], within the transaction.
///
/// `fetch` of a statement that only reads can be left before its end, by a `break` for instance, once a row has come: the
/// transaction goes on. If the statement writes, or its stream is dropped while a row is waited for, as by a timeout, the
/// transaction cannot be committed.
impl<'c, DB: Backend> Executor<'c> for &'c mut Tx<'_, DB> {
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Steps<'e, DB>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let query = SqlxQuery::of(query);
        Box::pin(try_stream! {
            let tenant = Run::bound_tenant(&self);
            let query = query.map_err(carried)?;
            let Ready { sql, binds, persistent, read_only } =
                self.core.rewrites.ready(query, &tenant).await.map_err(carried)?;
            self.check_usable(!read_only).map_err(carried)?;
            self.progress.met_rows |= !read_only;
            // Between two rows nothing is on its way to the database: the next statement reads past those that are left.
            let left = if read_only { State::Usable } else { State::Unread };
            {
                let mut steps = DB::stream(self.conn.conn(), sql, binds, persistent);
                loop {
                    let step = self.progress.settle(steps.try_next().await)?;
                    let Some(step) = step else { break };
                    self.progress.state = left;
                    yield step;
                    self.progress.state = State::Running;
                }
            }
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<DB::Row>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(first::<DB>(self.fetch_many(query)))
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
            let sql = self.core.rewrites.prepare::<DB>(&sql).await.map_err(carried)?;
            self.begin_statement().map_err(carried)?;
            let statement = DB::prepare(self.conn.conn(), sql, parameters).await;
            self.progress.settle(statement)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx_core::describe::Describe<DB>>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let sql = self.core.rewrites.prepare::<DB>(&sql).await.map_err(carried)?;
            self.begin_statement().map_err(carried)?;
            let description = DB::describe(self.conn.conn(), sql).await;
            self.progress.settle(description)
        })
    }
}
