use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;
use tenancy_sql::{SortKey, Table};

use super::entity::TenantScoped;
use super::filter::{Column, Erased};
use crate::error::{Error, ErrorKind, Result};

/// A type that pages can be sorted by: its values go into a [`Cursor`] and come back.
///
/// Holds for every type that serde writes and reads.
#[diagnostic::on_unimplemented(
    message = "rows cannot be sorted by a column of type `{Self}`",
    label = "its values cannot be written into a cursor",
    note = "the type needs serde's `Serialize` and `Deserialize`; crates such as `chrono`, `time` and `uuid` have them behind a feature `serde`"
)]
pub trait Sortable: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<V: Serialize + DeserializeOwned> Sortable for V {}

impl<T: 'static, F: Send + Sync + 'static, V: 'static> Column<T, F, V> {
    /// The smallest first, rows without a value last.
    pub fn asc(self) -> Sort<T>
    where
        V: Sortable,
    {
        self.sorted(false)
    }

    /// The largest first, rows without a value before them.
    pub fn desc(self) -> Sort<T>
    where
        V: Sortable,
    {
        self.sorted(true)
    }

    fn sorted(self, descending: bool) -> Sort<T>
    where
        V: Sortable,
    {
        let key = SortKey { column: self.index, descending, nullable: self.nullable };
        Sort { key, column: Arc::new(self) }
    }
}

/// By which column rows are sorted, and which way: `Order::TOTAL.desc()`.
#[must_use = "give it to `select().order_by(..)`"]
pub struct Sort<T> {
    pub(super) key: SortKey,
    column: Arc<dyn Sorted<T>>,
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

/// The id, as a column of any row.
pub(super) fn row_id<T: TenantScoped>() -> Column<T, T::Id> {
    Column::new(0, false, std::convert::identity, |row| Some(row.id()))
}

/// A column whose values go into a cursor.
trait Sorted<T>: Send + Sync {
    fn write(&self, row: &T) -> Result<Json>;
    fn read(&self, json: &Json) -> Option<Erased>;
}

impl<T, F: Send + Sync + 'static, V: Sortable> Sorted<T> for Column<T, F, V> {
    fn write(&self, row: &T) -> Result<Json> {
        let Some(value) = (self.read)(row) else { return Ok(Json::Null) };
        match serde_json::to_value(value) {
            Ok(json) if !json.is_null() => Ok(json),
            written => {
                let error = Error::new(
                    ErrorKind::Misconfigured,
                    "a value of a sorted column cannot be written into a cursor; sort by another column",
                );
                Err(match written {
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

/// Where a page ends: give it to [`PageRequest::after`](super::PageRequest::after) for the next one.
///
/// As text it fits a URL as it is. It holds the values by which the last row was sorted, and nothing of the tenant:
/// with another tenant's cursor one still sees one's own rows.
///
/// # Security
/// It is neither secret nor signed. Who is handed a cursor can read those values, so do not sort by what they must
/// not see.
#[derive(Clone, PartialEq)]
pub struct Cursor {
    order: String,
    keys: Vec<Json>,
}

impl Cursor {
    pub(super) fn of_row<T>(table: &Table, sorts: &[Sort<T>], row: &T) -> Result<Self> {
        let keys = sorts.iter().map(|sort| sort.column.write(row)).collect::<Result<_>>()?;
        Ok(Self { order: order(table, sorts), keys })
    }

    /// The value of each key, or `None` for NULL.
    pub(super) fn values<T>(&self, table: &Table, sorts: &[Sort<T>]) -> Result<Vec<Option<Erased>>> {
        if self.order != order(table, sorts) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "this cursor is of another list, or of another order; start again at the first page",
            ));
        }
        let value = |(sort, json): (&Sort<T>, &Json)| match (json, sort.key.nullable) {
            (Json::Null, true) => Some(None),
            (Json::Null, false) => None,
            (json, _) => sort.column.read(json).map(Some),
        };
        let values: Option<Vec<_>> = sorts.iter().zip(&self.keys).map(value).collect();
        values
            .filter(|values| values.len() == self.keys.len() && values.len() == sorts.len())
            .ok_or_else(broken)
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::InvalidInput, "this cursor does not read; start again at the first page")
}

/// FNV-1a of the table and its keys: tells orders apart by mistake, not by intent, and names no column.
fn order<T>(table: &Table, sorts: &[Sort<T>]) -> String {
    let mut text = table.name.to_string();
    for sort in sorts {
        text.push_str(if sort.key.descending { " -" } else { " +" });
        text.push_str(table.columns.split(", ").nth(sort.key.column).unwrap_or_default());
    }
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(&(&self.order, &self.keys)).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| broken())?;
        let (order, keys) = serde_json::from_slice(&json).map_err(|_| broken())?;
        Ok(Self { order, keys })
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values are a tenant's data.
        f.debug_struct("Cursor").field("order", &self.order).finish_non_exhaustive()
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
