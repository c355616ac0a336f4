//! [`TenantScoped`]: the repository of a tenant-owned table.

use std::any::Any;
use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use sqlx::{AssertSqlSafe, FromRow, SqlSafeStr};
use tenancy_sql::{Dialect, Statements};

use super::backend::{Backend, BindArguments, database_error};
use super::changed::{Deleted, Updated};
use super::executor::{Statement, TenantExecutor};
use super::foreign_key::{ForeignKey, reading};
use super::select::{Select, limited};
use super::soft_delete::{SoftDelete, by_id, mark, table};
use crate::error::{Error, ErrorKind, Result};

/// What a method of [`TenantScoped`] answers. Boxed, so that a call without a scope is one error and not three.
pub type ResultFuture<'s, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 's>>;

/// A row of a tenant-owned table, and the repository of that table.
///
/// Derive it beside `sqlx::FromRow`. Every method takes the tenant's scope first: `&scope` for a statement by
/// itself, `&mut tx` inside a transaction. Another tenant's row and a missing row look the same.
///
/// ```
/// use tenancy::TenantScoped;
/// use uuid::Uuid;
///
/// #[derive(TenantScoped, sqlx::FromRow)]
/// #[tenant(table = "orders")]
/// struct Order {
///     #[tenant(id)]
///     id: Uuid,
///     status: String,
///     total: i64,
/// }
/// ```
///
/// The struct has no field for the tenant column: the scope fills it in, and nothing can change it.
///
/// It can also be written by hand, beside [`BindRow`], with the statements that [`TableSpec`](super::TableSpec) writes:
///
/// ```
/// use std::sync::LazyLock;
/// use tenancy::scope::{BindArguments, Dialect, BindRow, TableSpec, Statements};
/// use tenancy::TenantScoped;
///
/// #[derive(sqlx::FromRow)]
/// struct Note { id: i64, text: String }
///
/// impl TenantScoped for Note {
///     type Id = i64;
///     const TABLE: &'static str = "notes";
///
///     fn id(&self) -> &i64 { &self.id }
///
///     fn statements(_: Dialect) -> &'static Statements {
///         static SQLITE: LazyLock<Statements> = LazyLock::new(|| {
///             TableSpec::new("notes", "tenant_id", "id", ["text"]).unwrap().statements(Dialect::Sqlite)
///         });
///         &SQLITE
///     }
/// }
///
/// impl BindRow<sqlx::Sqlite> for Note {
///     fn bind_id(id: &i64, binds: &mut BindArguments<sqlx::Sqlite>) -> tenancy::Result<()> { binds.push(id) }
///     fn bind_columns(&self, binds: &mut BindArguments<sqlx::Sqlite>) -> tenancy::Result<()> { binds.push(&self.text) }
/// }
/// ```
/// # Security
/// By hand, take [`statements`](Self::statements) from `TableSpec` as above: they are run as they stand, and a text of your
/// own in them is one that nothing has proven.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row of a tenant-owned table",
    label = "`TenantScoped` is not implemented",
    note = "write `#[derive(TenantScoped, sqlx::FromRow)]` and `#[tenant(table = \"..\")]` on the struct, and `#[tenant(id)]` on its id"
)]
pub trait TenantScoped: Sized + Send + Unpin + 'static {
    /// The id of a row within its tenant.
    type Id: Clone + Send + Sync + 'static;

    /// The table.
    const TABLE: &'static str;

    /// This row's id.
    fn id(&self) -> &Self::Id;

    /// The table's statements.
    fn statements(dialect: Dialect) -> &'static Statements;

    /// Some of the tenant's rows: those of a filter, in an order, by pages or together.
    fn select() -> Select<Self> {
        Select::new()
    }

    /// The row with this id, or `None` if the tenant has none.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`], or [`ErrorKind::Database`] if the row does not read.
    fn find<'s, S>(scope: S, id: impl Borrow<Self::Id> + Send) -> ResultFuture<'s, Option<Self>>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = with_id::<S, Self>(&scope, |s| &s.find, id.borrow());
        Box::pin(async move { Ok(rows::<S, Self>(scope, statement?).await?.pop()) })
    }

    /// A page of the tenant's rows, in the order of their ids.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a page of none or of more than 1,000; otherwise as [`find`](Self::find).
    fn list<'s, S>(scope: S, page: PageRequest<Self::Id>) -> ResultFuture<'s, Page<Self>>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = page_statement::<S, Self>(&scope, &page);
        Box::pin(async move {
            let mut items = rows::<S, Self>(scope, statement?).await?;
            let more = items.len() > usize::from(page.limit);
            items.truncate(page.limit.into());
            let next = if more { items.last().map(|last| last.id().clone()) } else { None };
            Ok(Page { items, next })
        })
    }

    /// How many rows the tenant has.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    fn count<'s, S>(scope: S) -> ResultFuture<'s, u64>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = statement::<S, Self>(&scope, |s| &s.count);
        Box::pin(async move { number::<S::Database>(&scope.fetch(statement?).await?) })
    }

    /// Whether the tenant has a row with this id.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    fn exists<'s, S>(scope: S, id: impl Borrow<Self::Id> + Send) -> ResultFuture<'s, bool>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = with_id::<S, Self>(&scope, |s| &s.exists, id.borrow());
        Box::pin(async move { Ok(!scope.fetch(statement?).await?.is_empty()) })
    }

    /// A reference to the row with this id, for a field of another row; `None` if the tenant has none.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    fn reference<'s, S>(
        scope: S,
        id: impl Borrow<Self::Id> + Send,
    ) -> ResultFuture<'s, Option<ForeignKey<Self>>>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let reference = ForeignKey::new(id.borrow().clone(), scope.context().tenant_id().clone());
        let exists = Self::exists(scope, id);
        Box::pin(async move { Ok(exists.await?.then_some(reference)) })
    }

    /// Adds a row to the tenant.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if its key is taken, [`ErrorKind::ReferenceViolation`] if it refers to a row that
    /// is not there, [`ErrorKind::InvalidInput`] if a value breaks a rule of its column.
    fn insert<'s, S>(scope: S, row: &Self) -> ResultFuture<'s, ()>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = with_row::<S, Self>(&scope, |s| &s.insert, row);
        Box::pin(async move { scope.execute(statement?).await.map(|_| ()) })
    }

    /// Adds rows to the tenant: all of them, or none. Many go in one statement. Of none, nothing is done.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    fn insert_many<'s, S>(scope: S, rows: &[Self]) -> ResultFuture<'s, u64>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statements = with_rows::<S, Self>(&scope, rows);
        Box::pin(async move {
            let statements = statements?;
            if statements.is_empty() {
                return Ok(0);
            }
            scope.execute_all(statements).await
        })
    }

    /// Adds a row to the tenant, or writes every column of the tenant's row with its id.
    ///
    /// The table needs a unique index on its tenant column and its id, such as the primary key `(tenant_id, id)`.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if another unique key is taken, or the id where ids are unique among all tenants: then
    /// nothing is changed, and the error does not say whose row it was. [`ErrorKind::Misconfigured`] if the table
    /// has no such index. Otherwise as [`insert`](Self::insert).
    fn upsert<'s, S>(scope: S, row: &Self) -> ResultFuture<'s, ()>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = with_row::<S, Self>(&scope, |s| &s.upsert, row);
        Box::pin(async move {
            match scope.execute(statement?).await? {
                0 => Err(Error::new(ErrorKind::Conflict, "a row with this key exists; choose another key")),
                _ => Ok(()),
            }
        })
    }

    /// Writes every column of a row. If the tenant has no row with its id, nothing is written: see [`Updated`].
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    fn update<'s, S>(scope: S, row: &Self) -> ResultFuture<'s, Updated>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = with_row::<S, Self>(&scope, |s| &s.update, row);
        Box::pin(async move { scope.execute(statement?).await.map(Updated::new) })
    }

    /// Removes a row, or marks it if the struct says [`SoftDelete`]. If the tenant has no row with this id, nothing is
    /// deleted: see [`Deleted`].
    ///
    /// # Errors
    /// [`ErrorKind::ReferenceViolation`] if other rows still refer to it.
    fn delete<'s, S>(scope: S, id: impl Borrow<Self::Id> + Send) -> ResultFuture<'s, Deleted>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = with_id::<S, Self>(&scope, |s| &s.delete, id.borrow()).and_then(|mut statement| {
            if let Some((_, mark)) = mark::<Self>(table::<S, Self>(), Some(SystemTime::now()))? {
                S::Database::bind_value(mark.as_ref(), &mut statement.binds)?;
            }
            Ok(statement)
        });
        let tenant = scope.context().tenant_id().clone();
        Box::pin(async move { Ok(Deleted::new(scope.execute(statement?).await?, tenant)) })
    }

    /// Brings back a row that is marked as deleted. If the tenant has no such row, nothing changes: see [`Updated`].
    ///
    /// # Errors
    /// As [`update`](Self::update).
    fn restore<'s, S>(scope: S, id: impl Borrow<Self::Id> + Send) -> ResultFuture<'s, Updated>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
        Self: SoftDelete,
    {
        by_id::<Self>(id.borrow()).restore(scope)
    }

    /// Removes a row for good, whether it is marked as deleted or not. If the tenant has no such row, nothing is
    /// deleted: see [`Deleted`].
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    fn purge<'s, S>(scope: S, id: impl Borrow<Self::Id> + Send) -> ResultFuture<'s, Deleted>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
        Self: SoftDelete,
    {
        by_id::<Self>(id.borrow()).purge(scope)
    }

    /// What the field of a [`SoftDelete`] holds for a row that is deleted, or is not.
    #[doc(hidden)]
    fn mark(at: Option<SystemTime>) -> Option<Arc<dyn Any + Send + Sync>> {
        let _ = at;
        None
    }
}

