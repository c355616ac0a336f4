//! Fixture: the same routes on four servers; each returns the tenant, the actor and the source of the tenant.
#![allow(dead_code, reason = "each test binary uses its part")]

mod actix;
mod bare;
pub(crate) mod grpc;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use tenancy::resolve::{Resolver, TlsInfo};
use tokio::net::TcpListener;

use crate::fixture::app;

/// The protocol of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
    Grpc,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct RunningServer {
    pub(crate) name: &'static str,
    pub(crate) speaks: Speaks,
    pub(crate) at: SocketAddr,
}

/// Starts every server, with the same TLS data on each of their connections.
pub(crate) async fn start_all(resolver: &Arc<Resolver>, tls: &TlsInfo) -> Vec<RunningServer> {
    let axum = serve_axum(resolver.clone(), tls.clone()).await;
    let actix = actix::serve(resolver.clone(), tls.clone());
    let bare = bare::serve(resolver.clone(), tls.clone()).await;
    let grpc = grpc::serve(resolver.clone(), tls.clone());
    [
        ("axum", Speaks::Http1, axum),
        ("axum, HTTP/2", Speaks::Http2, axum),
        ("actix-web", Speaks::Http1, actix),
        ("actix-web, HTTP/2", Speaks::Http2, actix),
        ("hyper", Speaks::Http1, bare),
        ("hyper, HTTP/2", Speaks::Http2, bare),
        ("tonic", Speaks::Grpc, grpc),
    ]
    .map(|(name, speaks, at)| RunningServer { name, speaks, at })
    .into()
}

async fn serve_axum(resolver: Arc<Resolver>, tls: TlsInfo) -> SocketAddr {
    let app = app(resolver).layer(Extension(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
    });
    at
}
