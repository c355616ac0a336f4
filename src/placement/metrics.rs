//! The metrics of provisioning and migrations. Without the feature `metrics`, `no_metrics.rs` replaces this file.

use metrics::counter;

/// Counts a step of provisioning that ended.
pub(super) fn step(step: &'static str, result: &'static str) {
    counter!("tenancy_provisioning_steps_total", "step" => step, "result" => result).increment(1);
}

/// Counts a place after a run of migrations tried to migrate it.
pub(super) fn migrated(result: &'static str) {
    counter!("tenancy_migrated_places_total", "result" => result).increment(1);
}
