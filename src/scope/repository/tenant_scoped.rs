//! [`TenantScoped`]: the methods of every row of a tenant-owned table.

use std::borrow::Borrow;
use std::time::SystemTime;

use super::affected::{Deleted, Restored, Updated};
use super::foreign_key::ForeignKey;
use super::page::{Page, PageRequest};
use super::row::{ResultFuture, RowCodec, SupportsRow, TenantRow};
use super::select::Select;
use super::soft_delete::{SoftDelete, select_by_id};
use super::statements::{
    mark, page_statement, read_count, rows, statement, table, with_id, with_row, with_rows,
};
use crate::error::{Error, ErrorKind};
use crate::scope::session::TenantExecutor;

/// Finds, lists, inserts, updates and deletes the rows of a tenant-owned table.
///
/// Derive it together with `sqlx::FromRow`. Every method takes `&scope` for a single statement, or `&mut tx` inside a
/// transaction. A row of another tenant is treated like a missing row.
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
/// ```
/// # use tenancy::TenantScoped;
/// # #[derive(TenantScoped, sqlx::FromRow)]
/// # #[tenant(table = "orders")]
/// # struct Order { #[tenant(id)] id: i64, status: String }
/// use tenancy::scope::Tx;
///
/// async fn pay(tx: &mut Tx<'_, sqlx::Sqlite>, id: i64) -> tenancy::Result<()> {
///     let Some(mut order) = Order::find(&mut *tx, id).await? else { return Ok(()) };
///     order.status = "paid".to_owned();
///     Order::update(tx, &order).await?.or_not_found()
/// }
/// ```
///
/// The struct has no field for the tenant column. The scope provides the tenant of an inserted row, and no method
/// changes it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row of a tenant-owned table",
    label = "`TenantScoped` is not implemented",
    note = "write `#[derive(TenantScoped, sqlx::FromRow)]` and `#[tenant(table = \"..\")]` on the struct, and `#[tenant(id)]` on its id"
)]
pub trait TenantScoped: TenantRow {
    /// Starts a query for several rows, which can be filtered, sorted and paged.
    fn select() -> Select<Self> {
        Select::new()
    }

    /// Reads the row with this id, or `None` if the tenant has no such row.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`], or [`ErrorKind::Database`] if the row cannot be decoded.
    fn find<'s, S>(scope: S, id: impl Borrow<Self::Id> + Send) -> ResultFuture<'s, Option<Self>>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = with_id::<S, Self>(&scope, |s| &s.find, id.borrow());
        Box::pin(async move { Ok(rows::<S, Self>(scope, statement?).await?.pop()) })
    }

    /// Reads a page of the tenant's rows, sorted by id.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] unless the page has 1 to 1,000 rows; otherwise as [`find`](Self::find).
    fn list<'s, S>(scope: S, page: PageRequest<Self::Id>) -> ResultFuture<'s, Page<Self>>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = page_statement::<S, Self>(&scope, &page);
        Box::pin(async move {
            let mut items = rows::<S, Self>(scope, statement?).await?;
            let has_next = items.len() > usize::from(page.limit);
            items.truncate(page.limit.into());
            let next = if has_next { items.last().map(|last| last.id().clone()) } else { None };
            Ok(Page { items, next })
        })
    }

    /// Counts the tenant's rows.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    fn count<'s, S>(scope: S) -> ResultFuture<'s, u64>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = statement::<S, Self>(&scope, |s| &s.count);
        Box::pin(async move { read_count::<S::Database>(&scope.fetch(statement?).await?) })
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

    /// Returns a foreign key to the row with this id, for a field of another row; `None` if the tenant has no such
    /// row.
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

    /// Inserts a row.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if its key is taken, [`ErrorKind::ReferenceViolation`] if it refers to a row that does
    /// not exist, [`ErrorKind::InvalidInput`] if a value violates a constraint of its column.
    fn insert<'s, S>(scope: S, row: &Self) -> ResultFuture<'s, ()>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
    {
        let statement = with_row::<S, Self>(&scope, |s| &s.insert, row);
        Box::pin(async move { scope.execute(statement?).await.map(|_| ()) })
    }

    /// Inserts all rows, or none of them, and returns the number of rows. One statement inserts many rows.
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

    /// Inserts a row, or writes every column of the tenant's row with the same id.
    ///
    /// The table needs a unique index on its tenant column and its id, such as the primary key `(tenant_id, id)`.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if another unique key is taken, or if ids are unique across tenants and the id is
    /// taken. Nothing is changed in that case, and the error does not reveal the tenant of the other row.
    /// [`ErrorKind::Misconfigured`] if the table has no such index. Otherwise as [`insert`](Self::insert).
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

    /// Writes every column of a row. If the tenant has no row with its id, nothing is written: check [`Updated`].
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

    /// Deletes a row. If the tenant has no row with this id, nothing is deleted: check [`Deleted`].
    ///
    /// If the struct implements [`SoftDelete`], the row is marked as deleted.
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

    /// Restores a row that is marked as deleted. If the tenant has no such row, nothing changes: check [`Restored`].
    ///
    /// # Errors
    /// As [`update`](Self::update).
    fn restore<'s, S>(scope: S, id: impl Borrow<Self::Id> + Send) -> ResultFuture<'s, Restored>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
        Self: SoftDelete,
    {
        select_by_id::<Self>(id.borrow()).restore(scope)
    }

    /// Removes a row permanently, whether it is marked as deleted or not. If the tenant has no such row, nothing is
    /// deleted: check [`Deleted`].
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    fn purge<'s, S>(scope: S, id: impl Borrow<Self::Id> + Send) -> ResultFuture<'s, Deleted>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<Self>,
        Self: SoftDelete,
    {
        select_by_id::<Self>(id.borrow()).purge(scope)
    }
}

#[diagnostic::do_not_recommend]
impl<T: TenantRow> TenantScoped for T {}
