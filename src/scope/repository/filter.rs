//! [`Filter`]: a condition on rows.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Not;
use std::sync::Arc;

/// A value of a field's type, which [`BindRow::bind_value`](super::row::BindRow::bind_value) binds.
pub(super) type Erased = Arc<dyn Any + Send + Sync>;

/// A condition on rows of type `T`, built from [`Column`](super::column::Column)s with `and`, `or` and `!`.
///
/// A filter is true or false for each row, as in Rust. A comparison with NULL is false, and `!filter` matches exactly
/// the rows that `filter` does not match. Values are always bound as parameters.
///
/// ```
/// use tenancy::TenantScoped;
/// use tenancy::scope::select::Filter;
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
/// let large: Filter<Order> = Order::TOTAL.gt(1000);
/// let large_and_open = large.and(!Order::STATUS.eq("closed"));
/// ```
///
/// # Security
/// The tenant predicate is outside of the filter, and a statement uses one table only. No filter can match rows of
/// another tenant.
#[must_use = "a filter does nothing until it is given to `select().filter(..)`"]
pub struct Filter<T> {
    pub(super) tree: tenancy_sql::Filter,
    pub(super) values: Vec<Erased>,
    of: PhantomData<fn() -> T>,
}

impl<T> Filter<T> {
    pub(super) fn new(tree: tenancy_sql::Filter, values: Vec<Erased>) -> Self {
        Self { tree, values, of: PhantomData }
    }

    /// Both filters are true.
    pub fn and(mut self, other: Self) -> Self {
        self.values.extend(other.values);
        Self::new(self.tree.and(other.tree), self.values)
    }

    /// At least one of the filters is true.
    pub fn or(mut self, other: Self) -> Self {
        self.values.extend(other.values);
        Self::new(self.tree.or(other.tree), self.values)
    }
}

impl<T> Not for Filter<T> {
    type Output = Self;

    fn not(self) -> Self {
        Self::new(!self.tree, self.values)
    }
}

impl<T> Clone for Filter<T> {
    fn clone(&self) -> Self {
        Self::new(self.tree.clone(), self.values.clone())
    }
}

impl<T> fmt::Debug for Filter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values are tenant data.
        f.debug_struct("Filter").field("tree", &self.tree).finish_non_exhaustive()
    }
}
