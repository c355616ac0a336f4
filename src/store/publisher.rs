//! [`RedisInvalidation`]: the channel of Redis on which caches are notified; [`Publisher`]: the one of a
//! [`CachedStore`](super::CachedStore). Without the feature `redis`, `no_publisher.rs` replaces this file.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, cmd};
use tokio::sync::OnceCell;

use super::invalidation::Invalidation;
use super::metrics;
use crate::error::{Error, ErrorKind, Result};

/// How long the writer of a change waits for Redis.
const PATIENCE: Duration = Duration::from_secs(1);

/// The channel of Redis on which the processes of one deployment notify each other of changes.
///
/// ```
/// use std::sync::Arc;
/// use tenancy::store::{CacheOptions, CachedStore, InvalidationListener, MemoryStore, RedisInvalidation};
///
/// # fn open() -> redis::RedisResult<()> {
/// let channel = RedisInvalidation::new(redis::Client::open("redis://127.0.0.1/")?, "shop");
/// let cache = Arc::new(CachedStore::new(MemoryStore::new(), CacheOptions::new()).publish_to(channel.clone()));
/// let listener = InvalidationListener::redis(channel).cache(&cache);
/// # Ok(()) }
/// ```
///
/// # Security
/// A message is sent after the commit. If the process ends in between, or Redis is down, the other processes see the
/// change after their time to live. On PostgreSQL prefer its own notifications, which are part of the transaction.
/// Whoever may publish on the channel can make caches query the store more often, and nothing else.
#[derive(Clone)]
pub struct RedisInvalidation {
    client: Client,
    channel: Arc<str>,
    connection: Arc<OnceCell<ConnectionManager>>,
}

impl RedisInvalidation {
    /// The channel of a deployment. Deployments that share a Redis have different names. Does not connect.
    pub fn new(client: Client, deployment: &str) -> Self {
        let channel = format!("tenancy:invalidation:{deployment}").into();
        Self { client, channel, connection: Arc::default() }
    }

    /// Notifies every process of a change, such as [`Invalidation::Members`].
    ///
    /// Changes through a [`CachedStore`](super::CachedStore) are published by it: see
    /// [`publish_to`](super::CachedStore::publish_to).
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if Redis does not answer within a second.
    pub async fn publish(&self, change: &Invalidation) -> Result<()> {
        let sent = async {
            let connection = self.connection.get_or_try_init(|| self.connect()).await?;
            let mut publish = cmd("PUBLISH");
            publish.arg(&*self.channel).arg(change.message());
            publish.query_async::<()>(&mut connection.clone()).await
        };
        match tokio::time::timeout(PATIENCE, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(unsent().with_source(error)),
            Err(_) => Err(unsent()),
        }
    }

    async fn connect(&self) -> redis::RedisResult<ConnectionManager> {
        let config = ConnectionManagerConfig::new().set_max_delay(PATIENCE);
        ConnectionManager::new_with_config(self.client.clone(), config).await
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }
}

fn unsent() -> Error {
    Error::new(
        ErrorKind::StoreUnavailable,
        "Redis cannot be reached, so other processes see this change only after their time to live",
    )
}

impl fmt::Debug for RedisInvalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client can hold a password.
        f.debug_struct("RedisInvalidation").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// Where a cache publishes its changes, if it does.
#[derive(Default)]
pub(super) struct Publisher(Option<RedisInvalidation>);

impl Publisher {
    pub(super) fn new(redis: RedisInvalidation) -> Self {
        Self(Some(redis))
    }

    /// Publishes a change that is committed, and so cannot fail any more.
    pub(super) async fn publish(&self, change: Invalidation) {
        if let Some(redis) = &self.0
            && let Err(error) = redis.publish(&change).await
        {
            metrics::unpublished();
            let cause = error.cause().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(cause, "a change was not published: {error}");
        }
    }
}
