//! The example application on actix-web: [`routes`] adds its routes to an `App`.
//!
//! Start with [`routes`] (which routes need a credential) and `api.rs` (the handlers). The operations are in the
//! package `saas`.

mod api;

use std::sync::Arc;

use actix_web::web::{Data, Html, ServiceConfig, delete, get, post, put, resource, route};
use saas::{App, AppDb, PAGE};
use tenancy::resolve::Resolver;
use tenancy::web::{PlanMiddleware, TenantMiddleware, stripe_webhook_route};

/// The routes, for [`actix_web::App::configure`].
pub fn routes<DB: AppDb>(
    app: Arc<App<DB>>,
    resolver: Arc<Resolver>,
) -> impl FnOnce(&mut ServiceConfig) + Clone + Send {
    // Changes need a verified token. If the host names a tenant too, it must be the tenant of the token.
    let changes = TenantMiddleware::new(resolver.clone());
    // This demo shows a tenant's data to anyone who opens its subdomain. An application with logins should use
    // `TenantMiddleware::new` here too, so that reads need a token as well.
    let reads = TenantMiddleware::allow_unauthenticated(resolver);
    // The last `wrap` is the outermost: it finds the tenant.
    let plan = PlanMiddleware::new(app.rules_for_changes());
    let webhook = app.stripe().clone();
    move |config| {
        let projects = resource("/api/projects")
            .route(get().to(api::list_projects::<DB>).wrap(reads.clone()))
            .route(post().to(api::create_project::<DB>).wrap(plan.clone()).wrap(changes.clone()));
        let project = resource("/api/projects/{id}")
            .route(get().to(api::read_project::<DB>).wrap(reads.clone()))
            .route(put().to(api::update_project::<DB>).wrap(plan.clone()).wrap(changes.clone()))
            .route(delete().to(api::delete_project::<DB>).wrap(plan.clone()).wrap(changes.clone()));
        let members = resource("/api/members")
            .route(get().to(api::list_members::<DB>).wrap(reads.clone()))
            .route(post().to(api::invite_member::<DB>).wrap(plan.clone()).wrap(changes.clone()));
        let member = resource("/api/members/{id}")
            .route(delete().to(api::remove_member::<DB>).wrap(plan.clone()).wrap(changes.clone()));
        let orders = resource("/api/orders")
            .route(get().to(api::list_orders::<DB>).wrap(reads.clone()))
            .route(post().to(api::create_order::<DB>).wrap(plan.clone()).wrap(changes.clone()));
        let order = resource("/api/orders/{id}")
            .route(get().to(api::read_order::<DB>).wrap(reads.clone()))
            .route(put().to(api::update_order::<DB>).wrap(plan.clone()).wrap(changes.clone()))
            .route(delete().to(api::delete_order::<DB>).wrap(plan).wrap(changes));
        config
            .app_data(Data::from(app))
            .service(projects)
            .service(project)
            .service(members)
            .service(member)
            .service(orders)
            .route("/api/orders/export", get().to(api::export_orders::<DB>).wrap(reads.clone()))
            .service(order)
            .route("/api/usage", get().to(api::usage::<DB>).wrap(reads.clone()))
            .route("/api/entitlements", get().to(api::entitlements::<DB>).wrap(reads.clone()))
            .route("/api/audit", get().to(api::audit::<DB>).wrap(reads.clone()))
            .route("/api/plan", get().to(api::plan::<DB>).wrap(reads))
            .route("/", get().to(async || Html::new(PAGE)))
            .route("/webhooks/stripe", stripe_webhook_route(webhook))
            .service(
                resource("/demo/tenants")
                    .route(get().to(api::tenants::<DB>))
                    .route(post().to(api::create_third_tenant::<DB>)),
            )
            .route("/demo/billing", post().to(api::bill::<DB>))
            // These check the operator's token themselves, and know no token of a tenant.
            .route("/operator", route().to(api::operator::<DB>))
            .route("/operator/{path:.*}", route().to(api::operator::<DB>));
    }
}
