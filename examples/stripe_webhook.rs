//! The endpoint that Stripe calls, on SQLite in memory: `cargo run --example stripe_webhook`.
//!
//! Without Stripe at hand, the program sends itself the event of a purchase, signed as Stripe signs it.
//! With Stripe: `STRIPE_WEBHOOK_SECRET=whsec_… cargo run --example stripe_webhook`, and beside it
//! `stripe listen --forward-to localhost:3000/webhooks/stripe`.

use std::sync::Arc;

use axum::Router;
use axum::http::{Request, StatusCode};
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeWebhook, sign};
use tenancy::clock::{Clock, SystemClock};
use tenancy::store::{CacheOptions, CachedStore, SqlStore};
use tenancy::tenant::{NewTenant, TenantId, TenantStore};
use tenancy::web::StripeWebhookService;
use tenancy::{plan::Catalog, scope::sqlite_in_memory};

const PLANS: &str = r#"
version = 1
fallback = "free"
[plans.free]
[plans.pro]
prices = ["price_1PrO"]
"#;

/// The route, the tenants, and the id of the first one.
async fn app(secret: &str) -> tenancy::Result<(Router, Arc<CachedStore<SqlStore<sqlx::Sqlite>>>, TenantId)> {
    let store = SqlStore::new(sqlite_in_memory("").await?);
    store.migrate().await?;
    let tenants = Arc::new(CachedStore::new(store.clone(), CacheOptions::new()));
    let acme = tenants.insert(NewTenant::active("acme", "free")?).await?;
    let (secrets, plans) = (SigningSecrets::new([secret])?, Catalog::from_toml(PLANS)?);
    let stripe = StripeWebhook::new(secrets, Mode::Test, Arc::new(store), plans, tenants.clone());
    let routes = Router::new().route_service("/webhooks/stripe", StripeWebhookService::new(stripe));
    Ok((routes, tenants, acme.id().clone()))
}

/// Sends the event of a purchase. Your checkout writes `tenant_id` into the metadata of the subscription.
async fn purchase(app: &Router, tenant: &TenantId, secret: &str) -> StatusCode {
    let now = SystemClock.now();
    let body = serde_json::json!({
        "object": "event", "id": "evt_1", "created": now.seconds(), "livemode": false,
        "type": "customer.subscription.updated",
        "data": { "object": {
            "id": "sub_1", "customer": "cus_1", "status": "active", "metadata": { "tenant_id": tenant },
            "items": { "data": [{ "price": { "id": "price_1PrO" }, "quantity": 1 }] },
        } },
    })
    .to_string();
    let signature = sign(secret, body.as_bytes(), now);
    let request = Request::post("/webhooks/stripe").header("stripe-signature", signature).body(body);
    let Ok(response) = tower::ServiceExt::oneshot(app.clone(), request.expect("a request")).await;
    response.status()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = std::env::var("STRIPE_WEBHOOK_SECRET").unwrap_or_else(|_| "whsec_example".to_owned());
    let (app, tenants, acme) = app(&secret).await?;
    println!("a purchase of acme: {}", purchase(&app, &acme, &secret).await);
    println!("{:?}", tenants.by_id(&acme).await?);
    Ok(axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await?)
}

#[tokio::test]
async fn a_signed_event_changes_the_plan_of_its_tenant_and_a_forged_one_does_not() {
    let (app, tenants, acme) = app("whsec_test").await.unwrap();
    let globex = tenants.insert(NewTenant::active("globex", "free").unwrap()).await.unwrap();
    let plan = async |id| tenants.by_id(id).await.unwrap().unwrap().plan().to_owned();
    assert_eq!(purchase(&app, &acme, "whsec_other").await, StatusCode::BAD_REQUEST);
    assert_eq!(plan(&acme).await, "free");
    assert_eq!(purchase(&app, &acme, "whsec_test").await, StatusCode::OK);
    assert_eq!((&*plan(&acme).await, &*plan(globex.id()).await), ("pro", "free"));
}
