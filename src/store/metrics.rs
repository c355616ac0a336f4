use metrics::counter;

/// Counts a lookup that found the tenant in the cache.
pub(super) fn hit() {
    counter!("tenancy_cache_lookups_total", "cache" => "tenants", "outcome" => "hit").increment(1);
}

/// Counts a lookup for which the store was asked.
pub(super) fn miss() {
    counter!("tenancy_cache_lookups_total", "cache" => "tenants", "outcome" => "miss").increment(1);
}

/// Counts a lookup of a name that the cache knows not to exist.
pub(super) fn absent() {
    counter!("tenancy_cache_lookups_total", "cache" => "tenants", "outcome" => "absent").increment(1);
}
