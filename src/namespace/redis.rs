//! [`TenantRedis`]: Redis with tenant-prefixed names, based on the crate [redis](https://docs.rs/redis).

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use redis::aio::ConnectionManager;
use redis::{Client, Cmd, ErrorKind as RedisErrorKind, FromRedisValue, RedisError, ServerErrorKind, cmd};
use uuid::Uuid;

use super::{CacheKey, Channel, LockKey};
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};

/// A Redis client whose keys, channels and locks all contain their tenant.
///
/// ```
/// use std::time::Duration;
/// use tenancy::TenantContext;
/// use tenancy::namespace::redis::TenantRedis;
///
/// // At start-up: TenantRedis::connect(redis::Client::open("redis://127.0.0.1/")?).await?
/// # async fn import(redis: &TenantRedis, ctx: &TenantContext) -> tenancy::Result<()> {
/// let Some(lock) = redis.lock(&ctx.lock_key("import")?, Duration::from_secs(60)).await? else {
///     return Ok(()); // another worker has the lock
/// };
/// redis.set(&ctx.key(("import", "state"))?, b"running", Duration::from_secs(3600)).await?;
/// redis.publish(&ctx.channel("imports")?, b"started").await?;
/// lock.release().await?;
/// # Ok(()) }
/// ```
///
/// The client reconnects after a lost connection. Commands in the meantime fail and are not repeated.
#[derive(Clone)]
pub struct TenantRedis {
    client: Client,
    connection: ConnectionManager,
}

impl TenantRedis {
    /// Connects to Redis.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if Redis cannot be reached; [`ErrorKind::Database`] if Redis rejects the
    /// connection, such as for a wrong password.
    pub async fn connect(client: Client) -> Result<Self> {
        let connection = ConnectionManager::new(client.clone()).await.map_err(redis_error)?;
        Ok(Self { client, connection })
    }

    /// Reads a value, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if Redis cannot be reached; [`ErrorKind::Database`] if Redis rejects the
    /// command.
    pub async fn get(&self, key: &CacheKey) -> Result<Option<Vec<u8>>> {
        self.run(cmd("GET").arg(key.as_str())).await
    }

    /// Writes a value that expires after `ttl`, and replaces the previous one.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::InvalidInput`] for a `ttl` under one millisecond.
    pub async fn set(&self, key: &CacheKey, value: impl AsRef<[u8]>, ttl: Duration) -> Result<()> {
        self.run(cmd("SET").arg(key.as_str()).arg(value.as_ref()).arg("PX").arg(millis(ttl)?)).await
    }

