//! [`Cursor`]: the end of a page.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;
use tenancy_sql::Table;

use super::filter::Erased;
use super::sort::Sort;
use crate::error::{Error, ErrorKind, Result};

/// The end of a page. Pass it to [`PageRequest::after`](super::page::PageRequest::after) to read the next page.
///
/// Its text form can be used in a URL without escaping. It contains the sort values of the last row, and no tenant. A
/// cursor of another tenant still reads only the rows of the scope's tenant.
///
/// ```
/// use tenancy::scope::select::{Cursor, PageRequest};
///
/// fn page_request(after: Option<&str>) -> tenancy::Result<PageRequest<Cursor>> {
///     Ok(match after {
///         Some(text) => PageRequest::after(text.parse()?, 20),
///         None => PageRequest::first(20),
///     })
/// }
/// ```
///
/// # Security
/// A cursor is neither encrypted nor signed. Its holder can read the sort values, so do not sort by a column that the
/// holder must not see.
#[derive(Clone, PartialEq)]
pub struct Cursor {
    order: String,
    keys: Vec<Json>,
}

impl Cursor {
    pub(super) fn of_row<T>(table: &Table, sorts: &[Sort<T>], row: &T) -> Result<Self> {
        let keys = sorts.iter().map(|sort| sort.column.write(row)).collect::<Result<_>>()?;
        Ok(Self { order: order_hash(table, sorts), keys })
    }

    /// The value of each key, or `None` for NULL.
    pub(super) fn values<T>(&self, table: &Table, sorts: &[Sort<T>]) -> Result<Vec<Option<Erased>>> {
        if self.order != order_hash(table, sorts) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "this cursor belongs to another table or another sort order; start again at the first page",
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
            .ok_or_else(invalid_cursor)
    }
}

fn invalid_cursor() -> Error {
    Error::new(ErrorKind::InvalidInput, "this cursor does not read; start again at the first page")
}

/// A hash (FNV-1a) of the table and its sort keys. It detects a cursor of another sort order, names no column, and
/// does not protect against tampering.
fn order_hash<T>(table: &Table, sorts: &[Sort<T>]) -> String {
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
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid_cursor())?;
        let (order, keys) = serde_json::from_slice(&json).map_err(|_| invalid_cursor())?;
        Ok(Self { order, keys })
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values are tenant data.
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
