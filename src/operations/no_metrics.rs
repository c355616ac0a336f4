//! The metrics of `metrics.rs` without the feature `metrics`: empty functions.

use std::time::Duration;

pub(super) fn operation(_: &'static str, _: &'static str) {}

pub(super) fn move_step(_: &'static str, _: &'static str) {}

pub(super) fn moved_rows(_: u64) {}

pub(super) fn refused_for(_: Duration) {}