/// How a row's values go to one database. `#[derive(TenantScoped)]` writes it for every database whose sqlx
/// driver knows the types of all the fields.
pub trait BindRow<DB: Backend>: TenantScoped + for<'r> FromRow<'r, DB::Row> {
    /// Binds an id.
    ///
    /// # Errors
    /// If it does not encode.
    fn bind_id(id: &Self::Id, binds: &mut BindArguments<DB>) -> Result<()>;

    /// Binds the other columns, in the order of [`TenantScoped::statements`].
    ///
    /// # Errors
    /// If one does not encode.
    fn bind_columns(&self, binds: &mut BindArguments<DB>) -> Result<()>;

    /// Binds a value that has the type of one of the fields; `false` if none has, as here, where no type is known.
    /// Filters need it.
    ///
    /// # Errors
    /// If it does not encode.
    fn bind_value(value: &dyn Any, binds: &mut BindArguments<DB>) -> Result<bool> {
        let _ = (value, binds);
        Ok(false)
    }
}

/// A database that can keep rows of type `T`: holds for every `T` that is an [`BindRow`] of it.
///
/// Code that is generic over the database asks for `DB: SupportsRow<Order> + SupportsRow<Project>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot keep rows of type `{T}`",
    label = "a field of `{T}` has no type in this database, or `{T}` is not an `sqlx::FromRow`",
    note = "each field needs `sqlx::Type`, `sqlx::Encode` and `sqlx::Decode` for `{Self}`, and the struct `#[derive(sqlx::FromRow)]`"
)]
pub trait SupportsRow<T: TenantScoped>: Backend {
    #[doc(hidden)]
    fn bind_id(id: &T::Id, binds: &mut BindArguments<Self>) -> Result<()>;

