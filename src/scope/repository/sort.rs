//! [`Sort`]: the column by which rows are sorted, and its direction.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tenancy_sql::SortKey;

use super::column::Column;
use super::filter::Erased;
use super::row::TenantRow;
use crate::error::{Error, ErrorKind, Result};

/// A type by which pages can be sorted: its values can be written to a [`Cursor`](super::cursor::Cursor).
///
/// Every type that implements serde's `Serialize` and `DeserializeOwned` implements it.
#[diagnostic::on_unimplemented(
    message = "rows cannot be sorted by a column of type `{Self}`",
    label = "its values cannot be written into a cursor",
    note = "the type needs serde's `Serialize` and `Deserialize`; crates such as `chrono`, `time` and `uuid` have them behind a feature `serde`"
)]
pub trait Sortable: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<V: Serialize + DeserializeOwned> Sortable for V {}

impl<T: 'static, F: Send + Sync + 'static, V: 'static> Column<T, F, V> {
    /// Sorts the smallest value first, and NULL last.
    pub fn asc(self) -> Sort<T>
    where
        V: Sortable,
    {
        self.sort(false)
    }

    /// Sorts NULL first, and then the largest value.
    pub fn desc(self) -> Sort<T>
    where
        V: Sortable,
    {
        self.sort(true)
    }

    fn sort(self, descending: bool) -> Sort<T>
    where
        V: Sortable,
    {
        let key = SortKey { column: self.index, descending, nullable: self.nullable };
        Sort { key, column: Arc::new(self) }
    }
}

/// A column by which rows are sorted, and the direction, such as `Order::TOTAL.desc()`.
///
/// [`Column::asc`] and [`Column::desc`] create it, and [`Select::order_by`](super::select::Select::order_by) takes
/// it.
#[must_use = "give it to `select().order_by(..)`"]
pub struct Sort<T> {
    pub(super) key: SortKey,
    pub(super) column: Arc<dyn CursorColumn<T>>,
}

impl<T> Clone for Sort<T> {
    fn clone(&self) -> Self {
        Self { key: self.key, column: self.column.clone() }
    }
}

impl<T> fmt::Debug for Sort<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sort").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The id column of any row.
pub(super) fn row_id<T: TenantRow>() -> Column<T, T::Id> {
    Column::new(0, false, std::convert::identity, |row| Some(row.id()))
}

/// A column whose values can be written to a cursor.
pub(super) trait CursorColumn<T>: Send + Sync {
    fn write(&self, row: &T) -> Result<Json>;
    fn read(&self, json: &Json) -> Option<Erased>;
}

impl<T, F: Send + Sync + 'static, V: Sortable> CursorColumn<T> for Column<T, F, V> {
    fn write(&self, row: &T) -> Result<Json> {
        let Some(value) = (self.read)(row) else { return Ok(Json::Null) };
        match serde_json::to_value(value) {
            Ok(json) if !json.is_null() => Ok(json),
            result => {
                let error = Error::new(
                    ErrorKind::Misconfigured,
                    "a value of a sorted column cannot be written into a cursor; sort by another column",
                );
                Err(match result {
                    Err(cause) => error.with_source(cause),
                    Ok(_) => error,
                })
            }
        }
    }

    fn read(&self, json: &Json) -> Option<Erased> {
        V::deserialize(json).ok().map(|value| Arc::new((self.wrap)(value)) as Erased)
    }
}
