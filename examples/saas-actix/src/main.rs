//! A small SaaS on actix-web. `cargo run -p saas-actix` runs it on an SQLite file;
//! `DATABASE_URL=postgres://… cargo run -p saas-actix` runs it on PostgreSQL.

use std::error::Error;
use std::net::SocketAddr;

use actix_web::{App, HttpServer};
use saas::{AppDb, Postgres, Settings, Sqlite, build};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = saas::start("saas-actix")?;
    if settings.is_postgres() { serve::<Postgres>(settings).await } else { serve::<Sqlite>(settings).await }
}

async fn serve<DB: AppDb>(settings: Settings) -> Result<(), Box<dyn Error>> {
    let (app, resolver) = build::<DB>(&settings).await?;
    let routes = saas_actix::routes(app.clone(), resolver);
    // The demo gives its tokens to every client, so it listens on 127.0.0.1 only.
    let server = HttpServer::new(move || App::new().configure(routes.clone()))
        .bind(("127.0.0.1", settings.port))
        .map_err(|e| settings.port_error(&e))?;
    app.welcome(&settings, server.addrs().first().map_or(settings.port, SocketAddr::port));
    server.run().await?;
    Ok(())
}
