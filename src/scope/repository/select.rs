//! [`Select`]: a query for rows of one table of the tenant.

use std::fmt;
use std::time::SystemTime;

use sqlx::{AssertSqlSafe, SqlSafeStr};
use tenancy_sql::{Deleted, Filter as Tree, Rows, SortKey, Table};

use super::affected::{Deleted as DeletedRows, Updated};
use super::column::Assignment;
use super::cursor::Cursor;
use super::filter::{Erased, Filter};
use super::page::{Page, PageRequest};
use super::row::{ResultFuture, RowCodec, SupportsRow, TenantRow};
use super::sort::{Sort, Sortable, row_id};
use super::statements::{check_page_size, mark, read_count, rows, table};
use crate::database::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::scope::session::{Backend, Statement, TenantExecutor};

/// A query for rows of one table of the tenant.
///
/// [`TenantScoped::select`](crate::TenantScoped::select) starts with all rows of the tenant. Add filters and a sort
/// order, and then fetch, count, update or delete the rows.
///
/// ```
/// use tenancy::TenantScoped;
/// use tenancy::scope::Scope;
/// use tenancy::scope::select::{Cursor, Page, PageRequest};
///
/// #[derive(TenantScoped, sqlx::FromRow)]
/// #[tenant(table = "orders")]
/// struct Order {
///     #[tenant(id)]
///     id: i64,
///     status: String,
///     total: i64,
/// }
///
/// async fn open_orders(
///     scope: &Scope<'_, sqlx::Sqlite>,
///     after: Option<Cursor>,
/// ) -> tenancy::Result<Page<Order, Cursor>> {
///     let page = after.map_or(PageRequest::first(20), |cursor| PageRequest::after(cursor, 20));
///     Order::select().filter(Order::STATUS.eq("open")).order_by(Order::TOTAL.desc()).page(scope, page).await
/// }
/// ```
#[must_use = "it does nothing until it is fetched, counted, updated or deleted"]
pub struct Select<T> {
    filter: Option<Filter<T>>,
    sorts: Vec<Sort<T>>,
    pub(super) deleted: Deleted,
}

impl<T> fmt::Debug for Select<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select")
            .field("filter", &self.filter)
            .field("sorts", &self.sorts)
            .field("deleted", &self.deleted)
            .finish()
    }
}

impl<T> Clone for Select<T> {
    fn clone(&self) -> Self {
        Self { filter: self.filter.clone(), sorts: self.sorts.clone(), deleted: self.deleted }
    }
}

impl<T: TenantRow> Select<T> {
    pub(super) fn new() -> Self {
        Self { filter: None, sorts: Vec::new(), deleted: Deleted::default() }
    }

    /// Keeps only the rows that match `filter`. Several filters are combined with `and`.
    pub fn filter(mut self, filter: Filter<T>) -> Self {
        self.filter = Some(match self.filter.take() {
            Some(known) => known.and(filter),
            None => filter,
        });
        self
    }

    /// Sorts the rows. A further call sorts the rows that are equal so far, and at the end the id decides.
    pub fn order_by(mut self, sort: Sort<T>) -> Self {
        self.sorts.push(sort);
        self
    }

