//! [`SqliteFiles`]: a directory in which each tenant has an SQLite file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};

use super::registry::{DatabaseConfig, DatabaseRegistry};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::PlacementName;

/// A directory in which each tenant has an SQLite file, `NAME.db` for the placement `NAME`.
///
/// ```
/// use sqlx::sqlite::SqlitePoolOptions;
/// use tenancy::TenantDb;
/// use tenancy::placement::{ConnectionLimits, SqliteFiles};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let directory = dir.path();
/// let shared = SqlitePoolOptions::new().max_connections(1);
/// let db = TenantDb::sqlite(shared, "sqlite::memory:")
///     .databases(SqliteFiles::new(directory)?, ConnectionLimits::new(257).per_database(2))
///     .build()
///     .await?;
/// # Ok(()) }
/// ```
///
/// # Security
/// A name of a placement has no `/` and no `.`, so a path stays in the directory. A symbolic link is not opened. A file
/// that does not exist is not created: the error is [`ErrorKind::PlacementMissing`]. The rewriter rejects `ATTACH` in
/// SQL of your own, and no other function of this crate attaches a file.
#[derive(Debug, Clone)]
pub struct SqliteFiles {
    directory: PathBuf,
}

impl SqliteFiles {
    /// The files of this directory.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if there is no such directory.
    pub fn new(directory: impl AsRef<Path>) -> Result<Self> {
        match directory.as_ref().canonicalize() {
            Ok(directory) if directory.is_dir() => Ok(Self { directory }),
            _ => Err(Error::new(
                ErrorKind::Misconfigured,
                "the directory of the tenants' SQLite files does not exist; create it, with access for this program only",
            )),
        }
    }

    /// The path of a tenant's file, whether it exists or not.
    pub fn path(&self, name: &PlacementName) -> PathBuf {
        self.directory.join(format!("{name}.db"))
    }

    /// Whether a tenant's file exists.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if there is something else of that name.
    pub(crate) fn exists(&self, name: &PlacementName) -> Result<bool> {
        // `symlink_metadata` does not follow a link, which could lead to the file of another tenant.
        match std::fs::symlink_metadata(self.path(name)) {
            Ok(found) if found.is_file() => Ok(true),
            Ok(_) => Err(Error::new(
                ErrorKind::Misconfigured,
                format!("`{name}.db` in the directory of the tenants' files is not a plain file"),
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::new(
                ErrorKind::StoreUnavailable,
                "the directory of the tenants' files cannot be read",
            )
            .with_source(error)),
        }
    }

    /// Options that open a tenant's file, and do not create it.
    pub fn connect_options(&self, name: &PlacementName) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(self.path(name))
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true)
    }
}

#[async_trait]
impl DatabaseRegistry<Sqlite> for SqliteFiles {
    async fn config(&self, name: &PlacementName) -> Result<Option<DatabaseConfig<Sqlite>>> {
        Ok(self.exists(name)?.then(|| DatabaseConfig::new(self.connect_options(name))))
    }
}
