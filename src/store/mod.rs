//! Implementations of the crate's storage traits: [`MemoryStore`], with the feature `cache` [`CachedStore`], and with
//! `sqlite` or `postgres` [`SqlStore`]. `RedisMeter` (features `quota` and `redis`) counts quotas, and `RedisRates`
//! (features `rates` and `redis`) rates.
//!
//! With `cache` and one of `postgres` and `redis`, an `InvalidationListener` notifies the caches of changes by other
//! processes.

#[cfg(feature = "cache")]
mod cached;
mod errors;
#[cfg(any(feature = "cache", feature = "sqlite", feature = "postgres"))]
mod invalidation;
#[cfg(all(feature = "cache", any(feature = "postgres", feature = "redis")))]
mod listener;
mod memory;
#[cfg(all(feature = "cache", feature = "metrics"))]
mod metrics;
#[cfg(all(feature = "cache", not(feature = "metrics")))]
#[path = "no_metrics.rs"]
mod metrics;
#[cfg(all(feature = "cache", feature = "redis"))]
mod publisher;
#[cfg(all(feature = "cache", not(feature = "redis")))]
#[path = "no_publisher.rs"]
mod publisher;
#[cfg(all(feature = "quota", feature = "redis"))]
mod redis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
mod timing;

#[cfg(feature = "cache")]
pub use self::cached::{CacheOptions, CachedMembership, CachedStore};
#[cfg(any(feature = "cache", feature = "sqlite", feature = "postgres"))]
pub use self::invalidation::Invalidation;
#[cfg(all(feature = "cache", any(feature = "postgres", feature = "redis")))]
pub use self::listener::{InvalidationListener, ListenerStatus, ListenerTask};
pub use self::memory::MemoryStore;
#[cfg(all(feature = "cache", feature = "redis"))]
pub use self::publisher::RedisInvalidation;
#[cfg(all(feature = "quota", feature = "redis"))]
pub use self::redis::RedisMeter;
#[cfg(all(feature = "rates", feature = "redis"))]
pub use self::redis::RedisRates;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::sql::SqlStore;
#[cfg(all(feature = "operations", any(feature = "sqlite", feature = "postgres")))]
pub(crate) use self::sql::{MoveRecord, went_on};
