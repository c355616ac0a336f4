//! [`Statement`]: a statement of one tenant with its bound values; [`Fetch`]: an operation on a tenant's connection.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::backend::Backend;
use super::bind::BindArguments;
use crate::context::TenantContext;
use crate::database::{BoundTenant, Conn, Value};
use crate::error::Result;

/// An operation that runs on a tenant's connection and returns a result.
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub trait Fetch<DB: Backend>: Send {
    type Output: Send;

    /// Whether it can change rows. A statement can change rows and return them.
    fn writes(&self) -> bool;

    /// Whether it locks a row and leaves the row's values unchanged. That is no change, and needs a transaction that can
    /// write.
    fn locks(&self) -> bool {
        false
    }

    /// Whether it can run without a transaction: it is a single statement, and uses no table of the library.
    fn allows_autocommit(&self) -> bool {
        true
    }

    /// The command of the statement, such as `INSERT`, if it is known. An error names it.
    fn command(&self) -> Option<&'static str> {
        None
    }

    fn run(self, conn: Conn<'_, DB>) -> impl Future<Output = sqlx::Result<Self::Output>> + Send;

    /// Whether at least one row was read or changed.
    fn matched_rows(output: &Self::Output) -> bool;
}

impl<DB: Backend> Fetch<DB> for Statement<DB> {
    type Output = Vec<DB::Row>;

    fn writes(&self) -> bool {
        self.writes
    }

    fn locks(&self) -> bool {
        self.locks
    }

    fn allows_autocommit(&self) -> bool {
        !self.internal
    }

    fn command(&self) -> Option<&'static str> {
        const COMMANDS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
        let first = self.sql.as_str().split_whitespace().next()?;
        COMMANDS.into_iter().find(|command| command.eq_ignore_ascii_case(first))
    }

    async fn run(self, conn: Conn<'_, DB>) -> sqlx::Result<Self::Output> {
        let sql = self.text(&conn);
        let conn = match self.page {
            Some(rows) => conn.for_page_of(rows),
            None => conn,
        };
        DB::fetch(conn, sql, self.binds.into_arguments()).await
    }

    fn matched_rows(rows: &Self::Output) -> bool {
        !rows.is_empty()
    }
}

/// Statements that change rows. The output is the number of changed rows.
pub(super) struct Changes<DB: Backend>(pub(super) Vec<Statement<DB>>);

impl<DB: Backend> Fetch<DB> for Changes<DB> {
    type Output = u64;

    fn writes(&self) -> bool {
        true
    }

    fn allows_autocommit(&self) -> bool {
        matches!(&self.0[..], [statement] if statement.allows_autocommit())
    }

    fn command(&self) -> Option<&'static str> {
        let first = self.0.first()?.command();
        self.0.iter().all(|statement| statement.command() == first).then_some(first).flatten()
    }

    async fn run(self, mut conn: Conn<'_, DB>) -> sqlx::Result<u64> {
        let mut rows = 0;
        for statement in self.0 {
            let sql = statement.text(&conn);
            rows += DB::execute(conn.reborrow(), sql, statement.binds.into_arguments()).await?;
        }
        Ok(rows)
    }

    fn matched_rows(rows: &u64) -> bool {
        *rows > 0
    }
}

/// A statement of one tenant, with the values that are bound so far.
#[derive(Debug)]
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct Statement<DB: Backend> {
    sql: SqlStr,
    pub(in crate::scope) binds: BindArguments<DB>,
    /// Whether it can change rows. A statement can change rows and return them.
    writes: bool,
    /// Whether it only locks a row.
    locks: bool,
    /// Whether its table belongs to the library.
    internal: bool,
    /// The size of the page that it reads, if it reads one row more than the page has.
    page: Option<u16>,
}

impl<DB: Backend> Statement<DB> {
    /// A statement on a table of the application. The tenant is bound first.
    pub(in crate::scope) fn new(tenant: &BoundTenant, sql: impl SqlSafeStr) -> Result<Self> {
        let mut binds = BindArguments::of(&tenant.id);
        binds.push_value(Value::Tenant(tenant))?;
        Ok(Self { sql: sql.into_sql_str(), binds, writes: false, locks: false, internal: false, page: None })
    }

    /// A statement on a table of the library, for [`Run::bound_internal`](super::executor::Run). The tenant is bound first.
    ///
    /// The SQL has `@` before the name of the table.
    pub(crate) fn internal_table(
        tenant: &BoundTenant,
        sql: impl SqlSafeStr,
        values: &[Value<'_>],
    ) -> Result<Self> {
        let mut all = vec![Value::Tenant(tenant)];
        all.extend_from_slice(values);
        let binds = BindArguments::internal(&all)?;
        Ok(Self { sql: sql.into_sql_str(), binds, writes: false, locks: false, internal: true, page: None })
    }

    /// The SQL, with the schema of the library's own tables where it needs one.
    fn text(&self, conn: &Conn<'_, DB>) -> SqlStr {
        if self.internal {
            AssertSqlSafe(conn.route.own_table(self.sql.as_str())).into_sql_str()
        } else {
            self.sql.clone()
        }
    }

    /// Marks a statement that changes rows and returns them.
    pub(crate) fn writing(self) -> Self {
        Self { writes: true, ..self }
    }

    /// Marks a statement that locks a row and leaves its values unchanged.
    pub(crate) fn locking(self) -> Self {
        Self { locks: true, ..self }
    }

    /// Marks a statement that reads one row more than the page of `rows` rows that it is for.
    pub(in crate::scope) fn page_of(self, rows: u16) -> Self {
        Self { page: Some(rows), ..self }
    }

    /// A statement that was proven at compile time. The caller binds its values, and then the tenant.
    #[cfg_attr(
        not(feature = "macros"),
        expect(dead_code, reason = "only the macros prove statements at compile time")
    )]
    pub(in crate::scope) fn checked(ctx: &TenantContext, sql: &'static str, writes: bool) -> Self {
        let binds = BindArguments::of(ctx.tenant_id());
        Self { sql: sql.into_sql_str(), binds, writes, locks: false, internal: false, page: None }
    }
}
