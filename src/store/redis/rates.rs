//! [`RedisRates`]: the states of rates in Redis. Each check is one script, which Redis runs alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionLike, ConnectionManager};
use redis::{Client, Script};

use super::connection::SharedConnection;
use super::reply::{malformed, number};
use crate::error::Result;
use crate::namespace::hash_tagged;
use crate::namespace::redis::redis_error;
use crate::quota::bucket::{Bucket, RateCall, RateOutcome, RateStore};
use crate::quota::rates::Rates;

/// Keeps the states of rates in Redis 5 or later, so that all nodes share one limit. For [`Rates::redis`].
///
/// The time is that of Redis, so the clocks of the nodes do not matter. Each state is one key, which expires when the
/// whole burst is free again.
///
/// ```
/// use tenancy::{quota::Rates, store::RedisRates};
///
/// async fn rates(url: &str) -> tenancy::Result<Rates> {
///     let client = redis::Client::open(url).expect("the URL of Redis is valid");
///     Ok(Rates::redis(RedisRates::connect(client).await?))
/// }
/// ```
#[derive(Clone)]
pub struct RedisRates {
    connection: SharedConnection,
    rate: Script,
}

impl fmt::Debug for RedisRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRates").finish_non_exhaustive()
    }
}

impl RedisRates {
    /// Connects to Redis.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if Redis cannot be reached;
    /// [`Database`](crate::ErrorKind::Database) if Redis rejects the connection, such as for a wrong password.
    pub async fn connect(client: Client) -> Result<Self> {
        Ok(Self::from_connection(ConnectionManager::new(client).await.map_err(redis_error)?))
    }

    /// Uses this connection, such as one to a [cluster](crate::store::RedisMeter#redis-cluster). It has to reconnect by
    /// itself.
    pub fn from_connection(connection: impl ConnectionLike + Clone + Send + Sync + 'static) -> Self {
        let rate = Script::new(&format!("{}\n{}", include_str!("common.lua"), include_str!("rate.lua")));
        Self { connection: SharedConnection::new(connection), rate }
    }
}

impl Rates {
    /// Counts in Redis, so that all nodes share one limit.
    ///
    /// While Redis does not answer, a check waits for the `timeout_ms` of its rule, at most. Then it is allowed, with
    /// the source [`Fallback`](crate::quota::DecisionSource::Fallback), or rejected: the rule's `on_failure` decides.
    pub fn redis(rates: RedisRates) -> Self {
        Self::shared(Arc::new(rates))
    }
}

/// A key has the numbers of its rule, so a changed rule has another state.
fn key(call: &RateCall<'_>) -> String {
    let Bucket { limit, seconds, burst } = call.bucket;
    hash_tagged(call.tenant, &[&"rate", &call.feature, &limit, &seconds, &burst, &call.subject])
}

#[async_trait]
impl RateStore for RedisRates {
    async fn take(&self, call: &RateCall<'_>) -> Result<RateOutcome> {
        let nanos = u64::try_from(call.interval.as_nanos()).map_err(|_| malformed())?;
        let mut script = self.rate.key(key(call));
        script.arg(call.n).arg(call.bucket.burst).arg(nanos);
        let mut connection = self.connection.clone();
        let [kind, value]: [String; 2] = script.invoke_async(&mut connection).await.map_err(redis_error)?;
        match kind.as_str() {
            "allowed" => Ok(RateOutcome::Allowed { remaining: number(&value)?, interval: call.interval }),
            "denied" => Ok(RateOutcome::Denied { wait: Duration::from_micros(number(&value)?) }),
            _ => Err(malformed()),
        }
    }
}
