use std::net::SocketAddr;

use http::{Extensions, Uri};

/// Without axum there is no extension but our own.
pub(super) fn peer(_: &Extensions) -> Option<SocketAddr> {
    None
}

/// Nor is a path cut in a way that is known.
pub(super) fn sent<'a>(_: &'a Extensions, _: &Uri) -> Option<&'a Uri> {
    None
}
