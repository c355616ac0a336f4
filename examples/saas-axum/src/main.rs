//! A small SaaS on axum. `cargo run -p saas-axum` starts it on an SQLite file of its own;
//! `DATABASE_URL=postgres://… cargo run -p saas-axum` runs the same program on Postgres.

use std::error::Error;
use std::io::Write;

use saas_axum::{AppDb, Settings, build};
use sqlx::{Postgres, Sqlite};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,tenancy::audit=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let settings = Settings::from_env()?;
    if settings.database_url.starts_with("postgres") {
        serve::<Postgres>(settings).await
    } else {
        serve::<Sqlite>(settings).await
    }
}

async fn serve<DB: AppDb>(settings: Settings) -> Result<(), Box<dyn Error>> {
    // The demo hands its tokens to whoever asks, so it listens to this machine only.
    let listener = TcpListener::bind(("127.0.0.1", settings.port))
        .await
        .map_err(|e| format!("port {} cannot be had ({e}); set PORT to another one", settings.port))?;
    let (router, demo) = build::<DB>(&settings).await?;
    let welcome = demo.welcome(&settings, listener.local_addr()?.port());
    // A reader that has gone, such as `head`, is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{welcome}");
    axum::serve(listener, router)
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .await?;
    Ok(())
}
