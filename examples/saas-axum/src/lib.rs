//! The application: [`build`] puts it together, [`app`] is its router.
//!
//! What to look at first: `model.rs` (two tenant-owned tables), `api.rs` (handlers, none of which names a
//! tenant), and [`app`] below (which routes need proof of who is calling).

mod api;
mod database;
mod demo;
mod model;
mod settings;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::Html;
use axum::routing::{get, post, put};
use tenancy::TenantDb;
use tenancy::audit::{AuditPolicy, TracingSink};
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeWebhook};
use tenancy::context::Directory;
use tenancy::plan::Catalog;
use tenancy::resolve::{HostSource, JwtSource, Resolver};
use tenancy::store::{CacheOptions, Cached, SqlStore};
use tenancy::web::TenantLayer;

pub use self::database::AppDb;
pub use self::demo::Demo;
pub use self::settings::Settings;

/// What every handler can reach. None of it reaches a tenant's rows without that tenant's context.
#[derive(Debug)]
pub struct App<DB: AppDb> {
    db: TenantDb<DB>,
    store: Arc<SqlStore<DB>>,
    directory: Directory,
    stripe: StripeWebhook,
    demo: Demo,
}

type Shared<DB> = axum::extract::State<Arc<App<DB>>>;

/// Connects, migrates, seeds, and puts the application together.
///
/// # Errors
/// When a setting does not read or the database cannot be reached.
pub async fn build<DB: AppDb>(settings: &Settings) -> tenancy::Result<(Router, Demo)> {
    let pool = database::connect::<DB>(&settings.database_url).await?;
    let store = Arc::new(SqlStore::new(pool.clone()));
    store.migrate().await?;
    database::migrate(&pool).await?;

    let catalog = Arc::new(Catalog::from_toml(include_str!("../catalog.toml"))?);
    let tenants = Arc::new(Cached::new(SqlStore::new(pool.clone()), CacheOptions::new()));
    let directory = Directory::new(tenants.clone(), catalog.clone());
    let stripe = StripeWebhook::new(
        SigningSecrets::new([settings.stripe_webhook_secret.as_str()])?,
        Mode::Test,
        store.clone(),
        catalog,
        tenants,
    );
    let db = TenantDb::from_pool(pool)
        .audit(AuditPolicy::Required)
        .copy_audit_to(Arc::new(TracingSink))
        .build()
        .await?;
    let demo = Demo::seed(&db, &directory, settings).await?;
    let resolver =
        Resolver::new(directory.clone()).source(tokens(settings)?).source(HostSource::new(["localhost"])?);
    let app = Arc::new(App { db, store, directory, stripe, demo: demo.clone() });
    Ok((self::app(app, Arc::new(resolver)), demo))
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

/// The router.
pub fn app<DB: AppDb>(app: Arc<App<DB>>, resolver: Arc<Resolver>) -> Router {
    // A verified token says whose data may be changed. If the host names a tenant too, they must agree.
    let changes = Router::new()
        .route("/api/projects", post(api::create_project::<DB>))
        .route("/api/projects/{id}", put(api::update_project::<DB>).delete(api::delete_project::<DB>))
        .route("/api/orders", post(api::create_order::<DB>))
        .route("/api/orders/{id}", put(api::update_order::<DB>).delete(api::delete_order::<DB>))
        .layer(TenantLayer::new(resolver.clone()));
    // This demo shows its data to anybody who opens a tenant's subdomain. For an application with logins, which
    // is most of them, write `TenantLayer::new` here too: then reading needs a token as well.
    let reads = Router::new()
        .route("/api/projects", get(api::list_projects::<DB>))
        .route("/api/projects/{id}", get(api::read_project::<DB>))
        .route("/api/orders", get(api::list_orders::<DB>))
        .route("/api/orders/export", get(api::export_orders::<DB>))
        .route("/api/orders/{id}", get(api::read_order::<DB>))
        .route("/api/usage", get(api::usage::<DB>))
        .route("/api/audit", get(api::audit::<DB>))
        .route("/api/plan", get(api::plan::<DB>))
        .layer(TenantLayer::public_by_selection(resolver));
    let open = Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .route("/webhooks/stripe", post(api::stripe_webhook::<DB>).layer(DefaultBodyLimit::max(1 << 20)))
        .route("/demo/tenants", get(demo::tenants::<DB>))
        .route("/demo/stripe", post(demo::stripe::<DB>));
    Router::new().merge(changes).merge(reads).merge(open).with_state(app)
}
