//! [`TenantExecutor`]: `&Scope` and `&mut Tx`, as parameters of queries.

use super::backend::Backend;
use super::statement::{Changes, Fetch, Statement};
use crate::context::TenantContext;
use crate::database::BoundTenant;
use crate::error::Result;

/// Runs the statements of one tenant: `&Scope` for a single statement, `&mut Tx` inside a transaction.
///
/// Every query method of this crate takes one. A function of your own that works with both is generic over it:
///
/// ```
/// use tenancy::TenantScoped;
/// use tenancy::scope::TenantExecutor;
/// use tenancy::scope::row::SupportsRow;
///
/// #[derive(TenantScoped, sqlx::FromRow)]
/// #[tenant(table = "orders")]
/// struct Order {
///     #[tenant(id)]
///     id: i64,
/// }
///
/// async fn has_orders<S: TenantExecutor>(scope: S) -> tenancy::Result<bool>
/// where
///     S::Database: SupportsRow<Order>,
/// {
///     Ok(Order::count(scope).await? > 0)
/// }
/// ```
///
/// Sealed: only this crate implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the scope of a tenant",
    label = "needs `&Scope` or `&mut Tx`, which say whose rows these are",
    note = "open a scope with `db.scope(&ctx)`, or a transaction with `db.begin(&ctx).await?`, where `db` is a `TenantDb` and `ctx` the request's `TenantContext`",
    note = "pass `&scope` or `&mut tx`: a pool or a connection of sqlx would reach the rows of every tenant"
)]
pub trait TenantExecutor: Run<<Self as TenantExecutor>::Database> {
    /// The database on which the statements run.
    type Database: Backend;
}

/// The methods of [`TenantExecutor`].
#[expect(unnameable_types, reason = "a sealed trait: `TenantExecutor` is its public name")]
pub trait Run<DB: Backend>: Send + Sized {
    fn context(&self) -> &TenantContext;

    /// The tenant id with the type of the tenant columns.
    fn bound_tenant(&self) -> BoundTenant;

    /// The tenant id with the type of the tenant column of the library's own tables.
    fn bound_internal(&self) -> BoundTenant;

    fn fetch<F: Fetch<DB>>(self, fetch: F) -> impl Future<Output = Result<F::Output>> + Send;

    fn execute(self, statement: Statement<DB>) -> impl Future<Output = Result<u64>> + Send {
        self.execute_all(vec![statement])
    }

    /// Executes all statements, or none of them.
    fn execute_all(self, statements: Vec<Statement<DB>>) -> impl Future<Output = Result<u64>> + Send {
        self.fetch(Changes(statements))
    }
}
