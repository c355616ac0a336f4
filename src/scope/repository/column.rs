//! [`Column`]: a column of a table, from which filters, sort orders and assignments are built.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use tenancy_sql::Comparison;

use super::filter::{Erased, Filter};

/// A column of the table whose rows are `T`.
///
/// `#[derive(TenantScoped)]` adds a constant for each field, such as `Order::STATUS` for the field `status`, with the
/// visibility of the field. `F` is the type of the field. A field of type `Option<V>` is compared with values of type
/// `V`.
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
///     note: Option<String>,
/// }
///
/// let unpaid: Filter<Order> = Order::STATUS.is_in(["open", "late"]).and(Order::NOTE.is_null());
/// ```
///
/// The tenant column has no constant, because only the scope decides the tenant.
pub struct Column<T, F, V = F> {
    pub(super) index: usize,
    pub(super) nullable: bool,
    pub(super) wrap: fn(V) -> F,
    pub(super) read: fn(&T) -> Option<&V>,
}

impl<T, F, V> Column<T, F, V> {
    #[doc(hidden)]
    pub const fn new(index: usize, nullable: bool, wrap: fn(V) -> F, read: fn(&T) -> Option<&V>) -> Self {
        Self { index, nullable, wrap, read }
    }
}

/// Whether a field type is an `Option`, also behind a type alias. The derive macro sees only the name of the type.
/// Sorting by a nullable column as if it were not nullable would lose rows.
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "there is no value of it")]
pub struct FieldType<F>(PhantomData<F>);

impl<V> FieldType<Option<V>> {
    #[doc(hidden)]
    pub const IS_OPTION: bool = true;
}

/// `FieldType::IS_OPTION` for every other type. The inherent constant takes precedence.
#[doc(hidden)]
pub trait NoOption {
    const IS_OPTION: bool = false;
}

impl<F> NoOption for FieldType<F> {}

impl<T, F, V> Clone for Column<T, F, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, F, V> Copy for Column<T, F, V> {}

impl<T, F, V> fmt::Debug for Column<T, F, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Column")
            .field("index", &self.index)
            .field("nullable", &self.nullable)
            .finish_non_exhaustive()
    }
}

impl<T, F: Send + Sync + 'static, V> Column<T, F, V> {
    /// The column equals `value`.
    pub fn eq(self, value: impl Into<V>) -> Filter<T> {
        self.compare(Comparison::Equal, value)
    }

    /// The column has another value, or is NULL.
    pub fn ne(self, value: impl Into<V>) -> Filter<T> {
        !self.eq(value)
    }

    /// The column is less than `value`. Text is compared by the column's collation.
    pub fn lt(self, value: impl Into<V>) -> Filter<T> {
        self.compare(Comparison::Less, value)
    }

    /// The column is less than or equal to `value`.
    pub fn le(self, value: impl Into<V>) -> Filter<T> {
        self.compare(Comparison::LessOrEqual, value)
    }

    /// The column is greater than `value`.
    pub fn gt(self, value: impl Into<V>) -> Filter<T> {
        self.compare(Comparison::Greater, value)
    }

    /// The column is greater than or equal to `value`.
    pub fn ge(self, value: impl Into<V>) -> Filter<T> {
        self.compare(Comparison::GreaterOrEqual, value)
    }

    /// The column is one of `values`. With no values, no row matches.
    pub fn is_in<I: Into<V>>(self, values: impl IntoIterator<Item = I>) -> Filter<T> {
        let mut values: Vec<Erased> = values.into_iter().map(|value| self.erase(value)).collect();
        // Lists are padded to a power of two with their last value. So there are few different statements, which the
        // database can cache.
        if let Some(last) = values.last().cloned()
            && values.len() < 1024
        {
            values.resize(values.len().next_power_of_two(), last);
        }
        Filter::new(tenancy_sql::Filter::is_in(self.index, values.len()), values)
    }

    /// Assigns a new value to the column, for [`Select::update`](super::select::Select::update).
    pub fn set(self, value: impl Into<F>) -> Assignment<T> {
        Assignment { column: self.index, value: Arc::new(value.into()), of: PhantomData }
    }

    fn compare(self, comparison: Comparison, value: impl Into<V>) -> Filter<T> {
        Filter::new(tenancy_sql::Filter::compare(self.index, comparison), vec![self.erase(value)])
    }

    fn erase(self, value: impl Into<V>) -> Erased {
        Arc::new((self.wrap)(value.into()))
    }
}

impl<T, V> Column<T, Option<V>, V> {
    /// The column is NULL.
    pub fn is_null(self) -> Filter<T> {
        Filter::new(tenancy_sql::Filter::is_null(self.index), Vec::new())
    }

    /// The column is not NULL.
    pub fn is_not_null(self) -> Filter<T> {
        !self.is_null()
    }
}

impl<T, F: Send + Sync + 'static> Column<T, F, String> {
    /// The text starts with `text`. The comparison is case-sensitive, and no character is a wildcard.
    pub fn starts_with(self, text: impl Into<String>) -> Filter<T> {
        self.compare(Comparison::StartsWith, text)
    }

    /// The text contains `text`. The comparison is case-sensitive, and no character is a wildcard.
    pub fn contains(self, text: impl Into<String>) -> Filter<T> {
        self.compare(Comparison::Contains, text)
    }
}

/// A new value for a column. [`Column::set`] creates it, and [`Select::update`](super::select::Select::update) takes
/// it.
#[must_use = "give it to `select().update(..)`"]
pub struct Assignment<T> {
    pub(super) column: usize,
    pub(super) value: Erased,
    of: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Assignment<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assignment").field("column", &self.column).finish_non_exhaustive()
    }
}
