//! The peer and the target of a request, with or without axum.

use std::net::SocketAddr;

use http::{Extensions, Request, Uri};

use super::peer::PeerAddr;

#[cfg(feature = "axum")]
#[path = "connect_info.rs"]
mod server;
#[cfg(not(feature = "axum"))]
#[path = "no_connect_info.rs"]
mod server;

/// The peer of a request, from the extension of this crate or of axum.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<PeerAddr>().map(|peer| peer.0).or_else(|| server::peer(extensions))
}

/// The target of a request, with the prefixes that nested routers of axum have stripped.
pub(super) fn target<B>(request: &Request<B>) -> &Uri {
    server::original(request.extensions(), request.uri()).unwrap_or_else(|| request.uri())
}
