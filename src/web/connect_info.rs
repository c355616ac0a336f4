//! What axum adds to the extensions of a request. Without axum, `no_connect_info.rs` is compiled instead.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, OriginalUri};
use http::{Extensions, Uri};

/// The peer address that axum's server inserts.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// The target as the client sent it, if a nested router has stripped the prefix that it matched. `None` for a target
/// that other code has rewritten.
pub(super) fn original<'a>(extensions: &'a Extensions, current: &Uri) -> Option<&'a Uri> {
    let original = &extensions.get::<OriginalUri>()?.0;
    (current.path() == "/" || original.path().ends_with(current.path())).then_some(original)
}
