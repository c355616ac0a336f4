use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use http::Extensions;

/// What axum's server knows of the connection.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}
