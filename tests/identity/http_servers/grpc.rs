//! Fixture: a tonic service with plain-text messages, which needs no protobuf compiler.

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::any;
use bytes::{Buf, BufMut};
use tenancy::TenantContext;
use tenancy::resolve::{Resolver, TlsInfo};
use tenancy::web::{PeerAddr, TenantLayer};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::Grpc;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tower::service_fn;

use crate::fixture::said_of;

/// The services, with their layers.
pub(crate) fn routes(resolver: Arc<Resolver>) -> Routes {
    let method = |text: fn(&tonic::Request<String>) -> String| {
        any(move |request: Request<Body>| async move {
            let method = service_fn(move |call: tonic::Request<String>| {
                ready(Ok::<_, Status>(tonic::Response::new(text(&call))))
            });
            Grpc::new(Text).unary(method, request).await
        })
    };
    let who = |call: &tonic::Request<String>| {
        said_of(call.extensions().get::<TenantContext>().expect("the layer left a context"))
    };
    Router::new()
        .route("/orders/Who", method(who).layer(TenantLayer::new(resolver.clone()).grpc()))
        .route("/login/Who", method(who).layer(TenantLayer::allow_unauthenticated(resolver).grpc()))
        .route("/health/Who", method(|_| "up".to_owned()))
        .into()
}

pub(super) fn serve(resolver: Arc<Resolver>, tls: TlsInfo) -> SocketAddr {
    let routes = routes(resolver);
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = incoming.local_addr().unwrap();
    // Copies the connection data into the extensions that the sources read.
    let connection = tower::util::MapRequestLayer::new(move |mut request: axum::http::Request<_>| {
        let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        if let Some(peer) = peer {
            request.extensions_mut().insert(PeerAddr(peer));
        }
        request.extensions_mut().insert(tls.clone());
        request
    });
    tokio::spawn(Server::builder().layer(connection).add_routes(routes).serve_with_incoming(incoming));
    at
}

/// A codec of plain-text messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        String::from_utf8(bytes.into()).map(Some).map_err(|e| Status::internal(e.to_string()))
    }
}
