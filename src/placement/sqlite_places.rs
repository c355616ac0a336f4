//! [`SqlitePlaces`]: SQLite files of tenants.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Sqlite};
use tenancy_sql::Schema;

use super::places::{NEXT_ATTEMPT, Provision, Worker, locked};
use crate::database::{SqliteFiles, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Placement, PlacementName};

/// SQLite files of tenants in one directory.
///
/// ```
/// use tenancy::placement::{SqliteFiles, SqlitePlaces};
///
/// fn places(files: SqliteFiles) -> SqlitePlaces {
///     SqlitePlaces::new(files)
/// }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct SqlitePlaces {
    files: SqliteFiles,
    shared: Option<SqliteConnectOptions>,
}

impl SqlitePlaces {
    /// Creates the files of this directory.
    pub fn new(files: SqliteFiles) -> Self {
        Self { files, shared: None }
    }

    /// Also runs the application's migrations on the shared tables, in this database.
    pub fn shared_tables(self, options: SqliteConnectOptions) -> Self {
        Self { shared: Some(options), ..self }
    }

    /// Connects to a file, without a lock.
    #[cfg(feature = "operations")]
    pub(crate) async fn connect_to(&self, placement: &Placement) -> Result<SqliteConnection> {
        let options = match placement {
            Placement::Shared => self.shared_options()?,
            Placement::Database { name } if self.files.exists(name)? => self.files.connect_options(name),
            Placement::Database { .. } => return Err(missing_file()),
            Placement::Schema { .. } => return Err(no_schemas()),
        };
        options.connect().await.map_err(|e| database_error(&e))
    }

    /// The files of tenants.
    #[cfg(feature = "operations")]
    pub(crate) fn files(&self) -> &SqliteFiles {
        &self.files
    }

    fn shared_options(&self) -> Result<SqliteConnectOptions> {
        self.shared.clone().ok_or_else(|| {
            let text = "name the shared tables: `SqlitePlaces::shared_tables`";
            Error::new(ErrorKind::Misconfigured, text)
        })
    }
}

impl Provision for Sqlite {
    type Places = SqlitePlaces;

    async fn place_exists(places: &SqlitePlaces, placement: &Placement) -> Result<bool> {
        match placement {
            Placement::Database { name } => places.files.exists(name),
            Placement::Shared | Placement::Schema { .. } => Ok(false),
        }
    }

    async fn create_place(
        places: &SqlitePlaces,
        placement: &Placement,
        template: Option<&PlacementName>,
    ) -> Result<()> {
        let name = match placement {
            Placement::Shared => return Ok(()),
            Placement::Database { name } => name,
            Placement::Schema { .. } => return Err(no_schemas()),
        };
        let path = places.files.path(name);
        if places.files.exists(name)? {
            return Ok(()); // An earlier run was interrupted.
        }
        if let Some(template) = template {
            let new = path.with_extension("new");
            copy(places.files.connect_options(template), &new).await?;
            return fs::rename(&new, &path).map_err(|e| unwritable(&e));
        }
        let options = places.files.connect_options(name).create_if_missing(true);
        let conn = options.connect().await.map_err(|e| database_error(&e))?;
        conn.close().await.map_err(|e| database_error(&e))
    }

    async fn enter(places: &SqlitePlaces, worker: &mut Worker<Self>, placement: &Placement) -> Result<()> {
        let options = match placement {
            Placement::Shared => {
                let shared = places.shared_options()?;
                worker.lock_file = lock_shared(shared.get_filename()).await?;
                shared
            }
            Placement::Database { name } => {
                let path = places.files.path(name);
                if !places.files.exists(name)? {
                    return Err(missing_file());
                }
                worker.lock_file = Some(lock(&path.with_extension("lock")).await?);
                places.files.connect_options(name)
            }
            Placement::Schema { .. } => return Err(no_schemas()),
        };
        worker.conn = Some(options.connect().await.map_err(|e| database_error(&e))?);
        Ok(())
    }

    async fn back_to_place(_: &mut SqliteConnection, _: &Placement) -> Result<()> {
        Ok(())
    }

    async fn leave(worker: &mut Worker<Self>) {
        // The last connection to a file writes its log back, so that the file alone is complete.
        if let Some(conn) = worker.conn.take() {
            let _ = conn.close().await;
        }
        worker.lock_file = None;
    }

    async fn protect(_: &SqlitePlaces, _: &mut SqliteConnection, _: &Placement, _: &Schema) -> Result<()> {
        Ok(())
    }

    async fn grant_own_tables(_: &SqlitePlaces, _: &mut SqliteConnection, _: &Placement) -> Result<()> {
        Ok(())
    }

    fn migrates_shared(places: &SqlitePlaces) -> bool {
        places.shared.is_some()
    }
}

/// Copies a file as of one moment, whoever is writing to it. The bytes of the file alone could be an older state, or
/// parts of two.
async fn copy(from: SqliteConnectOptions, to: &Path) -> Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unwritable(&error)),
        _ => {} // An earlier run was interrupted.
    }
    let mut conn = from.connect().await.map_err(|e| database_error(&e))?;
    let to = to.to_string_lossy().into_owned();
    sqlx::query("VACUUM INTO $1").bind(to).execute(&mut conn).await.map_err(|e| database_error(&e))?;
    conn.close().await.map_err(|e| database_error(&e))
}

/// A lock that ends with the process at the latest.
///
/// A process that this one starts has the open files of this one, and so their locks, until it runs its program. So a
/// lock that was released can be held for a moment longer.
pub(super) async fn lock(path: &Path) -> Result<File> {
    for _ in 0..ATTEMPTS {
        if let Some(locked) = try_lock(path)? {
            return Ok(locked);
        }
        sqlx_core::rt::sleep(NEXT_ATTEMPT / ATTEMPTS).await;
    }
    try_lock(path)?.ok_or_else(locked)
}

const ATTEMPTS: u32 = 10;

/// Every process migrates the shared tables at its start: the others wait for the first. A database in memory belongs
/// to one process.
async fn lock_shared(file: &Path) -> Result<Option<File>> {
    let mut path = file.as_os_str().to_owned();
    let name = path.to_string_lossy();
    if name == ":memory:" || name.starts_with("file:") {
        return Ok(None);
    }
    path.push(".lock");
    loop {
        if let Some(locked) = try_lock(Path::new(&path))? {
            return Ok(Some(locked));
        }
        sqlx_core::rt::sleep(NEXT_ATTEMPT).await;
    }
}

fn try_lock(path: &Path) -> Result<Option<File>> {
    let file =
        File::options().create(true).truncate(false).write(true).open(path).map_err(|e| unwritable(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unwritable(&error)),
    }
}

fn unwritable(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::StoreUnavailable, "a file of a tenant cannot be written")
        .with_source(error.to_string())
}

fn missing_file() -> Error {
    Error::new(ErrorKind::PlacementMissing, "the file of this tenant does not exist")
}

fn no_schemas() -> Error {
    Error::new(ErrorKind::UnsupportedPlacement, "SQLite has no schemas; give the tenant a file of its own")
}
