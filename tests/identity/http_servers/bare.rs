//! Fixture: a server of hyper and tower, without a framework.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tenancy::TenantContext;
use tenancy::resolve::{Resolver, TlsInfo};
use tenancy::web::{PeerAddr, TenantLayer};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt, service_fn};

use crate::fixture::said_of;

type Answer = Result<Response<Full<Bytes>>, Infallible>;

pub(super) async fn serve(resolver: Arc<Resolver>, tls: TlsInfo) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, peer) = listener.accept().await.unwrap();
            let (resolver, tls) = (resolver.clone(), tls.clone());
            let routes = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request.extensions_mut().insert(tls.clone());
                let head = request.method() == Method::HEAD;
                let answer = route(resolver.clone(), request);
                // Over HTTP/2, hyper does not remove the body of a response to HEAD.
                async move {
                    answer.await.map(|answer| if head { answer.map(|_| Full::default()) } else { answer })
                }
            });
            tokio::spawn(async move {
                let connection = Builder::new(TokioExecutor::new());
                // Some rows break the connection.
                drop(
                    connection.serve_connection(TokioIo::new(socket), TowerToHyperService::new(routes)).await,
                );
            });
        }
    });
    at
}

async fn route(resolver: Arc<Resolver>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments[..] {
        ["health"] => Ok(Response::new(Full::from("up"))),
        ["orders"] | ["t", _, "orders"] => {
            TenantLayer::new(resolver).layer(service_fn(who)).oneshot(request).await
        }
        ["login"] | ["t", _, "login"] => {
            TenantLayer::allow_unauthenticated(resolver).layer(service_fn(who)).oneshot(request).await
        }
        _ => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        }
    }
}

async fn who(request: Request<Incoming>) -> Answer {
    let ctx = request.extensions().get::<TenantContext>().expect("the layer left a context");
    Ok(Response::new(Full::from(said_of(ctx))))
}
