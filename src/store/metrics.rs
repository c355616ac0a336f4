//! The counters of [`CachedStore`](super::CachedStore). Without the feature `metrics`, `no_metrics.rs` replaces this
//! file.

use metrics::counter;

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
