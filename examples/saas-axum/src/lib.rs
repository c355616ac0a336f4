//! The example application on axum: [`app`] is its router.
//!
//! Start with [`app`] (which routes need a credential) and `api.rs` (the handlers). The operations are in the package
//! `saas`.

mod api;

use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::{any, delete, get, post, put};
use saas::{App, AppDb, PAGE};
use tenancy::resolve::Resolver;
use tenancy::web::{PlanLayer, StripeWebhookService, TenantLayer};

/// The router.
pub fn app<DB: AppDb>(app: Arc<App<DB>>, resolver: Arc<Resolver>) -> Router {
    // Changes need a verified token. If the host names a tenant too, it must be the tenant of the token.
    let changes = Router::new()
        .route("/api/projects", post(api::create_project::<DB>))
        .route("/api/projects/{id}", put(api::update_project::<DB>).delete(api::delete_project::<DB>))
        .route("/api/members", post(api::invite_member::<DB>))
        .route("/api/members/{id}", delete(api::remove_member::<DB>))
        .route("/api/orders", post(api::create_order::<DB>))
        .route("/api/orders/{id}", put(api::update_order::<DB>).delete(api::delete_order::<DB>))
        .layer(PlanLayer::new(app.rules_for_changes()))
        .layer(TenantLayer::new(resolver.clone()));
    // This demo shows a tenant's data to anyone who opens its subdomain. An application with logins should use
    // `TenantLayer::new` here too, so that reads need a token as well.
    let reads = Router::new()
        .route("/api/projects", get(api::list_projects::<DB>))
        .route("/api/projects/{id}", get(api::read_project::<DB>))
        .route("/api/members", get(api::list_members::<DB>))
        .route("/api/orders", get(api::list_orders::<DB>))
        .route("/api/orders/export", get(api::export_orders::<DB>))
        .route("/api/orders/{id}", get(api::read_order::<DB>))
        .route("/api/usage", get(api::usage::<DB>))
        .route("/api/entitlements", get(api::entitlements::<DB>))
        .route("/api/audit", get(api::audit::<DB>))
        .route("/api/plan", get(api::plan::<DB>))
        .layer(TenantLayer::allow_unauthenticated(resolver));
    let open = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route_service("/webhooks/stripe", StripeWebhookService::new(app.stripe().clone()))
        .route("/demo/tenants", get(api::tenants::<DB>).post(api::create_third_tenant::<DB>))
        .route("/demo/billing", post(api::bill::<DB>))
        // These check the operator's token themselves, and know no token of a tenant.
        .route("/operator", any(api::operator::<DB>))
        .route("/operator/{*path}", any(api::operator::<DB>));
    Router::new().merge(changes).merge(reads).merge(open).with_state(app)
}