    #[doc(hidden)]
    fn bind_columns(row: &T, binds: &mut BindArguments<Self>) -> Result<()>;

    #[doc(hidden)]
    fn bind_value(value: &dyn Any, binds: &mut BindArguments<Self>) -> Result<()>;

    #[doc(hidden)]
    fn read(row: &Self::Row) -> sqlx::Result<T>;
}

#[diagnostic::do_not_recommend]
impl<DB: Backend, T: BindRow<DB>> SupportsRow<T> for DB {
    fn bind_id(id: &T::Id, binds: &mut BindArguments<Self>) -> Result<()> {
        T::bind_id(id, binds)
    }

    fn bind_columns(row: &T, binds: &mut BindArguments<Self>) -> Result<()> {
        row.bind_columns(binds)
    }

    fn bind_value(value: &dyn Any, binds: &mut BindArguments<Self>) -> Result<()> {
        if T::bind_value(value, binds)? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "no field of a row of `{}` is known to have this type; write `BindRow::bind_value`",
                T::TABLE
            ),
        ))
    }

    fn read(row: &Self::Row) -> sqlx::Result<T> {
        T::from_row(row)
    }
}

/// Which rows of a list: so many, from the start or after a place. That is an id in
/// [`list`](TenantScoped::list), and a [`Cursor`](super::Cursor) in [`Select::page`].
#[derive(Debug, Clone)]
pub struct PageRequest<After> {
    pub(super) after: Option<After>,
    pub(super) limit: u16,
}

