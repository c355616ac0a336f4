//! [`Databases`]: the pools of the tenants' databases, which share one limit of connections.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Pool;
use sqlx::pool::{PoolConnection, PoolOptions};
use tenancy_sql::TenantType;
use tokio::sync::{OnceCell, Semaphore};

use super::driver::Driver;
use super::enforcement::Enforcement;
use super::error::{database_error, to_sqlx_error};
use super::limits::{ConnectionLimits, Permits};
use super::metrics;
use super::pooled::Pooled;
use super::registry::{DatabaseConfig, DatabaseRegistry};
use super::route::Route;
use super::use_count::ConnectionCount;
use super::waiting::Waiting;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::PlacementName;

/// How long to wait for a connection that another task is closing.
const CLOSING: Duration = Duration::from_millis(1);

/// The pools of the tenants' databases. A pool is created when its database is first used, and removed when its last
/// connection was closed.
///
/// The number of connections in use is limited by semaphores, so that whoever waits gets the next free place. The
/// number of open connections is limited when one is opened: if it would be too high, an idle connection of the
/// database that was not used for longest is closed first. There always is one: each open connection is in use by
/// somebody who holds permits, or it is idle.
pub(crate) struct Databases<DB: Driver> {
    registry: Box<dyn DatabaseRegistry<DB>>,
    limits: ConnectionLimits,
    /// How many connections may be open.
    max_open: u32,
    /// The type of the tenant column of the library's own tables.
    own_type: TenantType,
    in_use: Arc<Semaphore>,
    state: Mutex<State<DB>>,
    clock: AtomicU64,
}

struct State<DB: Driver> {
    is_closed: bool,
    pools: HashMap<PlacementName, Arc<TenantDatabase<DB>>>,
    /// Connections that may be opened, but are not counted by their pool yet.
    opening: u32,
}

/// One tenant's database.
pub(crate) struct TenantDatabase<DB: Driver> {
    pool: Pool<DB>,
    in_use: Arc<Semaphore>,
    /// See [`Driver::identity`].
    identity: Option<(u64, u64)>,
    last_used: AtomicU64,
    /// Whether the server checks during a statement that its client is still there; set by the first connection.
    checks_client: OnceCell<bool>,
    pub(crate) enforcement: Enforcement,
    pub(crate) route: Route,
}

impl<DB: Driver> Databases<DB> {
    /// `shared` is the number of connections of the shared pool.
    pub(crate) fn new(
        registry: Box<dyn DatabaseRegistry<DB>>,
        limits: ConnectionLimits,
        shared: u32,
        own_type: TenantType,
    ) -> Result<Self> {
        let max_open = limits.beside(shared)?;
        Ok(Self {
            registry,
            in_use: Arc::new(Semaphore::new(max_open as usize)),
            max_open,
            own_type,
            limits,
            state: Mutex::new(State { is_closed: false, pools: HashMap::new(), opening: 0 }),
            clock: AtomicU64::new(0),
        })
    }

    /// The database with this name. Opens no connection.
    pub(crate) async fn database(&self, name: &PlacementName) -> Result<Arc<TenantDatabase<DB>>> {
        let used = self.clock.fetch_add(1, Ordering::Relaxed);
        let known = self.state().pools.get(name).cloned();
        if let Some(database) = known {
            if DB::identity(database.pool.connect_options().as_ref()) == database.identity {
                database.last_used.store(used, Ordering::Relaxed);
                return Ok(database);
            }
            // The tenant was moved away, and perhaps back. The pool closes when its last user drops it.
            self.state().pools.retain(|_, other| !Arc::ptr_eq(other, &database));
        }
        let Some(config) = self.registry.config(name).await? else {
            return Err(Error::new(
                ErrorKind::PlacementMissing,
                format!("the registry of databases has no database `{name}`, where this tenant's rows are"),
            ));
        };
        let mut state = self.state();
        if state.is_closed {
            return Err(database_error(&sqlx::Error::PoolClosed));
        }
        if !state.pools.contains_key(name) {
            // A pool that nobody uses and that has no connection is only memory.
            state.pools.retain(|_, database| Arc::strong_count(database) > 1 || database.pool.size() > 0);
            state.pools.insert(name.clone(), Arc::new(TenantDatabase::new(config, &self.limits, used)));
        }
        Ok(state.pools[name].clone())
    }

    /// Closes the pools, and waits until the connections in use are returned. No pool is opened afterwards.
    pub(crate) async fn close(&self) {
        let pools: Vec<_> = {
            let mut state = self.state();
            state.is_closed = true;
            state.pools.values().map(|database| database.pool.clone()).collect()
        };
        for pool in pools {
            pool.close().await;
        }
    }

    /// How many connections to all databases there are.
    pub(crate) fn count(&self) -> ConnectionCount {
        let free = u32::try_from(self.in_use.available_permits()).unwrap_or(u32::MAX);
        let open = self.state().pools.values().map(|database| database.size()).sum();
        ConnectionCount { in_use: self.max_open.saturating_sub(free), open, max: self.max_open }
    }