    /// Reads all rows, if there are at most `limit`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there are more rows, or unless `limit` is 1 to 1,000. Read the rows in
    /// [pages](Self::page) instead. Otherwise as [`page`](Self::page).
    pub fn all<'s, S>(self, scope: S, limit: u16) -> ResultFuture<'s, Vec<T>>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
    {
        let statement = check_page_size(limit)
            .and_then(|()| self.select(&scope, &self.keys(), &[], i64::from(limit) + 1))
            .map(|statement| statement.page_of(limit));
        Box::pin(async move {
            let items = rows::<S, T>(scope, statement?).await?;
            if items.len() > usize::from(limit) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("more than {limit} rows of `{}` were found; read them in pages", T::TABLE),
                ));
            }
            Ok(items)
        })
    }

    /// Reads the first row, or `None`.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub fn first<'s, S>(self, scope: S) -> ResultFuture<'s, Option<T>>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
    {
        let statement = self.select(&scope, &self.keys(), &[], 1);
        Box::pin(async move { Ok(rows::<S, T>(scope, statement?).await?.pop()) })
    }

    /// Reads a page of rows. Following [`Page::next`] to the end returns each row once, also if rows have equal sort
    /// values.
    ///
    /// With an index on the tenant column, the sorted columns and the id, the database seeks to the start of each
    /// page. If the first sorted column is nullable and ascending, it scans from the first row instead.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] unless the page has 1 to 1,000 rows, for an invalid cursor or a cursor of another
    /// sort order, and for a filter of more than 500 conditions or more values than the database can bind; otherwise
    /// as [`find`](crate::TenantScoped::find).
    pub fn page<'s, S>(self, scope: S, page: PageRequest<Cursor>) -> ResultFuture<'s, Page<T, Cursor>>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
        T::Id: Sortable,
    {
        let PageRequest { after, limit } = page;
        let table = table::<S, T>();
        let mut sorts = self.sorts.clone();
        if !sorts.iter().any(|sort| sort.key.column == 0) {
            sorts.push(row_id::<T>().asc());
        }
        sorts.truncate(self.keys().len());
        let keys: Vec<SortKey> = sorts.iter().map(|sort| sort.key).collect();
        let statement = check_page_size(limit).and_then(|()| {
            let after = after.map_or_else(|| Ok(Vec::new()), |cursor| cursor.values(table, &sorts))?;
            // One row more than the limit shows whether there is a next page.
            let statement = self.select(&scope, &keys, &after, i64::from(limit) + 1)?;
            Ok(statement.page_of(limit))
        });
        Box::pin(async move {
            let mut items = rows::<S, T>(scope, statement?).await?;
            let has_next = items.len() > usize::from(limit);
            items.truncate(limit.into());
            let last = items.last().filter(|_| has_next);
            let next = last.map(|row| Cursor::of_row(table, &sorts, row)).transpose()?;
            Ok(Page { items, next })
        })
    }

    /// Counts the rows.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub fn count<'s, S>(self, scope: S) -> ResultFuture<'s, u64>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
    {
        let statement = self.statement(&scope, Table::count, &[]);
        Box::pin(async move { read_count::<S::Database>(&scope.fetch(statement?).await?) })
    }

    /// Whether there is at least one row.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub fn exists<'s, S>(self, scope: S) -> ResultFuture<'s, bool>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
    {
        let statement = self.statement(&scope, Table::exists, &[]);
        Box::pin(async move { Ok(!scope.fetch(statement?).await?.is_empty()) })
    }

    /// Writes the assigned columns of all these rows, and returns the number of rows. The sort order has no effect.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no assignment, a column is assigned twice, or the id is assigned;
    /// otherwise as [`insert`](crate::TenantScoped::insert).
    pub fn update<'s, S>(
        self,
        scope: S,
        assignments: impl IntoIterator<Item = Assignment<T>>,
    ) -> ResultFuture<'s, Updated>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
    {
        let (columns, values): (Vec<_>, Vec<_>) =
            assignments.into_iter().map(|assignment| (assignment.column, assignment.value)).unzip();
        let statement = check_assignable(&columns)
            .and_then(|()| self.statement(&scope, |table, rows| table.update(rows, &columns), &values));
        Box::pin(async move { scope.execute(statement?).await.map(Updated::new) })
    }

    /// Deletes all these rows, and returns the number of rows. Without a filter it deletes every row of the tenant.
    ///
    /// If the struct implements [`SoftDelete`](super::soft_delete::SoftDelete), the rows are marked as deleted. The
    /// sort order has no effect.
    ///
    /// # Errors
    /// As [`TenantScoped::delete`](crate::TenantScoped::delete).
    pub fn delete<'s, S>(self, scope: S) -> ResultFuture<'s, DeletedRows>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
    {
        let statement = mark::<T>(table::<S, T>(), Some(SystemTime::now())).and_then(|mark| match mark {
            None => self.statement(&scope, Table::delete, &[]).map(Some),
            Some(_) if self.deleted == Deleted::Only => Ok(None),
            Some((column, value)) => {
                let rows = Self { deleted: Deleted::Without, ..self };
                rows.statement(&scope, |table, rows| table.update(rows, &[column]), &[value]).map(Some)
            }
        });
        let tenant = scope.context().tenant_id().clone();
        Box::pin(async move {
            let rows = match statement? {
                Some(statement) => scope.execute(statement).await?,
                None => 0,
            };
            Ok(DeletedRows::new(rows, tenant))
        })
    }

    /// The sort keys. They end with the id, which is unique.
    fn keys(&self) -> Vec<SortKey> {
        let mut keys: Vec<SortKey> = self.sorts.iter().map(|sort| sort.key).collect();
        let id = keys.iter().position(|key| key.column == 0);
        keys.truncate(id.map_or(keys.len(), |id| id + 1));
        if id.is_none() {
            keys.push(SortKey { column: 0, descending: false, nullable: false });
        }
        keys
    }

    fn select<S: TenantExecutor>(
        &self,
        scope: &S,
        keys: &[SortKey],
        after: &[Option<Erased>],
        limit: i64,
    ) -> Result<Statement<S::Database>>
    where
        S::Database: SupportsRow<T>,
    {
        let non_null: Vec<bool> = after.iter().map(Option::is_some).collect();
        let non_null = (!non_null.is_empty()).then_some(non_null.as_slice());
        let mut statement = self.statement(scope, |table, rows| table.select(rows, keys, non_null), &[])?;
        for value in after.iter().flatten() {
            S::Database::bind_value(value.as_ref(), &mut statement.binds)?;
        }
        statement.binds.push_value(Value::Int(limit))?;
        Ok(statement)
    }

    /// A statement with its values bound: the tenant, then `leading`, then the values of the filter.
    pub(super) fn statement<S: TenantExecutor>(
        &self,
        scope: &S,
        write: impl FnOnce(&Table, Rows<'_>) -> String,
        leading: &[Erased],
    ) -> Result<Statement<S::Database>>
    where
        S::Database: SupportsRow<T>,
    {
        let tree = self.filter.as_ref().map(|filter| &filter.tree);
        let values = self.filter.as_ref().map_or(&[][..], |filter| &filter.values);
        let dialect = S::Database::DIALECT;
        // The tenant, the keys of a cursor and the limit are bound too.
        let max_values = dialect.most_binds() - leading.len() - self.sorts.len() - 3;
        if values.len() > max_values || tree.is_some_and(Tree::is_too_large) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "a filter has at most {} conditions and {max_values} values; ask for less",
                    Tree::LARGEST
                ),
            ));
        }
        let sql = write(table::<S, T>(), Rows { filter: tree, deleted: self.deleted });
        let mut statement = Statement::new(&scope.bound_tenant(), AssertSqlSafe(sql).into_sql_str())?;
        for value in leading.iter().chain(values) {
            S::Database::bind_value(value.as_ref(), &mut statement.binds)?;
        }
        Ok(statement)
    }
}

fn check_assignable(columns: &[usize]) -> Result<()> {
    let fault = if columns.is_empty() {
        "there is nothing to set; pass `update` a column's `set(..)`"
    } else if columns.contains(&0) {
        "the id of a row cannot be changed; insert another row"
    } else if (1..columns.len()).any(|i| columns[..i].contains(&columns[i])) {
        "a column is set twice; set it once"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidInput, fault))
}