    /// Deletes a value. Returns `false` if there is none.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn delete(&self, key: &CacheKey) -> Result<bool> {
        self.run(cmd("UNLINK").arg(key.as_str())).await
    }

    /// Adds `by` to a counter and returns the sum. A new counter starts at 0 and expires after `ttl`.
    ///
    /// Use it for counts that may be lost, such as request rates. For the limits of a plan use a `Gauge`, which
    /// counts in the transaction.
    ///
    /// # Errors
    /// As [`set`](Self::set); [`ErrorKind::Database`] also if the value is not an integer, or the sum is too large.
    pub async fn increment(&self, key: &CacheKey, by: i64, ttl: Duration) -> Result<i64> {
        self.run(cmd("EVAL").arg(INCREMENT).arg(1).arg(key.as_str()).arg(by).arg(millis(ttl)?)).await
    }

    /// Publishes a message to the current subscribers of a channel. Returns the number of subscribers.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn publish(&self, channel: &Channel, message: impl AsRef<[u8]>) -> Result<u64> {
        self.run(cmd("PUBLISH").arg(channel.as_str()).arg(message.as_ref())).await
    }

    /// Subscribes to a channel over a new connection. The stream ends when that connection is lost.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn subscribe(&self, channel: &Channel) -> Result<BoxStream<'static, Vec<u8>>> {
        let mut subscriber = self.client.get_async_pubsub().await.map_err(redis_error)?;
        subscriber.subscribe(channel.as_str()).await.map_err(redis_error)?;
        Ok(subscriber.into_on_message().map(|message| message.get_payload_bytes().to_vec()).boxed())
    }

    /// Acquires a lock that expires after `ttl`. Returns `None` if another caller has the lock.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Security
    /// The lock expires without a notice to its holder. If two concurrent holders would do harm, acquire a database
    /// lock in the transaction: [`LockKey::advisory`].
    pub async fn lock(&self, key: &LockKey, ttl: Duration) -> Result<Option<Lock>> {
        let token = Uuid::now_v7().to_string();
        let mut set = cmd("SET");
        set.arg(key.as_str()).arg(&token).arg("NX").arg("PX").arg(millis(ttl)?);
        let reply: Option<String> = self.run(&set).await?;
        Ok(reply.map(|_| Lock { redis: self.clone(), key: key.clone(), token }))
    }

    /// Deletes all values of this tenant under a [`CacheKey`] and returns their number.
    ///
    /// Locks and idempotency keys stay. Values written during the flush may stay as well. The flush uses `SCAN` in
    /// steps, so it does not block other clients.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::CrossTenantContext`] for the context of a cross-tenant read.
    pub async fn flush(&self, ctx: &TenantContext) -> Result<u64> {
        // Names contain no wildcard characters of Redis.
        let pattern = format!("{}*", ctx.prefix()?.keys());
        let (mut cursor, mut deleted) = (0_u64, 0);
        loop {
            let step: (u64, Vec<String>) =
                self.run(cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000)).await?;
            let keys;
            (cursor, keys) = step;
            if !keys.is_empty() {
                deleted += self.run::<u64>(cmd("UNLINK").arg(keys)).await?;
            }
            if cursor == 0 {
                return Ok(deleted);
            }
        }
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        command.query_async(&mut self.connection.clone()).await.map_err(redis_error)
    }
}

impl fmt::Debug for TenantRedis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantRedis").finish_non_exhaustive()
    }
}

/// An acquired lock, from [`TenantRedis::lock`].
///
/// Dropping it does not release the lock, which then expires after its `ttl`.
#[derive(Debug)]
#[must_use = "it stays locked until it is released or its `ttl` ends"]
pub struct Lock {
    redis: TenantRedis,
    key: LockKey,
    token: String,
}

impl Lock {
    /// Releases the lock. Returns `false` if the lock had expired; the lock of another caller stays.
    ///
    /// # Errors
    /// As [`TenantRedis::get`].
    pub async fn release(self) -> Result<bool> {
        self.redis.run(cmd("EVAL").arg(RELEASE).arg(1).arg(self.key.as_str()).arg(&self.token)).await
    }
}

const INCREMENT: &str = "\
local sum = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return sum";

const RELEASE: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// The time to live in milliseconds, as Redis expects it.
fn millis(ttl: Duration) -> Result<u64> {
    match u64::try_from(ttl.as_millis()) {
        Ok(millis @ 1..) => Ok(millis),
        _ => Err(Error::new(ErrorKind::InvalidInput, "a time to live is at least one millisecond")),
    }
}

pub(crate) fn redis_error(error: RedisError) -> Error {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain};
    let is_transient = match error.kind() {
        // `ReadOnly`: a failover made this server a replica.
        RedisErrorKind::Io
        | RedisErrorKind::ClusterConnectionNotFound
        | RedisErrorKind::Server(BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain) => true,
        // It accepts no writes for now: its memory or its disk is full, or its replicas are gone.
        _ => matches!(error.code(), Some("OOM" | "MISCONF" | "NOREPLICAS")),
    };
    if is_transient {
        Error::new(ErrorKind::StoreUnavailable, "Redis cannot be reached").with_source(error)
    } else {
        Error::new(ErrorKind::Database, "Redis rejected the command").with_source(error)
    }
}
