//! A small SaaS on axum. `cargo run -p saas-axum` runs it on an SQLite file;
//! `DATABASE_URL=postgres://… cargo run -p saas-axum` runs it on PostgreSQL.

use std::error::Error;

use saas::{AppDb, Postgres, Settings, Sqlite, build};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = saas::start("saas-axum")?;
    if settings.is_postgres() { serve::<Postgres>(settings).await } else { serve::<Sqlite>(settings).await }
}

async fn serve<DB: AppDb>(mut settings: Settings) -> Result<(), Box<dyn Error>> {
    // The demo gives its tokens to every client, so it listens on 127.0.0.1 only.
    let listener =
        TcpListener::bind(("127.0.0.1", settings.port)).await.map_err(|e| settings.port_error(&e))?;
    settings.port = listener.local_addr()?.port();
    let (app, resolver) = build::<DB>(&settings).await?;
    tokio::spawn(app.clone().look_after_billing());
    app.welcome(&settings);
    axum::serve(listener, saas_axum::app(app, resolver))
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .await?;
    Ok(())
}
