use std::net::SocketAddr;

use http::Extensions;

/// Without axum there is no extension but our own.
pub(super) fn peer(_: &Extensions) -> Option<SocketAddr> {
    None
}
