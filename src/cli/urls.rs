//! [`Urls`]: where the shared tables and the list of tenants are.

use std::path::Path;

use super::config::{database, is_postgres};

/// Two databases of the same kind, which can be one database.
pub(crate) struct Urls {
    /// The database of the shared tables.
    pub(crate) url: String,
    /// The database that has the list of tenants.
    pub(crate) control: String,
    /// Whether both are PostgreSQL, and not SQLite.
    pub(crate) is_postgres: bool,
}

impl Urls {
    /// The databases of `--url`, or else `DATABASE_URL`, and of `--control-url`, or else the same one.
    pub(crate) fn new(url: Option<&str>, control: Option<&str>) -> Result<Self, String> {
        let url = database(url.map(ToOwned::to_owned))?;
        let control = control.unwrap_or(&url).to_owned();
        let is_postgres = match (is_postgres(&url)?, is_postgres(&control)?) {
            (of_url, of_control) if of_url == of_control => of_url,
            _ => return Err("`--url` and `--control-url` name different kinds of databases".to_owned()),
        };
        Ok(Self { url, control, is_postgres })
    }
}

/// Refuses `--files`, on PostgreSQL.
pub(crate) fn without_files(files: Option<&Path>) -> Result<(), String> {
    match files {
        Some(_) => {
            Err("`--files` is for SQLite; PostgreSQL keeps tenants in schemas and databases".to_owned())
        }
        None => Ok(()),
    }
}
