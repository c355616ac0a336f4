use std::pin::pin;

use async_stream::try_stream;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use sqlx::{Either, Execute, Executor, SqlStr};

use super::streams::{Step, Steps};
use super::{Door, Ready};
use crate::audit::AuditPolicy;
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};
use crate::scope::backend::{Backend, Mode};
use crate::scope::db::{Scope, Scoped, admit, unaudited};
use crate::scope::tx::{OpenTransaction, Tx};

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
            if read_only && DB::BARE_READS {
                let mut conn = self.db.pool.acquire().await?;
                let mut steps = DB::stream(&mut conn, sql, binds, persistent);
                while let Some(step) = steps.try_next().await? {
                    yield step;
                }
            } else if read_only {
                let tenant = Some(self.context().tenant_id());
                let mut open = OpenTransaction::try_open(&self.db.pool, tenant, Mode::Read).await?;
                let mut steps = DB::stream(open.as_mut(), sql, binds, persistent);
                while let Some(step) = steps.try_next().await? {
                    yield step;
                }
            } else {
                if self.db.audit == AuditPolicy::Required {
                    Err(carried(unaudited()))?;
                }
                let tenant = Some(self.context().tenant_id());
                let mut open = OpenTransaction::try_open(&self.db.pool, tenant, Mode::Write).await?;
                let steps: Vec<Step<DB>> = DB::stream(open.as_mut(), sql, binds, persistent).try_collect().await?;
                open.commit().await.map_err(carried)?;
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
        first::<DB>(self.fetch_many(query))
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
            DB::prepare(&mut conn, sql, parameters).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx_core::describe::Describe<DB>>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let sql = rewritten::<DB>(&self.db.door, &sql)?;
            let mut conn = self.db.pool.acquire().await?;
            DB::describe(&mut conn, sql).await
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
                let mut steps = DB::stream(self.conn.as_mut(), sql, binds, persistent);
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
        first::<DB>(self.fetch_many(query))
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
            let statement = DB::prepare(self.conn.as_mut(), sql, parameters).await?;
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
            let description = DB::describe(self.conn.as_mut(), sql).await?;
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

/// The first row of a stream that is read to its end: only then is it known that the statement succeeded.
fn first<DB: Backend>(steps: Steps<'_, DB>) -> BoxFuture<'_, sqlx::Result<Option<DB::Row>>> {
    Box::pin(async move {
        let mut steps = pin!(steps);
        let mut first = None;
        while let Some(step) = steps.try_next().await? {
            if let Either::Right(row) = step {
                first.get_or_insert(row);
            }
        }
        Ok(first)
    })
}

/// sqlx has no error of ours: it carries one where a configuration is at fault.
fn carried(error: Error) -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(error))
}
