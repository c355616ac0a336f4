//! Runs the suite `api` over HTTP on actix-web.

#[path = "../../saas/suite/api.rs"]
mod suite;

use std::net::{SocketAddr, TcpListener};

use actix_web::{App, HttpServer};
use saas::{AppDb, Settings, build};

async fn serve<DB: AppDb>(settings: &Settings) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let settings = Settings { port: at.port(), ..settings.clone() };
    let (app, resolver) = build::<DB>(&settings).await.expect("the application starts");
    let routes = saas_actix::routes(app, resolver);
    let server = HttpServer::new(move || App::new().configure(routes.clone()))
        .workers(2)
        .disable_signals()
        .listen(listener)
        .unwrap();
    tokio::spawn(server.run());
    at
}
