//! The metrics of quotas. Without the feature `metrics`, `no_metrics.rs` replaces this file.

use metrics::counter;

/// Counts a decision that was made without the store, because it did not answer.
pub(super) fn fallback(kind: &'static str) {
    counter!("tenancy_quota_fallbacks_total", "kind" => kind).increment(1);
}
