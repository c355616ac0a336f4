//! [`InvalidationListener`]: notifies the caches of this process of changes by others. `postgres.rs` and `redis.rs` connect
//! it.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod source;
mod status;

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinHandle;

use self::source::{Source, closed};
pub use self::status::ListenerStatus;
use super::invalidation::Invalidation;
use super::metrics;
use crate::error::Error;

/// How long to wait before the next attempt to connect: at first, and at most.
const WAIT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Applies the changes by other processes to the caches of this one, within a moment of their commit.
///
/// It has one connection of its own, to PostgreSQL (`LISTEN`) or to Redis (`SUBSCRIBE`). When it connects, and each time
/// that it connects again, everything cached is read again, because messages may have been lost.
///
/// While it is not connected, a change is seen after the time to live of the caches, as without a listener. It says so: by
/// one warning an outage, by [`ListenerStatus::is_connected`], and with the feature `metrics` by
/// `tenancy_cache_listener_connected`. So set a time to live that you accept for an outage.
///
/// ```
/// # #[cfg(feature = "postgres")] {
/// use std::sync::Arc;
/// use sqlx::postgres::{PgConnectOptions, PgPool};
/// use tenancy::store::{CacheOptions, CachedStore, InvalidationListener, ListenerTask, SqlStore};
///
/// type Tenants = Arc<CachedStore<SqlStore<sqlx::Postgres>>>;
///
/// /// `direct` reaches PostgreSQL without a pooler.
/// fn open(pool: PgPool, direct: PgConnectOptions) -> (Tenants, ListenerTask) {
///     let tenants = Arc::new(CachedStore::new(SqlStore::new(pool), CacheOptions::new()));
///     let listener = InvalidationListener::postgres(direct).cache(&tenants);
///     (tenants, listener.spawn()) // keep the task: dropping it ends the listener
/// }
/// # }
/// ```
#[must_use = "a listener does nothing until it runs"]
pub struct InvalidationListener {
    source: Box<dyn Source>,
    caches: Vec<Cache>,
    status: ListenerStatus,
}

type Cache = Box<dyn Fn(&Invalidation) + Send + Sync>;

impl InvalidationListener {
    fn new(source: impl Source + 'static) -> Self {
        Self { source: Box::new(source), caches: Vec::new(), status: ListenerStatus::default() }
    }

    /// Calls a function for each change, such as for a cache of your own. It must not block.
    pub fn on_change(mut self, changed: impl Fn(&Invalidation) + Send + Sync + 'static) -> Self {
        self.caches.push(Box::new(changed));
        self
    }

    /// Whether it is connected, for a health check.
    pub fn status(&self) -> ListenerStatus {
        self.status.clone()
    }

    /// Runs until the future is dropped. It connects again for as long as it runs, and returns no error.
    ///
    /// It needs a runtime of tokio.
    pub async fn run(self) {
        let (mut wait, mut outage) = (WAIT.0, false);
        loop {
            let error = match self.source.subscribe().await {
                Ok(mut messages) => {
                    self.begin(&mut outage);
                    wait = WAIT.0;
                    loop {
                        match messages.next().await {
                            Some(Ok(message)) => self.apply(&Invalidation::parse(&message)),
                            Some(Err(error)) => break error,
                            None => break closed(),
                        }
                    }
                }
                Err(error) => error,
            };
            self.end(&error, &mut outage);
            tokio::time::sleep(wait).await;
            wait = WAIT.1.min(wait * 2);
        }
    }

    /// Runs in a task of tokio, until the returned value is dropped.
    ///
    /// # Panics
    /// Outside of a runtime of tokio.
    pub fn spawn(self) -> ListenerTask {
        ListenerTask { status: self.status(), task: tokio::spawn(self.run()) }
    }

    /// It is connected. Changes from before are unknown.
    fn begin(&self, outage: &mut bool) {
        self.apply(&Invalidation::All);
        self.status.set(true);
        metrics::connected(true);
        if std::mem::take(outage) {
            tracing::info!("the listener for changes by other processes is connected again");
        }
    }

    /// It is not connected.
    fn end(&self, error: &Error, outage: &mut bool) {
        self.status.set(false);
        metrics::connected(false);
        if !std::mem::replace(outage, true) {
            metrics::outage();
            let cause = error.cause().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(
                %error,
                cause,
                "the listener for changes by other processes is not connected: until it is, they are seen only after the \
                 time to live of the caches"
            );
        }
    }

    fn apply(&self, change: &Invalidation) {
        metrics::invalidation(match change {
            Invalidation::Tenant(_) => "tenant",
            Invalidation::Domain(_) => "domain",
            Invalidation::ApiKey(_) => "api_key",
            Invalidation::Members(_) => "members",
            Invalidation::All => "all",
        });
        for cache in &self.caches {
            cache(change);
        }
    }
}

impl Drop for InvalidationListener {
    fn drop(&mut self) {
        if self.status.is_connected() {
            self.status.set(false);
            metrics::connected(false);
        }
    }
}

impl fmt::Debug for InvalidationListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvalidationListener").field("status", &self.status).finish_non_exhaustive()
    }
}

/// A listener that runs. Dropping it ends the listener.
#[derive(Debug)]
#[must_use = "dropping it ends the listener"]
pub struct ListenerTask {
    status: ListenerStatus,
    task: JoinHandle<()>,
}

impl ListenerTask {
    /// Whether it is connected, for a health check.
    pub fn status(&self) -> ListenerStatus {
        self.status.clone()
    }
}

impl Drop for ListenerTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}
