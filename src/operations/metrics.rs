//! The metrics of operations. Without the feature `metrics`, `no_metrics.rs` replaces this file.

use std::time::Duration;

use metrics::{counter, histogram};

/// Counts an export, an import, a restore, a deletion, a move or its undoing that ended.
pub(super) fn operation(operation: &'static str, result: &'static str) {
    counter!("tenancy_operations_total", "operation" => operation, "result" => result).increment(1);
}

/// Counts a step of a move that ended.
pub(super) fn move_step(step: &'static str, result: &'static str) {
    counter!("tenancy_move_steps_total", "step" => step, "result" => result).increment(1);
}

/// Counts rows that a move has written to its target, or deleted there.
pub(super) fn moved_rows(rows: u64) {
    counter!("tenancy_moved_rows_total").increment(rows);
}

/// Records for how long a move refused its tenant.
pub(super) fn refused_for(time: Duration) {
    histogram!("tenancy_move_refused_seconds").record(time);
}
