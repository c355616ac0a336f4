//! Runs the suite `api` over HTTP on actix-web.

#[path = "../../saas/suite/api.rs"]
mod suite;

use std::net::SocketAddr;

use actix_web::{App, HttpServer};
use saas::{AppDb, Settings, build};

async fn serve<DB: AppDb>(settings: &Settings) -> SocketAddr {
    let (app, resolver) = build::<DB>(settings).await.expect("the application starts");
    let routes = saas_actix::routes(app, resolver);
    let server = HttpServer::new(move || App::new().configure(routes.clone()))
        .workers(2)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
    let at = server.addrs()[0];
    tokio::spawn(server.run());
    at
}
