//! In place of `connect_info.rs` if the feature `axum` is disabled.

use std::net::SocketAddr;

use http::{Extensions, Uri};

/// Without axum, only the extension of this crate contains the peer.
pub(super) fn peer(_: &Extensions) -> Option<SocketAddr> {
    None
}

/// Without axum, no stripped prefix is known.
pub(super) fn original<'a>(_: &'a Extensions, _: &Uri) -> Option<&'a Uri> {
    None
}
