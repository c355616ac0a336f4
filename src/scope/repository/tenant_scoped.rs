//! [`TenantScoped`]: what every row of a tenant-owned table can do.

use std::borrow::Borrow;
use std::time::SystemTime;

use super::affected::{Deleted, Updated};
use super::foreign_key::ForeignKey;
use super::page::{Page, PageRequest};
use super::row::{ResultFuture, RowCodec, SupportsRow, TenantRow};
use super::select::Select;
use super::soft_delete::{SoftDelete, by_id};
use super::statements::{mark, number, page_statement, rows, statement, table, with_id, with_row, with_rows};
use crate::error::{Error, ErrorKind};
use crate::scope::session::TenantExecutor;

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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row of a tenant-owned table",
    label = "`TenantScoped` is not implemented",
    note = "write `#[derive(TenantScoped, sqlx::FromRow)]` and `#[tenant(table = \"..\")]` on the struct, and `#[tenant(id)]` on its id"
)]
pub trait TenantScoped: TenantRow {
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

    /// A foreign key to the row with this id, for a field of another row; `None` if the tenant has none.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    fn foreign_key<'s, S>(
        scope: S,
        id: impl Borrow<Self::Id> + Send,
    ) -> ResultFuture<'s, Option<ForeignKey<Self>>>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let key = ForeignKey::new(id.borrow().clone(), scope.context().tenant_id().clone());
        let exists = Self::exists(scope, id);
        Box::pin(async move { Ok(exists.await?.then_some(key)) })
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
}

#[diagnostic::do_not_recommend]
impl<T: TenantRow> TenantScoped for T {}
