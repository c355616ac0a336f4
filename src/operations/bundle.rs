//! The format of a bundle: its files, and [`Manifest`].
//!
//! A bundle is a tar archive: `bundle.json` ([`Head`]), one file of rows for each table, and `manifest.json`
//! ([`Manifest`]) as the last. An archive without its manifest was cut off.

use serde::{Deserialize, Serialize};

use super::table::DataTable;
use crate::error::{Error, ErrorKind, Result};

/// The version of the format.
pub(super) const FORMAT: u32 = 1;
pub(super) const HEAD: &str = "bundle.json";
pub(super) const MANIFEST: &str = "manifest.json";
/// The longest line that is read: one row.
pub(super) const MAX_ROW: u64 = 256 << 20;
/// The longest line that is written. It leaves room for other rows of its batch, which PostgreSQL limits to 256 MiB.
pub(super) const MAX_WRITTEN: usize = 240 << 20;

/// What stands before the rows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) format: u32,
    /// The kind of database, which decides what the texts of values look like.
    pub(super) database: String,
    pub(super) tenant: String,
    pub(super) slug: String,
    pub(super) name: String,
    pub(super) plan: String,
    /// The migrations of the application that the place has, in ascending order.
    pub(super) migrations: Vec<i64>,
    pub(super) tables: Vec<TableHead>,
}

/// A table of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableHead {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) columns: Vec<String>,
    pub(super) types: Vec<String>,
    /// The highest value of a primary key that is one whole number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) highest: Option<i64>,
}

impl TableHead {
    pub(super) fn new(position: usize, table: &DataTable) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let name: String = table.name.chars().map(plain).take(63).collect();
        Self {
            name: table.name.clone(),
            file: format!("rows/{:04}-{name}.jsonl", position + 1),
            columns: table.columns.iter().map(|column| column.name.clone()).collect(),
            types: table.columns.iter().map(|column| column.r#type.clone()).collect(),
            highest: None,
        }
    }
}

/// What a bundle contains: the rows of each table, with their hash.
///
/// ```
/// use tenancy::operations::Manifest;
///
/// fn rows(manifest: &Manifest) -> u64 {
///     manifest.tables.iter().map(|table| table.rows).sum()
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of the last migration of the application; `None` if there is none.
    pub schema_version: Option<i64>,
    /// The tables, each after the tables that it refers to.
    pub tables: Vec<TableManifest>,
}

/// The rows of a table in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TableManifest {
    /// The name of the table.
    pub name: String,
    /// The number of rows.
    pub rows: u64,
    /// The SHA-256 of its file, in hexadecimal digits. Two bundles with the same rows have the same hash.
    pub sha256: String,
}

/// A bundle that cannot be read.
pub(super) fn malformed(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("this is no complete bundle of a tenant: {}", text.into()))
}

/// Parses a JSON file of a bundle.
pub(super) fn json<'a, T: Deserialize<'a>>(file: &str, text: &'a [u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|e| malformed(format!("`{file}` cannot be read ({e})")))
}
