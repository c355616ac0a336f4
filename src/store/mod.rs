//! Stores that implement the crate's traits: [`MemoryStore`], and by feature a cache and SQL.

#[cfg(feature = "cache")]
mod cached;
mod memory;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;

#[cfg(feature = "cache")]
pub use self::cached::{CacheOptions, Cached};
pub use self::memory::MemoryStore;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::sql::SqlStore;
