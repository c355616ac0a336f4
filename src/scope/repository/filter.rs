//! [`Filter`]: a condition on the rows of a table.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Not;
use std::sync::Arc;

/// A value of one of a row's fields, which [`BindRow::bind_value`](super::row::BindRow::bind_value) can bind.
pub(super) type Erased = Arc<dyn Any + Send + Sync>;

/// A condition on a row of type `T`, made from its [`Column`](super::column::Column)s with `and`, `or` and `!`.
///
/// It holds of a row or does not, as in Rust: a column without a value is equal to nothing and less than nothing,
/// and `!filter` holds of exactly the rows of which `filter` does not. Values are always bound.
///
/// # Security
/// The tenant is a condition outside of the filter, in a statement of one table: no filter can widen it.
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

    /// Both hold.
    pub fn and(mut self, other: Self) -> Self {
        self.values.extend(other.values);
        Self::new(self.tree.and(other.tree), self.values)
    }

    /// One of them holds, or both.
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
        // The values are a tenant's data.
        f.debug_struct("Filter").field("tree", &self.tree).finish_non_exhaustive()
    }
}
