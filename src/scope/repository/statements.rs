//! Binds and runs the statements of a table, for `TenantScoped` and `Select`.

use std::time::SystemTime;

use sqlx::{AssertSqlSafe, SqlSafeStr};
use tenancy_sql::{Statements, Table};

use super::filter::Erased;
use super::page::PageRequest;
use super::row::{RowCodec, SupportsRow, TenantRow};
use crate::database::{Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::session::{Backend, Statement, TenantExecutor, decoding_for};

/// Picks one of the statements of a table.
type PickStatement = fn(&'static Statements) -> &'static str;

pub(super) fn statement<S: TenantExecutor, T: TenantRow>(
    scope: &S,
    pick: PickStatement,
) -> Result<Statement<S::Database>> {
    Statement::new(&scope.bound_tenant(), pick(T::statements(S::Database::DIALECT)))
}

pub(super) fn with_id<S: TenantExecutor, T: TenantRow>(
    scope: &S,
    pick: PickStatement,
    id: &T::Id,
) -> Result<Statement<S::Database>>
where
    S::Database: SupportsRow<T>,
{
    let mut statement = statement::<S, T>(scope, pick)?;
    S::Database::bind_id(id, &mut statement.binds)?;
    Ok(statement)
}

pub(super) fn with_row<S: TenantExecutor, T: TenantRow>(
    scope: &S,
    pick: PickStatement,
    row: &T,
) -> Result<Statement<S::Database>>
where
    S::Database: SupportsRow<T>,
{
    let mut statement = with_id::<S, T>(scope, pick, row.id())?;
    S::Database::bind_columns(row, &mut statement.binds)?;
    Ok(statement)
}

pub(super) fn with_rows<S: TenantExecutor, T: TenantRow>(
    scope: &S,
    rows: &[T],
) -> Result<Vec<Statement<S::Database>>>
where
    S::Database: SupportsRow<T>,
{
    let table = table::<S, T>();
    let statement = |rows: &[T]| {
        let sql = AssertSqlSafe(table.insert(rows.len())).into_sql_str();
        let mut statement = Statement::new(&scope.bound_tenant(), sql)?;
        for row in rows {
            S::Database::bind_id(row.id(), &mut statement.binds)?;
            S::Database::bind_columns(row, &mut statement.binds)?;
        }
        Ok(statement)
    };
    rows.chunks(table.rows_of_an_insert()).map(statement).collect()
}

pub(super) fn page_statement<S: TenantExecutor, T: TenantRow>(
    scope: &S,
    page: &PageRequest<T::Id>,
) -> Result<Statement<S::Database>>
where
    S::Database: SupportsRow<T>,
{
    check_page_size(page.limit)?;
    let mut statement = match &page.after {
        Some(after) => with_id::<S, T>(scope, |s| &s.next_page, after)?,
        None => statement::<S, T>(scope, |s| &s.first_page)?,
    };
    // One row more than the limit shows whether there is a next page.
    statement.binds.push_value(Value::Int(i64::from(page.limit) + 1))?;
    Ok(statement.page_of(page.limit))
}

/// The number in the first column of the first row.
pub(super) fn read_count<DB: Backend>(rows: &[DB::Row]) -> Result<u64> {
    let count = rows.first().map_or(Ok(0), |row| DB::int(row, 0)).map_err(|e| database_error(&e))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Runs a statement, and decodes its rows as rows of the scope's tenant.
pub(super) async fn rows<S: TenantExecutor, T: TenantRow>(
    scope: S,
    statement: Statement<S::Database>,
) -> Result<Vec<T>>
where
    S::Database: SupportsRow<T>,
{
    let tenant = scope.context().tenant_id().clone();
    let rows = scope.fetch(statement).await?;
    let read = || rows.iter().map(|row| S::Database::read(row)).collect::<sqlx::Result<_>>();
    decoding_for(&tenant, read).map_err(|e| {
        Error::new(
            ErrorKind::Database,
            format!(
                "a row of `{}` cannot be decoded into its struct; compare their columns and types",
                T::TABLE
            ),
        )
        .with_source(e.to_string())
    })
}

pub(super) fn check_page_size(rows: u16) -> Result<()> {
    if (1..=1000).contains(&rows) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, "a page has 1 to 1000 rows"))
}

/// The column that marks a row as deleted, and its value for this time, or for a row that is not deleted. `None` if
/// the table has no soft deletion.
pub(super) fn mark<T: TenantRow>(table: &Table, at: Option<SystemTime>) -> Result<Option<(usize, Erased)>> {
    match (table.deleted, T::mark(at)) {
        (Some(column), Some(mark)) => Ok(Some((column, mark))),
        (None, None) => Ok(None),
        _ => Err(unknown_mark()),
    }
}

pub(super) fn table<S: TenantExecutor, T: TenantRow>() -> &'static Table {
    &T::statements(S::Database::DIALECT).table
}

pub(super) fn unknown_mark() -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        "the value that marks a row as deleted is not defined; derive `TenantScoped`, with `#[tenant(soft_delete)]` on a field",
    )
}
