//! [`CacheOptions`]: the sizes and times of a [`CachedStore`](super::CachedStore).

use std::time::Duration;

/// The capacities and time-to-live values of a [`CachedStore`](crate::store::CachedStore).
///
/// ```
/// use std::time::Duration;
/// use tenancy::store::CacheOptions;
///
/// let options = CacheOptions::new().capacity(50_000).ttl(Duration::from_secs(30));
/// # drop(options);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct CacheOptions {
    pub(super) capacity: u64,
    pub(super) ttl: Duration,
    pub(super) negative_capacity: u64,
    pub(super) negative_ttl: Duration,
}

impl CacheOptions {
    /// The defaults: 10,000 tenants for 60 seconds, and 10,000 ids and slugs that do not exist for 5 seconds.
    ///
    /// The same limits apply to domains and to API keys, which are counted separately.
    pub fn new() -> Self {
        Self {
            capacity: 10_000,
            ttl: Duration::from_mins(1),
            negative_capacity: 10_000,
            negative_ttl: Duration::from_secs(5),
        }
    }

    /// The largest number of cached tenants.
    pub fn capacity(self, capacity: u64) -> Self {
        Self { capacity, ..self }
    }

    /// How long a tenant is cached: the longest time for which a change by another process stays unseen.
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// The largest number of cached ids and slugs that do not exist.
    pub fn negative_capacity(self, negative_capacity: u64) -> Self {
        Self { negative_capacity, ..self }
    }

    /// How long an id or slug that does not exist is cached: the longest time for which an insert by another process
    /// stays unseen.
    pub fn negative_ttl(self, negative_ttl: Duration) -> Self {
        Self { negative_ttl, ..self }
    }
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self::new()
    }
}
