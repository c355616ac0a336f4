//! The metrics of `metrics.rs` without the feature `metrics`: nothing is measured.

use super::use_count::ConnectionCount;
use super::waiting::Waiting;
use crate::error::ErrorKind;

pub(super) fn waiting<F: Future + Unpin>(_: Waiting, _: impl FnOnce() -> bool, future: F) -> F {
    future
}

pub(super) fn ran_out(_: Waiting, _: ErrorKind) {}

pub(crate) fn connections(_: &'static str, _: ConnectionCount) {}