impl<After> PageRequest<After> {
    /// The first `limit` rows.
    pub fn first(limit: u16) -> Self {
        Self { after: None, limit }
    }

    /// The `limit` rows after this place; its row need not exist any more.
    pub fn after(place: After, limit: u16) -> Self {
        Self { after: Some(place), limit }
    }
}

/// A page of rows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Page<T: TenantScoped, After = <T as TenantScoped>::Id> {
    /// The rows, in order.
    pub items: Vec<T>,
    /// Where the next page starts: give it to [`PageRequest::after`]. `None` on the last page.
    pub next: Option<After>,
}

type Pick = fn(&'static Statements) -> &'static str;

fn statement<S: TenantExecutor, T: TenantScoped>(scope: &S, pick: Pick) -> Result<Statement<S::Database>> {
    Statement::new(scope, pick(T::statements(S::Database::DIALECT)))
}

fn with_id<S: TenantExecutor, T: TenantScoped>(
    scope: &S,
    pick: Pick,
    id: &T::Id,
) -> Result<Statement<S::Database>>
where
    S::Database: SupportsRow<T>,
{
    let mut statement = statement::<S, T>(scope, pick)?;
    S::Database::bind_id(id, &mut statement.binds)?;
    Ok(statement)
}

fn with_row<S: TenantExecutor, T: TenantScoped>(
    scope: &S,
    pick: Pick,
    row: &T,
) -> Result<Statement<S::Database>>
where
    S::Database: SupportsRow<T>,
{
    let mut statement = with_id::<S, T>(scope, pick, row.id())?;
    S::Database::bind_columns(row, &mut statement.binds)?;
    Ok(statement)
}

fn with_rows<S: TenantExecutor, T: TenantScoped>(scope: &S, rows: &[T]) -> Result<Vec<Statement<S::Database>>>
where
    S::Database: SupportsRow<T>,
{
    let table = table::<S, T>();
    let statement = |rows: &[T]| {
        let sql = AssertSqlSafe(table.insert(rows.len())).into_sql_str();
        let mut statement = Statement::new(scope, sql)?;
        for row in rows {
            S::Database::bind_id(row.id(), &mut statement.binds)?;
            S::Database::bind_columns(row, &mut statement.binds)?;
        }
        Ok(statement)
    };
    rows.chunks(table.rows_of_an_insert()).map(statement).collect()
}

fn page_statement<S: TenantExecutor, T: TenantScoped>(
    scope: &S,
    page: &PageRequest<T::Id>,
) -> Result<Statement<S::Database>>
where
    S::Database: SupportsRow<T>,
{
    limited(page.limit)?;
    let mut statement = match &page.after {
        Some(after) => with_id::<S, T>(scope, |s| &s.next_page, after)?,
        None => statement::<S, T>(scope, |s| &s.first_page)?,
    };
    // One more than asked, to know whether there is a next page.
    statement.binds.push_value(super::Value::Int(i64::from(page.limit) + 1))?;
    Ok(statement)
}

/// The one number of an answer.
pub(super) fn number<DB: Backend>(rows: &[DB::Row]) -> Result<u64> {
    let number = rows.first().map_or(Ok(0), |row| DB::int(row, 0)).map_err(|e| database_error(&e))?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// The rows of a statement, read as this tenant's.
pub(super) async fn rows<S: TenantExecutor, T: TenantScoped>(
    scope: S,
    statement: Statement<S::Database>,
) -> Result<Vec<T>>
where
    S::Database: SupportsRow<T>,
{
    let tenant = scope.context().tenant_id().clone();
    let rows = scope.fetch(statement).await?;
    let read = || rows.iter().map(|row| S::Database::read(row)).collect::<sqlx::Result<_>>();
    reading(&tenant, read).map_err(|e| {
        Error::new(
            ErrorKind::Database,
            format!("a row of `{}` does not read as its struct; compare their columns and types", T::TABLE),
        )
        .with_source(e.to_string())
    })
}
