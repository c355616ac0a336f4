//! Runs the suite `api` over HTTP on axum.

#[path = "../../saas/suite/api.rs"]
mod suite;

use std::net::SocketAddr;

use saas::{AppDb, Settings, build};
use tokio::net::TcpListener;

async fn serve<DB: AppDb>(settings: &Settings) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let settings = Settings { port: at.port(), ..settings.clone() };
    let (app, resolver) = build::<DB>(&settings).await.expect("the application starts");
    tokio::spawn(async move { axum::serve(listener, saas_axum::app(app, resolver)).await });
    at
}
