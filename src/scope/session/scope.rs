//! [`Scope`]: single statements of one tenant.

use std::fmt;

use super::backend::Backend;
use super::core::{Core, notice_move};
use super::executor::{Run, TenantExecutor};
use super::statement::Fetch;
use crate::context::TenantContext;
use crate::database::{BoundTenant, database_error};
use crate::error::Result;

/// Runs single statements of one tenant. Pass `&scope` to the methods of [`TenantScoped`](crate::TenantScoped) and to
/// the query macros.
///
/// [`TenantDb::scope`](super::db::TenantDb::scope) opens it. It borrows the context, so it cannot outlive the
/// request, be kept in a static, or be moved into a spawned task.
#[derive(Clone, Copy)]
pub struct Scope<'a, DB: Backend> {
    pub(in crate::scope) core: &'a Core<DB>,
    pub(super) ctx: &'a TenantContext,
}

impl<DB: Backend> Scope<'_, DB> {
    /// The context that opened the scope.
    pub fn context(&self) -> &TenantContext {
        self.ctx
    }
}

impl<DB: Backend> fmt::Debug for Scope<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("ctx", self.ctx).finish_non_exhaustive()
    }
}

impl<DB: Backend> TenantExecutor for &Scope<'_, DB> {
    type Database = DB;
}

impl<DB: Backend> Run<DB> for &Scope<'_, DB> {
    fn context(&self) -> &TenantContext {
        self.ctx
    }

    fn bound_tenant(&self) -> BoundTenant {
        self.core.bound(self.ctx)
    }

    fn bound_internal(&self) -> BoundTenant {
        self.core.bound_internal(self.ctx)
    }

    async fn fetch<F: Fetch<DB>>(self, fetch: F) -> Result<F::Output> {
        let (writes, command) = (fetch.writes(), fetch.command());
        self.core.check_statement(self.ctx, writes)?;
        let lease = self.core.lease(self.ctx, writes, fetch.allows_autocommit()).await;
        let mut lease = lease.map_err(|e| database_error(&e))?;
        let result = notice_move(self.ctx, fetch.run(lease.conn()).await);
        let output = result.map_err(|e| lease.error(&e, command))?;
        lease.finish().await?;
        Ok(output)
    }
}
