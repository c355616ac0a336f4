//! [`SoftDelete`]: rows that are marked as deleted before they are removed.

use std::time::SystemTime;

use tenancy_sql::{Deleted, Table};

use super::affected::{Deleted as DeletedRows, Restored};
use super::filter::Filter;
use super::row::{ResultFuture, SupportsRow, TenantRow};
use super::select::Select;
use super::sort::row_id;
use super::statements::{mark, table, unknown_mark};
use crate::scope::session::TenantExecutor;

/// A row that is marked as deleted before it is removed.
///
/// Put `#[tenant(soft_delete)]` on the field for the time of the deletion. Its type is an `Option` of a type that
/// implements `From<SystemTime>`, such as those of `chrono` and `time`. `delete` sets it to the current time of the
/// machine.
///
/// A row that is marked as deleted is not found, listed, counted, updated or overwritten by an upsert, and its id
/// stays taken. [`restore`](crate::TenantScoped::restore) removes the mark, and [`purge`](crate::TenantScoped::purge)
/// removes the row. [`Select::with_deleted`] and [`Select::only_deleted`] read such rows.
///
/// ```
/// use std::time::{SystemTime, UNIX_EPOCH};
/// use tenancy::TenantScoped;
/// use tenancy::scope::Tx;
///
/// #[derive(sqlx::Type)]
/// #[sqlx(transparent)]
/// struct Seconds(i64);
///
/// impl From<SystemTime> for Seconds {
///     fn from(time: SystemTime) -> Self {
///         Self(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed()))
///     }
/// }
///
/// #[derive(TenantScoped, sqlx::FromRow)]
/// #[tenant(table = "orders")]
/// struct Order {
///     #[tenant(id)]
///     id: i64,
///     #[tenant(soft_delete)]
///     deleted_at: Option<Seconds>,
/// }
///
/// async fn purge_old(tx: &mut Tx<'_, sqlx::Sqlite>, before: Seconds) -> tenancy::Result<u64> {
///     let purged = Order::select().only_deleted().filter(Order::DELETED_AT.lt(before)).purge(tx).await?;
///     Ok(purged.rows())
/// }
/// ```
///
/// # Security
/// The mark is a condition in addition to the tenant predicate. Deleted rows are visible only to their own tenant.
#[diagnostic::on_unimplemented(
    message = "rows of type `{Self}` are not marked when they are deleted: they are removed",
    label = "has no field with `#[tenant(soft_delete)]`",
    note = "write `#[tenant(soft_delete)]` on a field such as `deleted_at: Option<DateTime<Utc>>`, and add its column"
)]
pub trait SoftDelete: TenantRow {}

/// The time at which a row was deleted. Every type that implements `From<SystemTime>` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say when a row was deleted",
    label = "is not `From<SystemTime>`",
    note = "use `DateTime<Utc>` of `chrono`, `OffsetDateTime` of `time`, or a type of your own with `impl From<SystemTime>`"
)]
pub trait DeletedAt: Sized {
    /// Converts the time of the deletion.
    fn deleted_at(at: SystemTime) -> Self;
}

#[diagnostic::do_not_recommend]
impl<V: From<SystemTime>> DeletedAt for V {
    fn deleted_at(at: SystemTime) -> Self {
        at.into()
    }
}

impl<T: TenantRow> Select<T> {
    /// Includes rows that are marked as deleted.
    pub fn with_deleted(mut self) -> Self
    where
        T: SoftDelete,
    {
        self.deleted = Deleted::With;
        self
    }

    /// Keeps only rows that are marked as deleted.
    pub fn only_deleted(mut self) -> Self
    where
        T: SoftDelete,
    {
        self.deleted = Deleted::Only;
        self
    }

    /// Removes the mark from those of these rows that are marked as deleted, and returns the number of rows.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn restore<'s, S>(mut self, scope: S) -> ResultFuture<'s, Restored>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
        T: SoftDelete,
    {
        self.deleted = Deleted::Only;
        let statement = mark::<T>(table::<S, T>(), None).and_then(|mark| {
            let (column, value) = mark.ok_or_else(unknown_mark)?;
            self.statement(&scope, |table, rows| table.update(rows, &[column]), &[value])
        });
        let tenant = scope.context().tenant_id().clone();
        Box::pin(async move { Ok(Restored::new(scope.execute(statement?).await?, tenant)) })
    }

    /// Removes all these rows permanently, and returns the number of rows.
    ///
    /// Rows that are marked as deleted are included only after [`with_deleted`](Self::with_deleted) or
    /// [`only_deleted`](Self::only_deleted).
    ///
    /// # Errors
    /// As [`TenantScoped::delete`](crate::TenantScoped::delete).
    pub fn purge<'s, S>(self, scope: S) -> ResultFuture<'s, DeletedRows>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
        T: SoftDelete,
    {
        let statement = self.statement(&scope, Table::delete, &[]);
        let tenant = scope.context().tenant_id().clone();
        Box::pin(async move { Ok(DeletedRows::new(scope.execute(statement?).await?, tenant)) })
    }
}

/// Selects the row with this id, marked as deleted or not.
pub(super) fn select_by_id<T: TenantRow>(id: &T::Id) -> Select<T> {
    let filter: Filter<T> = row_id::<T>().eq(id.clone());
    let mut select = Select::new().filter(filter);
    select.deleted = Deleted::With;
    select
}
