use std::net::SocketAddr;

/// The address at the other end of the connection, as a request extension.
///
/// Your server's accept loop inserts it; a [`HeaderSource`](crate::resolve::HeaderSource) needs it to know
/// whom to trust. Under axum, `Router::into_make_service_with_connect_info::<SocketAddr>()` does as well; actix-web knows
/// the address of its socket by itself; under tonic it is copied from the request's `TcpConnectInfo`.
///
/// # Security
/// Insert the address of the socket, never one out of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "an address, and nothing else")]
pub struct PeerAddr(pub SocketAddr);
