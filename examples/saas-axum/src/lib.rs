//! The application behind axum: [`app`] is its router.
//!
//! What to look at first: [`app`] (which routes need proof of who is calling) and `api.rs` (handlers, none of which names
//! a tenant). What they do is in the package `saas`.

mod api;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::Html;
use axum::routing::{get, post, put};
use saas::{App, AppDb, LONGEST_WEBHOOK, PAGE};
use tenancy::resolve::Resolver;
use tenancy::web::TenantLayer;

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
        .layer(TenantLayer::allow_unauthenticated(resolver));
    let webhook = post(api::stripe_webhook::<DB>).layer(DefaultBodyLimit::max(LONGEST_WEBHOOK));
    let open = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/webhooks/stripe", webhook)
        .route("/demo/tenants", get(api::tenants::<DB>))
        .route("/demo/stripe", post(api::happen::<DB>));
    Router::new().merge(changes).merge(reads).merge(open).with_state(app)
}
