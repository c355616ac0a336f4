//! The metrics of `metrics.rs` without the feature `metrics`: empty functions.

pub(super) fn hit() {}

pub(super) fn miss() {}

pub(super) fn absent() {}

#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "PostgreSQL publishes in the transaction"))]
pub(super) fn unpublished() {}

#[cfg_attr(not(any(feature = "postgres", feature = "redis")), expect(dead_code, reason = "no listener"))]
pub(super) fn invalidation(_: &'static str) {}

#[cfg_attr(not(any(feature = "postgres", feature = "redis")), expect(dead_code, reason = "no listener"))]
pub(super) fn connected(_: bool) {}

#[cfg_attr(not(any(feature = "postgres", feature = "redis")), expect(dead_code, reason = "no listener"))]
pub(super) fn outage() {}
