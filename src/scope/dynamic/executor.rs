use async_stream::try_stream;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use sqlx::{Execute, Executor, SqlStr};

use super::{Door, Ready};
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};
use crate::scope::backend::{Backend, Line, Mode};
use crate::scope::db::{Scope, Scoped, admit};
use crate::scope::streams::{Step, Steps, carried, first};
use crate::scope::tx::Tx;

/// Runs any query of sqlx for one tenant: the text is rewritten so that it reaches that tenant's rows only, and
/// refused where that cannot be proven.
///
/// A refusal is an [`sqlx::Error::Configuration`] whose source is a [`tenancy::Error`](crate::Error) of kind
/// [`ErrorKind::Refused`]. Statements that write are finished, and committed, before their first row is handed
/// out.
impl<'c, DB: Backend> Executor<'c> for &'c Scope<'_, DB> {
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Steps<'e, DB>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let ready = ready(&self.db.door, self.context(), query);
        Box::pin(try_stream! {
            let Ready { sql, binds, persistent, read_only } = ready.map_err(carried)?;
            admit(self.context()).map_err(carried)?;
            if !read_only {
                self.may_write().map_err(carried)?;
            }
            let bare = self.db.bare(!read_only, true);
            let tenant = Some(self.context().tenant_id());
            if read_only && bare {
                let mut conn = self.db.pool.acquire().await?;
                let line = Line::on(&mut conn, self.db.send);
                let mut steps = DB::stream(line, sql, binds, persistent);
                while let Some(step) = steps.try_next().await? {
                    yield step;
                }
            } else if read_only {
                let mut open = self.db.open(tenant, Mode::Read).await?;
                let mut steps = DB::stream(open.line(), sql, binds, persistent);
                while let Some(step) = steps.try_next().await? {
                    yield step;
                }
            } else {
                let steps: Vec<Step<DB>> = if bare {
                    let mut conn = self.db.pool.acquire().await?;
                    let line = Line::on(&mut conn, self.db.send);
                    DB::stream(line, sql, binds, persistent).try_collect().await?
                } else {
                    let mut open = self.db.open(tenant, Mode::Write).await?;
                    let steps = DB::stream(open.line(), sql, binds, persistent).try_collect().await?;
                    open.commit().await.map_err(carried)?;
                    steps
                };
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
            let sql = rewritten::<DB>(&self.db.door, &sql)?;
            let mut conn = self.db.pool.acquire().await?;
            DB::prepare(Line::on(&mut conn, self.db.send), sql, parameters).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx_core::describe::Describe<DB>>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let sql = rewritten::<DB>(&self.db.door, &sql)?;
            let mut conn = self.db.pool.acquire().await?;
            DB::describe(Line::on(&mut conn, self.db.send), sql).await
        })
    }
}

/// As on a [`Scope`], within the transaction. A stream that is dropped before its end leaves the transaction as a
/// cancelled statement does: it cannot be committed.
impl<'c, DB: Backend> Executor<'c> for &'c mut Tx<'_, DB> {
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Steps<'e, DB>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let ready = ready(&self.db.door, self.context(), query);
        Box::pin(try_stream! {
            let Ready { sql, binds, persistent, read_only } = ready.map_err(carried)?;
            self.enter(!read_only).map_err(carried)?;
            {
                let mut steps = DB::stream(self.conn.line(), sql, binds, persistent);
                while let Some(step) = steps.try_next().await? {
                    yield step;
                }
            }
            self.sound = true;
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
            let sql = rewritten::<DB>(&self.db.door, &sql)?;
            self.enter_statement().map_err(carried)?;
            let statement = DB::prepare(self.conn.line(), sql, parameters).await?;
            self.sound = true;
            Ok(statement)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx_core::describe::Describe<DB>>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let sql = rewritten::<DB>(&self.db.door, &sql)?;
            self.enter_statement().map_err(carried)?;
            let description = DB::describe(self.conn.line(), sql).await?;
            self.sound = true;
            Ok(description)
        })
    }
}

fn ready<'q, DB: Backend>(
    door: &Door,
    ctx: &TenantContext,
    mut query: impl Execute<'q, DB>,
) -> Result<Ready<DB>> {
    let values = query.take_arguments().map_err(|e| {
        Error::new(ErrorKind::InvalidInput, "a value does not encode for the database").with_source(e)
    })?;
    let persistent = query.persistent();
    let sql = query.sql();
    door.open::<DB>(sql.as_str())?.bind(ctx.tenant_id(), values, persistent)
}

fn rewritten<DB: Backend>(door: &Door, sql: &SqlStr) -> sqlx::Result<SqlStr> {
    door.open::<DB>(sql.as_str()).map(|known| known.sql.clone()).map_err(carried)
}
