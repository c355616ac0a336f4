//! The metrics of [`CachedStore`](super::CachedStore) and of its listener. Without the feature `metrics`, `no_metrics.rs` replaces this
//! file.

use metrics::{counter, gauge};

/// Counts a lookup that found the tenant in the cache.
pub(super) fn hit() {
    counter!("tenancy_cache_lookups_total", "cache" => "tenants", "outcome" => "hit").increment(1);
}

/// Counts a lookup that queried the store, or waited for a query in progress.
pub(super) fn miss() {
    counter!("tenancy_cache_lookups_total", "cache" => "tenants", "outcome" => "miss").increment(1);
}

/// Counts a lookup of an id or slug that the cache holds as non-existent.
pub(super) fn absent() {
    counter!("tenancy_cache_lookups_total", "cache" => "tenants", "outcome" => "absent").increment(1);
}

/// Counts a change that was not published to the other processes.
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "PostgreSQL publishes in the transaction"))]
pub(super) fn unpublished() {
    counter!("tenancy_cache_unpublished_total").increment(1);
}

/// Counts a change by a process, as the listener was notified of it.
#[cfg_attr(not(any(feature = "postgres", feature = "redis")), expect(dead_code, reason = "no listener"))]
pub(super) fn invalidation(kind: &'static str) {
    counter!("tenancy_cache_invalidations_total", "kind" => kind).increment(1);
}

/// Says whether the listener is connected.
#[cfg_attr(not(any(feature = "postgres", feature = "redis")), expect(dead_code, reason = "no listener"))]
pub(super) fn connected(connected: bool) {
    gauge!("tenancy_cache_listener_connected").set(if connected { 1.0 } else { 0.0 });
}

/// Counts an outage of the listener.
#[cfg_attr(not(any(feature = "postgres", feature = "redis")), expect(dead_code, reason = "no listener"))]
pub(super) fn outage() {
    counter!("tenancy_cache_listener_outages_total").increment(1);
}
