//! The address of the peer, as a request extension.

use std::net::SocketAddr;

/// The address of the peer of the connection, as a request extension.
///
/// Sources that trust only certain peers need it, such as [`HeaderSource`](crate::resolve::HeaderSource). Your
/// server's accept loop inserts it. With axum, `Router::into_make_service_with_connect_info::<SocketAddr>()`
/// suffices. With actix-web, the address of the socket is used by default. With tonic, copy it from the request's
/// `TcpConnectInfo`.
///
/// # Security
/// Insert the address of the socket, never an address from a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a newtype of an address")]
pub struct PeerAddr(pub SocketAddr);
