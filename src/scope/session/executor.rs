//! [`TenantExecutor`]: what a tenant's statement runs on.

use super::backend::Backend;
use super::statement::{Changes, Fetch, Statement};
use crate::context::TenantContext;
use crate::database::BoundTenant;
use crate::error::Result;

/// What a tenant's statement runs on: `&Scope` for a single statement, `&mut Tx` inside a transaction.
///
/// Sealed: only this crate implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the scope of a tenant",
    label = "needs `&Scope` or `&mut Tx`, which say whose rows these are",
    note = "open a scope with `db.scope(&ctx)`, or a transaction with `db.begin(&ctx).await?`, where `db` is a `TenantDb` and `ctx` the request's `TenantContext`",
    note = "pass `&scope` or `&mut tx`: a pool or a connection of sqlx would reach the rows of every tenant"
)]
pub trait TenantExecutor: Run<<Self as TenantExecutor>::Database> {
    /// The database it runs on.
    type Database: Backend;
}

/// How a statement runs.
#[expect(unnameable_types, reason = "a sealed trait: `TenantExecutor` is its public name")]
pub trait Run<DB: Backend>: Send + Sized {
    fn context(&self) -> &TenantContext;

    /// The tenant as statements bind it.
    fn bound_tenant(&self) -> BoundTenant;

    fn fetch<F: Fetch<DB>>(self, fetch: F) -> impl Future<Output = Result<F::Output>> + Send;

    fn execute(self, statement: Statement<DB>) -> impl Future<Output = Result<u64>> + Send {
        self.execute_all(vec![statement])
    }

    /// All of them, or none.
    fn execute_all(self, statements: Vec<Statement<DB>>) -> impl Future<Output = Result<u64>> + Send {
        self.fetch(Changes(statements))
    }
}
