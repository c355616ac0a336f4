//! The application without a web framework: [`build`] puts it together, [`operations`] is what it does.
//!
//! What to look at first: `model.rs` (two tenant-owned tables) and `operations.rs` (what is done with them, by a context
//! that says whose they are). `saas-axum` and `saas-actix` put routes in front of it.

mod database;
mod demo;
mod model;
pub mod operations;
mod settings;

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use tenancy::TenantDb;
use tenancy::audit::{AuditPolicy, TracingSink};
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeWebhook};
use tenancy::context::TenantDirectory;
use tenancy::plan::Catalog;
use tenancy::resolve::{HostSource, JwtSource, Resolver};
use tenancy::store::{CacheOptions, CachedStore, SqlStore};
use tracing_subscriber::EnvFilter;

pub use sqlx::{Postgres, Sqlite};

pub use self::database::AppDb;
pub use self::demo::{Demo, Wanted};
pub use self::model::{Order, Project};
pub use self::settings::Settings;

/// The one page.
pub const PAGE: &str = include_str!("page.html");

/// How long the body of a webhook may be, in bytes.
pub const LONGEST_WEBHOOK: usize = 1 << 20;

/// What every handler can reach. None of it reaches a tenant's rows without that tenant's context.
#[derive(Debug)]
pub struct App<DB: AppDb> {
    db: TenantDb<DB>,
    store: Arc<SqlStore<DB>>,
    directory: TenantDirectory,
    stripe: StripeWebhook,
    demo: Demo,
}

/// Connects, migrates, seeds, and puts the application together, with what finds the tenant of a request.
///
/// # Errors
/// When a setting does not read or the database cannot be reached.
pub async fn build<DB: AppDb>(settings: &Settings) -> tenancy::Result<(Arc<App<DB>>, Arc<Resolver>)> {
    let pool = database::connect::<DB>(&settings.database_url).await?;
    let store = Arc::new(SqlStore::new(pool.clone()));
    store.migrate().await?;
    database::migrate(&pool).await?;

    let catalog = Arc::new(Catalog::from_toml(include_str!("../catalog.toml"))?);
    let tenants = Arc::new(CachedStore::new(SqlStore::new(pool.clone()), CacheOptions::new()));
    let directory = TenantDirectory::new(tenants.clone(), catalog.clone());
    let stripe = StripeWebhook::new(
        SigningSecrets::new([settings.stripe_webhook_secret.as_str()])?,
        Mode::Test,
        store.clone(),
        catalog,
        tenants,
    );
    let db = TenantDb::from_pool(pool)
        .audit(AuditPolicy::Required)
        .mirror_audit_to(Arc::new(TracingSink))
        .build()
        .await?;
    let demo = Demo::seed(&db, &directory, settings).await?;
    let resolver =
        Resolver::new(directory.clone()).source(tokens(settings)?).source(HostSource::new(["localhost"])?);
    Ok((Arc::new(App { db, store, directory, stripe, demo }), Arc::new(resolver)))
}

/// The tokens that prove who is calling: HS256 by the shared secret, EdDSA by a public key if one is set.
fn tokens(settings: &Settings) -> tenancy::Result<JwtSource> {
    let source = JwtSource::builder()
        .issuer(demo::ISSUER)
        .audience(demo::AUDIENCE)
        .hs256(settings.jwt_secret.as_bytes());
    match &settings.jwt_ed25519_public_pem {
        Some(pem) => source.eddsa_pem(pem).build(),
        None => source.build(),
    }
}

impl<DB: AppDb> App<DB> {
    /// Says on standard output where it listens, and what to try.
    pub fn welcome(&self, settings: &Settings, port: u16) {
        // A reader that has gone, such as `head`, is no reason to stop.
        let _ = writeln!(std::io::stdout(), "{}", self.demo.welcome(settings, port));
    }
}

/// What a program does before all else: it starts its log and reads its settings.
///
/// # Errors
/// A line that names the variable that does not read.
pub fn start(program: &str) -> Result<Settings, Box<dyn Error>> {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,tenancy::audit=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(Settings::from_env(program)?)
}
