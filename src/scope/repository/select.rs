//! [`Select`]: some of the rows of a tenant.

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
use super::statements::{limited, mark, number, rows, table};
use crate::database::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::scope::session::{Backend, Statement, TenantExecutor};

/// Some of the tenant's rows, in an order: what [`TenantScoped::select`](crate::TenantScoped::select) starts.
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
/// async fn open(scope: &Scope<'_, sqlx::Sqlite>, after: Option<Cursor>) -> tenancy::Result<Page<Order, Cursor>> {
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

    /// Only rows of which this holds as well.
    pub fn filter(mut self, filter: Filter<T>) -> Self {
        self.filter = Some(match self.filter.take() {
            Some(known) => known.and(filter),
            None => filter,
        });
        self
    }

    /// In this order, rows that are equal so far. In the end the id decides.
    pub fn order_by(mut self, sort: Sort<T>) -> Self {
        self.sorts.push(sort);
        self
    }

    /// Every row, if there are no more than `most`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there are more, or for a `most` over 1,000: read them in
    /// [pages](Self::page); otherwise as [`page`](Self::page).
    pub fn all<'s, S>(self, scope: S, most: u16) -> ResultFuture<'s, Vec<T>>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
    {
        let statement =
            limited(most).and_then(|()| self.select(&scope, &self.keys(), &[], i64::from(most) + 1));
        Box::pin(async move {
            let items = rows::<S, T>(scope, statement?).await?;
            if items.len() > usize::from(most) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("more than {most} rows of `{}` were found; read them in pages", T::TABLE),
                ));
            }
            Ok(items)
        })
    }

    /// The first row in the order, or `None`.
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

    /// A page of rows. Whoever follows [`Page::next`] to the end meets each row once, however many are equal.
    ///
    /// An index on the tenant column, the sorted columns and the id lets every page start where the last one ended;
    /// where the first sorted column can be NULL and is ascending, the database walks there from the beginning.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a page of none or of more than 1,000, for a cursor that does not read or is
    /// of another order, and for a filter of more than 500 conditions or more values than the database takes;
    /// otherwise as [`find`](crate::TenantScoped::find).
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
        let statement = limited(limit).and_then(|()| {
            let after = after.map_or_else(|| Ok(Vec::new()), |cursor| cursor.values(table, &sorts))?;
            // One more than asked, to know whether there is a next page.
            self.select(&scope, &keys, &after, i64::from(limit) + 1)
        });
        Box::pin(async move {
            let mut items = rows::<S, T>(scope, statement?).await?;
            let more = items.len() > usize::from(limit);
            items.truncate(limit.into());
            let last = items.last().filter(|_| more);
            let next = last.map(|row| Cursor::of_row(table, &sorts, row)).transpose()?;
            Ok(Page { items, next })
        })
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub fn count<'s, S>(self, scope: S) -> ResultFuture<'s, u64>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
    {
        let statement = self.statement(&scope, Table::count, &[]);
        Box::pin(async move { number::<S::Database>(&scope.fetch(statement?).await?) })
    }

    /// Whether there is a row.
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

    /// Writes columns of all these rows, and says how many there were. The order does not count.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is nothing to set, a column is set twice, or the id is set; otherwise
    /// as [`insert`](crate::TenantScoped::insert).
    pub fn update<'s, S>(
        self,
        scope: S,
        sets: impl IntoIterator<Item = Assignment<T>>,
    ) -> ResultFuture<'s, Updated>
    where
        S: TenantExecutor + 's,
        S::Database: SupportsRow<T>,
    {
        let (columns, values): (Vec<_>, Vec<_>) = sets.into_iter().map(|set| (set.column, set.value)).unzip();
        let statement = settable(&columns)
            .and_then(|()| self.statement(&scope, |table, rows| table.update(rows, &columns), &values));
        Box::pin(async move { scope.execute(statement?).await.map(Updated::new) })
    }

    /// Removes all these rows, or marks them if the struct says [`SoftDelete`](super::soft_delete::SoftDelete), and says how many
    /// there were: without a filter, every row of the tenant. The order does not count.
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

    /// The columns that sort, up to the id, which always decides.
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
        let given: Vec<bool> = after.iter().map(Option::is_some).collect();
        let given = (!given.is_empty()).then_some(given.as_slice());
        let mut statement = self.statement(scope, |table, rows| table.select(rows, keys, given), &[])?;
        for value in after.iter().flatten() {
            S::Database::bind_value(value.as_ref(), &mut statement.binds)?;
        }
        statement.binds.push_value(Value::Int(limit))?;
        Ok(statement)
    }

    /// The statement with the tenant bound, `first` after it, then the filter's values.
    pub(super) fn statement<S: TenantExecutor>(
        &self,
        scope: &S,
        write: impl FnOnce(&Table, Rows<'_>) -> String,
        first: &[Erased],
    ) -> Result<Statement<S::Database>>
    where
        S::Database: SupportsRow<T>,
    {
        let tree = self.filter.as_ref().map(|filter| &filter.tree);
        let values = self.filter.as_ref().map_or(&[][..], |filter| &filter.values);
        let dialect = S::Database::DIALECT;
        // Room for the tenant, a cursor's keys and the limit.
        let most = dialect.most_binds() - first.len() - self.sorts.len() - 3;
        if values.len() > most || tree.is_some_and(Tree::is_too_large) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("a filter has at most {} conditions and {most} values; ask for less", Tree::LARGEST),
            ));
        }
        let sql = write(table::<S, T>(), Rows { filter: tree, deleted: self.deleted });
        let mut statement = Statement::new(&scope.bound_tenant(), AssertSqlSafe(sql).into_sql_str())?;
        for value in first.iter().chain(values) {
            S::Database::bind_value(value.as_ref(), &mut statement.binds)?;
        }
        Ok(statement)
    }
}

fn settable(columns: &[usize]) -> Result<()> {
    let fault = if columns.is_empty() {
        "there is nothing to set; give `update` a column's `set(..)`"
    } else if columns.contains(&0) {
        "the id of a row does not change; insert another row"
    } else if (1..columns.len()).any(|i| columns[..i].contains(&columns[i])) {
        "a column is set twice; set it once"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidInput, fault))
}
