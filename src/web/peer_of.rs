use std::net::SocketAddr;

use http::Extensions;

use super::peer::PeerAddr;

#[cfg(feature = "axum")]
#[path = "connect_info.rs"]
mod server;
#[cfg(not(feature = "axum"))]
#[path = "no_connect_info.rs"]
mod server;

/// The peer of a request, from whichever extension there is.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<PeerAddr>().map(|peer| peer.0).or_else(|| server::peer(extensions))
}
