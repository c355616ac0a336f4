//! The counters of `metrics.rs` without the feature `metrics`: empty functions.

pub(super) fn hit() {}

pub(super) fn miss() {}

pub(super) fn absent() {}
