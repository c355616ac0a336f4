//! Stores that implement the crate's traits: [`MemoryStore`], and by feature a cache and SQL.

#[cfg(feature = "cache")]
mod cached;
mod memory;
#[cfg(all(feature = "cache", feature = "metrics"))]
mod metrics;
#[cfg(all(feature = "cache", not(feature = "metrics")))]
#[path = "no_metrics.rs"]
mod metrics;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;

#[cfg(feature = "cache")]
pub use self::cached::{CacheOptions, CachedMembership, CachedStore};
pub use self::memory::MemoryStore;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::sql::SqlStore;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, ErrorKind};

/// For how long a store holds what a tenant gave up, and by which clock.
#[derive(Debug, Clone)]
struct Terms {
    clock: Arc<dyn Clock>,
    slug_cooldown: Duration,
    domain_cooldown: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            slug_cooldown: Duration::from_hours(90 * 24),
            domain_cooldown: Duration::from_hours(30 * 24),
        }
    }
}

impl Terms {
    /// How long there is to verify a domain.
    const CLAIM: Duration = Duration::from_hours(7 * 24);

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn taken() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "a tenant with this id or slug exists, or another gave the slug up not long ago; choose another",
    )
}

fn stale() -> Error {
    Error::new(ErrorKind::StaleVersion, "the tenant was changed meanwhile; read it again and decide again")
}

fn domain_taken() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "this domain is another tenant's, or was until not long ago; have it removed there, or wait",
    )
}

fn no_such_domain() -> Error {
    Error::new(ErrorKind::NotFound, "this tenant has no such domain, and no claim to it; claim it first")
}

#[cfg(feature = "api-keys")]
fn key_taken() -> Error {
    Error::new(ErrorKind::Conflict, "an API key with this id exists; issue another")
}

#[cfg(feature = "api-keys")]
fn no_such_key() -> Error {
    Error::new(ErrorKind::NotFound, "this tenant has no such API key")
}
