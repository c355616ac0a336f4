//! [`Provision`]: creates the places of tenants and connects to them as their owner. `postgres_places.rs` and
//! `sqlite_places.rs` implement it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use sqlx::migrate::Migrate;
use tenancy_sql::Schema;

use crate::error::{Error, ErrorKind, Result};
use crate::scope::Backend;
use crate::tenant::{Placement, PlacementName};

/// How long to wait before the next attempt to lock the shared tables.
pub(super) const NEXT_ATTEMPT: Duration = Duration::from_millis(100);

/// A database in which places of tenants can be created: `sqlx::Postgres` or `sqlx::Sqlite`.
///
/// Sealed: only this crate implements it.
pub trait Provision: Backend<Connection: Migrate> {
    /// Where places are created, and as whom: [`PostgresPlaces`](super::PostgresPlaces) or
    /// [`SqlitePlaces`](super::SqlitePlaces).
    type Places: fmt::Debug + Send + Sync;

    /// Whether the schema, the database or the file of a placement exists, whoever created it.
    #[doc(hidden)]
    fn place_exists(
        places: &Self::Places,
        placement: &Placement,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Creates the schema, the database or the file of a placement, if it does not exist. A database is copied from
    /// the template, if one is named.
    #[doc(hidden)]
    fn create_place(
        places: &Self::Places,
        placement: &Placement,
        template: Option<&PlacementName>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Connects to a place as its owner, and locks it. A worker that is in a place of the same database already keeps
    /// its connection.
    #[doc(hidden)]
    fn enter(
        places: &Self::Places,
        worker: &mut Worker<Self>,
        placement: &Placement,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Sets the connection back to its place, whatever a migration did to it.
    #[doc(hidden)]
    fn back_to_place(
        conn: &mut Self::Connection,
        placement: &Placement,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Unlocks the place in which the worker is.
    #[doc(hidden)]
    fn leave(worker: &mut Worker<Self>) -> impl Future<Output = ()> + Send;

    /// Writes the policies of the place in which the connection is, and grants the application's role what it needs.
    #[doc(hidden)]
    fn protect(
        places: &Self::Places,
        conn: &mut Self::Connection,
        placement: &Placement,
        schema: &Schema,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Grants the role of a place what it lacks on the library's own tables, such as a table of a newer version.
    #[doc(hidden)]
    fn grant_own_tables(
        places: &Self::Places,
        conn: &mut Self::Connection,
        placement: &Placement,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Whether the migrations of the shared tables are run as well.
    #[doc(hidden)]
    fn migrates_shared(places: &Self::Places) -> bool;
}

/// A connection as the owner of places, which goes from one place to the next.
#[expect(missing_debug_implementations, reason = "a connection of sqlx has none either")]
pub struct Worker<DB: Provision> {
    pub(super) conn: Option<DB::Connection>,
    /// The tenant's database to which it is connected; `None` for the database of the shared tables.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "SQLite opens each file anew"))]
    pub(super) database: Option<PlacementName>,
    /// How many schemas the connection was in: PostgreSQL keeps what it knows about each.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "SQLite has no schemas"))]
    pub(super) visits: u32,
    /// The key of the lock that it holds.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "SQLite has lock files"))]
    pub(super) lock: Option<String>,
    /// The lock file that it holds, where the database has no locks by key.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "PostgreSQL has locks by key"))]
    pub(super) lock_file: Option<std::fs::File>,
}

impl<DB: Provision> Worker<DB> {
    pub(super) const fn new() -> Self {
        Self { conn: None, database: None, visits: 0, lock: None, lock_file: None }
    }

    /// The connection, inside of a place.
    pub(super) fn conn(&mut self) -> &mut DB::Connection {
        self.conn.as_mut().expect("the worker has entered a place")
    }
}

/// Another process is changing the place.
pub(super) fn locked() -> Error {
    Error::new(
        ErrorKind::Retryable,
        "another process is provisioning or migrating this tenant; try again later",
    )
}

/// A place with this name exists, and this deployment did not create it.
pub(super) fn taken() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the place of this tenant exists already, and the records of this deployment have no beginning of it: it can belong to \
         another deployment with a tenant of the same id; use another server or owner, or remove the place",
    )
}
