//! Stores that implement the crate's traits: [`MemoryStore`], and by feature a cache and SQL.

#[cfg(feature = "cache")]
mod cached;
#[cfg(feature = "cache")]
mod cached_members;
#[cfg(feature = "cache")]
mod front;
mod memory;
#[cfg(all(feature = "cache", feature = "metrics"))]
mod metrics;
#[cfg(all(feature = "cache", not(feature = "metrics")))]
#[path = "no_metrics.rs"]
mod metrics;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;

#[cfg(feature = "cache")]
pub use self::cached::{CacheOptions, Cached};
#[cfg(feature = "cache")]
pub use self::cached_members::CachedMembers;
pub use self::memory::MemoryStore;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::sql::SqlStore;

use crate::error::{Error, ErrorKind};

fn taken() -> Error {
    Error::new(ErrorKind::Conflict, "a tenant with this id or slug exists; choose another")
}

fn stale() -> Error {
    Error::new(ErrorKind::StaleVersion, "the tenant was changed meanwhile; read it again and decide again")
}
