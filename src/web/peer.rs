use std::net::SocketAddr;

use http::Extensions;

#[cfg(feature = "axum")]
#[path = "connect_info.rs"]
mod server;
#[cfg(not(feature = "axum"))]
#[path = "no_connect_info.rs"]
mod server;

/// The address at the other end of the connection, as a request extension.
///
/// Your server's accept loop inserts it; a [`HeaderSource`](crate::resolve::HeaderSource) needs it to know
/// whom to trust. Under axum, `Router::into_make_service_with_connect_info::<SocketAddr>()` does as well.
///
/// # Security
/// Insert the address of the socket, never one out of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "an address, and nothing else")]
pub struct PeerAddr(pub SocketAddr);

/// The peer of a request, from whichever extension there is.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<PeerAddr>().map(|peer| peer.0).or_else(|| server::peer(extensions))
}