    /// Waits for a connection to `database`.
    pub(crate) async fn acquire(&self, database: &TenantDatabase<DB>) -> sqlx::Result<Pooled<DB>> {
        let waiting = Waiting::for_database(database.in_use.available_permits() == 0);
        // A new connection counts as a wait.
        let mut conn = metrics::waiting(waiting, || false, pin!(self.connection(database))).await?;
        let checked = database
            .checks_client
            .get_or_try_init(async || {
                DB::check_connection_mode(&mut conn, database.route.connection_mode).await?;
                DB::check_database(&mut conn, database.enforcement, self.own_type).await?;
                Ok(DB::checks_client(&mut conn, database.route.connection_mode).await)
            })
            .await;
        checked.map_err(to_sqlx_error)?;
        Ok(conn)
    }

    async fn connection(&self, database: &TenantDatabase<DB>) -> sqlx::Result<Pooled<DB>> {
        let deadline = Instant::now() + self.limits.wait;
        let permits = Permits::acquire(&database.in_use, &self.in_use);
        let permits =
            sqlx_core::rt::timeout(self.limits.wait, permits).await.map_err(|_| self.timed_out(database))?;
        loop {
            if let Some(idle) = database.pool.try_acquire() {
                return Ok(Pooled::of_tenant(idle, permits, DB::DRAINS_FOR));
            }
            match self.make_room() {
                Room::Free(opening) => {
                    // The pool counts the connection from here on, until it is closed.
                    let opened = database.pool.acquire().await;
                    drop(opening);
                    if let Err(sqlx::Error::PoolTimedOut) = opened {
                        metrics::ran_out(Waiting::for_database(false), ErrorKind::StoreUnavailable);
                    }
                    return Ok(Pooled::of_tenant(opened.map_err(missing)?, permits, DB::DRAINS_FOR));
                }
                Room::Close(idle) => {
                    let _ = idle.close().await;
                }
                Room::None if Instant::now() > deadline => return Err(self.timed_out(database)),
                Room::None => sqlx_core::rt::sleep(CLOSING).await,
            }
        }
    }

    fn make_room(&self) -> Room<'_, DB> {
        let mut state = self.state();
        let open: u32 = state.pools.values().map(|database| database.pool.size()).sum();
        if open + state.opening < self.max_open {
            state.opening += 1;
            return Room::Free(Opening(self));
        }
        let mut idle: Vec<_> = state.pools.values().filter(|database| database.pool.num_idle() > 0).collect();
        idle.sort_by_key(|database| database.last_used.load(Ordering::Relaxed));
        match idle.iter().find_map(|database| database.pool.try_acquire()) {
            Some(idle) => Room::Close(idle),
            None => Room::None,
        }
    }

    fn timed_out(&self, database: &TenantDatabase<DB>) -> sqlx::Error {
        let (kind, text) = if database.in_use.available_permits() == 0 {
            let share = self.limits.per_database;
            let text = format!("this tenant's database uses all {share} connections that it may use");
            (ErrorKind::TenantConnectionLimit, text)
        } else {
            let text = format!("all {} connections of the tenants' databases are in use", self.max_open);
            (ErrorKind::ConnectionLimit, text)
        };
        metrics::ran_out(Waiting::for_database(false), kind);
        let waited = self.limits.wait;
        to_sqlx_error(Error::new(kind, format!("{text}, and none became free within {waited:?}")))
    }

    fn state(&self) -> MutexGuard<'_, State<DB>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection cannot be opened. PostgreSQL and SQLite each have a code for a database that does not exist.
fn missing(error: sqlx::Error) -> sqlx::Error {
    match &error {
        sqlx::Error::Database(e) if matches!(e.code().as_deref(), Some("3D000" | "14")) => to_sqlx_error(
            Error::new(ErrorKind::PlacementMissing, "the database of this tenant does not exist")
                .with_source(error),
        ),
        _ => error,
    }
}

/// What has to happen before a connection may be opened.
enum Room<'a, DB: Driver> {
    Free(Opening<'a, DB>),
    /// This idle connection must be closed first.
    Close(PoolConnection<DB>),
    /// Others are closing theirs.
    None,
}

/// A connection that is being opened.
struct Opening<'a, DB: Driver>(&'a Databases<DB>);

impl<DB: Driver> Drop for Opening<'_, DB> {
    fn drop(&mut self) {
        self.0.state().opening -= 1;
    }
}

impl<DB: Driver> TenantDatabase<DB> {
    #[cfg(feature = "postgres")]
    pub(super) fn pool(&self) -> &Pool<DB> {
        &self.pool
    }

    fn new(config: DatabaseConfig<DB>, limits: &ConnectionLimits, used: u64) -> Self {
        let DatabaseConfig { connect, enforcement, connection_mode } = config;
        let options = PoolOptions::new()
            .max_connections(limits.per_database)
            .acquire_timeout(limits.wait)
            .idle_timeout(limits.idle);
        Self {
            identity: DB::identity(&connect),
            pool: DB::pool(options, connect, connection_mode),
            in_use: Arc::new(Semaphore::new(limits.per_database as usize)),
            last_used: AtomicU64::new(used),
            checks_client: OnceCell::new(),
            enforcement,
            route: Route::of(connection_mode),
        }
    }

    pub(super) fn checks_client(&self) -> bool {
        self.checks_client.get().copied().unwrap_or_default()
    }

    pub(crate) fn size(&self) -> u32 {
        self.pool.size()
    }
}
