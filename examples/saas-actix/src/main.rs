//! A small SaaS on actix-web. `cargo run -p saas-actix` runs it on an SQLite file;
//! `DATABASE_URL=postgres://… cargo run -p saas-actix` runs it on PostgreSQL.

use std::error::Error;
use std::net::TcpListener;

use actix_web::{App, HttpServer};
use saas::{AppDb, Postgres, Settings, Sqlite, build};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = saas::start("saas-actix")?;
    if settings.is_postgres() { serve::<Postgres>(settings).await } else { serve::<Sqlite>(settings).await }
}

async fn serve<DB: AppDb>(mut settings: Settings) -> Result<(), Box<dyn Error>> {
    // The demo gives its tokens to every client, so it listens on 127.0.0.1 only.
    let listener = TcpListener::bind(("127.0.0.1", settings.port)).map_err(|e| settings.port_error(&e))?;
    settings.port = listener.local_addr()?.port();
    let (app, resolver) = build::<DB>(&settings).await?;
    let routes = saas_actix::routes(app.clone(), resolver);
    let server = HttpServer::new(move || App::new().configure(routes.clone())).listen(listener)?;
    tokio::spawn(app.clone().look_after_billing());
    app.welcome(&settings);
    server.run().await?;
    Ok(())
}
