//! [`TenantExecutor`]: what a tenant's statement runs on, and the statements themselves.

use sqlx::{SqlSafeStr, SqlStr};

use super::backend::{Backend, BindArguments, BoundTenant, Conn, Value, sealed};
use crate::context::TenantContext;
use crate::error::Result;

/// What a tenant's statement runs on: `&Scope` for one statement, `&mut Tx` inside a transaction.
///
/// Sealed: there is no third way.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the scope of a tenant",
    label = "needs `&Scope` or `&mut Tx`, which say whose rows these are",
    note = "open a scope with `db.scope(&ctx)`, or a transaction with `db.begin(&ctx).await?`, where `db` is a `TenantDb` and `ctx` the request's `TenantContext`",
    note = "pass `&scope` or `&mut tx`: a pool or a connection of sqlx would reach the rows of every tenant"
)]
pub trait TenantExecutor: sealed::Sealed + Send + Sized {
    /// The database it runs on.
    type Database: Backend;

    #[doc(hidden)]
    fn context(&self) -> &TenantContext;

    /// The tenant as statements bind it.
    #[doc(hidden)]
    fn bound_tenant(&self) -> BoundTenant;

    #[doc(hidden)]
    fn fetch<F: Fetch<Self::Database>>(self, fetch: F) -> impl Future<Output = Result<F::Output>> + Send;

    #[doc(hidden)]
    fn execute(self, statement: Statement<Self::Database>) -> impl Future<Output = Result<u64>> + Send {
        self.execute_all(vec![statement])
    }

    /// All of them, or none.
    #[doc(hidden)]
    fn execute_all(
        self,
        statements: Vec<Statement<Self::Database>>,
    ) -> impl Future<Output = Result<u64>> + Send {
        self.fetch(Changes(statements))
    }
}

/// Something to ask a tenant's connection.
#[doc(hidden)]
#[expect(unnameable_types, reason = "of a sealed trait's hidden methods")]
pub trait Fetch<DB: Backend>: Send {
    type Output: Send;

    /// Whether it can change rows, also where it answers some.
    fn writes(&self) -> bool;

    /// Whether it is one statement, and reaches no table of the library.
    fn plain(&self) -> bool {
        true
    }

    fn run(self, conn: Conn<'_, DB>) -> impl Future<Output = sqlx::Result<Self::Output>> + Send;

    /// Whether an answer is about rows at all.
    fn met_rows(answer: &Self::Output) -> bool;
}

impl<DB: Backend> Fetch<DB> for Statement<DB> {
    type Output = Vec<DB::Row>;

    fn writes(&self) -> bool {
        self.writes
    }

    fn plain(&self) -> bool {
        !self.own
    }

    async fn run(self, conn: Conn<'_, DB>) -> sqlx::Result<Self::Output> {
        DB::fetch(conn, self.sql, self.binds.into_arguments()).await
    }

    fn met_rows(rows: &Self::Output) -> bool {
        !rows.is_empty()
    }
}

/// Statements that are run for what they change, and say how many rows that was.
struct Changes<DB: Backend>(Vec<Statement<DB>>);

impl<DB: Backend> Fetch<DB> for Changes<DB> {
    type Output = u64;

    fn writes(&self) -> bool {
        true
    }

    fn plain(&self) -> bool {
        matches!(&self.0[..], [statement] if statement.plain())
    }

    async fn run(self, conn: Conn<'_, DB>) -> sqlx::Result<u64> {
        let mut rows = 0;
        for statement in self.0 {
            let conn = Conn { conn: &mut *conn.conn, connection_mode: conn.connection_mode };
            rows += DB::execute(conn, statement.sql, statement.binds.into_arguments()).await?;
        }
        Ok(rows)
    }

    fn met_rows(rows: &u64) -> bool {
        *rows > 0
    }
}

/// A statement of one tenant, with what is bound so far.
#[derive(Debug)]
#[doc(hidden)]
#[expect(unnameable_types, reason = "of a sealed trait's hidden methods")]
pub struct Statement<DB: Backend> {
    pub(crate) sql: SqlStr,
    pub(crate) binds: BindArguments<DB>,
    /// Whether it can change rows, also where it answers some.
    pub(crate) writes: bool,
    /// Whether its table is one of the library.
    own: bool,
}

impl<DB: Backend> Statement<DB> {
    /// For a table of the user.
    pub(crate) fn new(scope: &impl TenantExecutor<Database = DB>, sql: impl SqlSafeStr) -> Result<Self> {
        let tenant = scope.bound_tenant();
        let mut binds = BindArguments::of(&tenant.id);
        binds.push_value(Value::Tenant(&tenant))?;
        Ok(Self { sql: sql.into_sql_str(), binds, writes: false, own: false })
    }

    /// For a table of the library, whose tenant column is the id's text.
    pub(crate) fn internal_table(
        ctx: &TenantContext,
        sql: impl SqlSafeStr,
        values: &[Value<'_>],
    ) -> Result<Self> {
        let mut binds = BindArguments::new();
        binds.push_value(Value::Text(&ctx.tenant_id().to_string()))?;
        for value in values {
            binds.push_value(*value)?;
        }
        Ok(Self { sql: sql.into_sql_str(), binds, writes: false, own: true })
    }

    /// The same, for one that changes rows and answers some.
    pub(crate) fn writing(self) -> Self {
        Self { writes: true, ..self }
    }

    /// A statement that was proven while compiling; its values, and the tenant after them, are still to be bound.
    #[cfg_attr(not(feature = "macros"), expect(dead_code, reason = "only the macros prove while compiling"))]
    pub(crate) fn checked(ctx: &TenantContext, sql: &'static str, writes: bool) -> Self {
        Self { sql: sql.into_sql_str(), binds: BindArguments::of(ctx.tenant_id()), writes, own: false }
    }
}
