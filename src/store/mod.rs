//! Implementations of the crate's storage traits: [`MemoryStore`], with the feature `cache` [`CachedStore`], and with
//! `sqlite` or `postgres` [`SqlStore`]. `RedisMeter` (features `quota` and `redis`) counts quotas.

#[cfg(feature = "cache")]
mod cached;
mod errors;
mod memory;
#[cfg(all(feature = "cache", feature = "metrics"))]
mod metrics;
#[cfg(all(feature = "cache", not(feature = "metrics")))]
#[path = "no_metrics.rs"]
mod metrics;
#[cfg(all(feature = "quota", feature = "redis"))]
mod redis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
mod timing;

#[cfg(feature = "cache")]
pub use self::cached::{CacheOptions, CachedMembership, CachedStore};
pub use self::memory::MemoryStore;
#[cfg(all(feature = "quota", feature = "redis"))]
pub use self::redis::RedisMeter;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::sql::SqlStore;
