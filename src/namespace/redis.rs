//! Redis by the names of a tenant, on the crate [redis](https://docs.rs/redis).

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use redis::aio::ConnectionManager;
use redis::{Client, Cmd, ErrorKind as Fault, FromRedisValue, RedisError, ServerErrorKind, cmd};
use uuid::Uuid;

use super::{CacheKey, Channel, LockKey};
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};

/// A Redis that is reached only by names that hold their tenant.
///
/// ```
/// use std::time::Duration;
/// use tenancy::TenantContext;
/// use tenancy::namespace::redis::TenantRedis;
///
/// // Once: TenantRedis::connect(redis::Client::open("redis://127.0.0.1/")?).await?
/// # async fn import(redis: &TenantRedis, ctx: &TenantContext) -> tenancy::Result<()> {
/// let Some(lock) = redis.lock(&ctx.lock_key("import")?, Duration::from_secs(60)).await? else {
///     return Ok(()); // somebody else is at it
/// };
/// redis.set(&ctx.key(("import", "state"))?, b"running", Duration::from_secs(3600)).await?;
/// redis.publish(&ctx.channel("imports")?, b"started").await?;
/// lock.release().await?;
/// # Ok(()) }
/// ```
///
/// It connects again when the connection is lost. What was sent meanwhile fails, and is not sent twice.
#[derive(Clone)]
pub struct TenantRedis {
    client: Client,
    connection: ConnectionManager,
}

impl TenantRedis {
    /// Connects.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if there is no Redis; [`ErrorKind::Database`] if it refuses, such as for a wrong
    /// password.
    pub async fn connect(client: Client) -> Result<Self> {
        let connection = ConnectionManager::new(client.clone()).await.map_err(fault)?;
        Ok(Self { client, connection })
    }

    /// The value, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`]; [`ErrorKind::Database`].
    pub async fn get(&self, key: &CacheKey) -> Result<Option<Vec<u8>>> {
        self.ask(cmd("GET").arg(key.as_str())).await
    }

    /// Keeps a value for a time, in place of one that is there.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::InvalidInput`] for less than a millisecond.
    pub async fn set(&self, key: &CacheKey, value: impl AsRef<[u8]>, ttl: Duration) -> Result<()> {
        self.ask(cmd("SET").arg(key.as_str()).arg(value.as_ref()).arg("PX").arg(millis(ttl)?)).await
    }

    /// Deletes a value; `false` if there is none.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn delete(&self, key: &CacheKey) -> Result<bool> {
        self.ask(cmd("UNLINK").arg(key.as_str())).await
    }

    /// Adds to a number, which starts at 0 and ends this time after it did; answers with the sum.
    ///
    /// It is for what may be lost, such as a rate. What a plan limits is counted by a `Gauge`, in the transaction.
    ///
    /// # Errors
    /// As [`set`](Self::set); [`ErrorKind::Database`] too if the value is no number, or one that is too large.
    pub async fn increment(&self, key: &CacheKey, by: i64, ttl: Duration) -> Result<i64> {
        self.ask(cmd("EVAL").arg(INCREMENT).arg(1).arg(key.as_str()).arg(by).arg(millis(ttl)?)).await
    }

    /// Sends a message to who listens now; answers how many do.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn publish(&self, channel: &Channel, message: impl AsRef<[u8]>) -> Result<u64> {
        self.ask(cmd("PUBLISH").arg(channel.as_str()).arg(message.as_ref())).await
    }

    /// The messages of a channel from now on, over a connection of its own. The stream ends when that is lost.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn subscribe(&self, channel: &Channel) -> Result<BoxStream<'static, Vec<u8>>> {
        let mut listening = self.client.get_async_pubsub().await.map_err(fault)?;
        listening.subscribe(channel.as_str()).await.map_err(fault)?;
        Ok(listening.into_on_message().map(|message| message.get_payload_bytes().to_vec()).boxed())
    }

    /// Takes a lock for at most this time; `None` if somebody has it.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Security
    /// Who takes longer than the time has no lock any more, and does not notice. Where two at once would do harm, take
    /// a lock of the database in the transaction: [`LockKey::advisory`].
    pub async fn lock(&self, key: &LockKey, ttl: Duration) -> Result<Option<Lock>> {
        let token = Uuid::now_v7().to_string();
        let mut set = cmd("SET");
        set.arg(key.as_str()).arg(&token).arg("NX").arg("PX").arg(millis(ttl)?);
        let answer: Option<String> = self.ask(&set).await?;
        Ok(answer.map(|_| Lock { redis: self.clone(), key: key.clone(), token }))
    }

    /// Deletes every value of this tenant under a [`CacheKey`], and nothing of another's; answers how many. Locks that are
    /// held and idempotency keys stay.
    ///
    /// What is written meanwhile may stay. The keys are searched for step by step, so Redis goes on answering others.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::CrossTenantContext`] for a context that belongs to a cross-tenant read.
    pub async fn flush(&self, ctx: &TenantContext) -> Result<u64> {
        // No name holds what is a wildcard to Redis.
        let pattern = format!("{}*", ctx.prefix()?.keys());
        let (mut cursor, mut deleted) = (0_u64, 0);
        loop {
            let step: (u64, Vec<String>) =
                self.ask(cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000)).await?;
            let keys;
            (cursor, keys) = step;
            if !keys.is_empty() {
                deleted += self.ask::<u64>(cmd("UNLINK").arg(keys)).await?;
            }
            if cursor == 0 {
                return Ok(deleted);
            }
        }
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        command.query_async(&mut self.connection.clone()).await.map_err(fault)
    }
}

impl fmt::Debug for TenantRedis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantRedis").finish_non_exhaustive()
    }
}

/// A lock that was taken: see [`TenantRedis::lock`]. One that is dropped ends with its time.
#[derive(Debug)]
#[must_use = "it is held until it is released or its time is over"]
pub struct Lock {
    redis: TenantRedis,
    key: LockKey,
    token: String,
}

impl Lock {
    /// Gives the lock back; `false` if its time was over before. One that somebody else has by now stays theirs.
    ///
    /// # Errors
    /// As [`TenantRedis::get`].
    pub async fn release(self) -> Result<bool> {
        self.redis.ask(cmd("EVAL").arg(RELEASE).arg(1).arg(self.key.as_str()).arg(&self.token)).await
    }
}

const INCREMENT: &str = "\
local sum = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return sum";

const RELEASE: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// A time as Redis counts it.
fn millis(ttl: Duration) -> Result<u64> {
    match u64::try_from(ttl.as_millis()) {
        Ok(millis @ 1..) => Ok(millis),
        _ => Err(Error::new(ErrorKind::InvalidInput, "a time to live is a millisecond or more")),
    }
}

fn fault(error: RedisError) -> Error {
    let passing = matches!(
        error.kind(),
        Fault::Io
            | Fault::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::TryAgain
            )
    );
    if passing {
        Error::new(ErrorKind::StoreUnavailable, "Redis cannot be reached").with_source(error)
    } else {
        Error::new(ErrorKind::Database, "Redis refused the command").with_source(error)
    }
}
