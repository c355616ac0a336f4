//! The endpoint that Stripe calls, on SQLite in memory: `cargo run --example stripe_webhook`.
//!
//! Without Stripe at hand, the program sends itself the event of a purchase, signed as Stripe signs it.
//! With Stripe: `STRIPE_WEBHOOK_SECRET=whsec_… cargo run --example stripe_webhook`, and beside it
//! `stripe listen --forward-to localhost:3000/webhooks/stripe`.
#![allow(clippy::print_stdout, reason = "the program prints what it does")]

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::{Router, routing::post};
use sqlx::sqlite::{Sqlite, SqlitePoolOptions};
use tenancy::ErrorKind;
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeWebhook, sign};
use tenancy::clock::{Clock, SystemClock};
use tenancy::plan::Catalog;
use tenancy::store::{CacheOptions, CachedStore, SqlStore};
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantStatus, TenantStore};

const PLANS: &str = r#"
version = 1
fallback = "free"
[features]
export = { kind = "flag" }
[plans.free]
features = { export = false }
[plans.pro]
prices = ["price_1PrO"]
features = { export = true }
"#;

type Tenants = Arc<CachedStore<SqlStore<Sqlite>>>;

/// Takes the body raw: the signature covers each byte of it.
async fn receive(
    State(stripe): State<Arc<StripeWebhook>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let signatures: Vec<&[u8]> =
        headers.get_all("stripe-signature").iter().map(HeaderValue::as_bytes).collect();
    match stripe.receive(&body, &signatures).await {
        Ok(outcome) => (StatusCode::OK, outcome.as_str().to_owned()), // whatever it is
        Err(error) => match error.kind() {
            ErrorKind::SignatureInvalid | ErrorKind::InvalidInput => (StatusCode::BAD_REQUEST, String::new()),
            ErrorKind::Misconfigured => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()), // thin events
            _ => (StatusCode::SERVICE_UNAVAILABLE, String::new()), // Stripe sends it again
        },
    }
}

/// The route, the tenants, and the first of them.
async fn app(secret: &str) -> Result<(Router, Tenants, Arc<Tenant>), Box<dyn std::error::Error>> {
    let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let store = SqlStore::new(one.connect("sqlite::memory:").await?);
    store.migrate().await?;
    let tenants = Arc::new(CachedStore::new(store.clone(), CacheOptions::new()));
    let acme = NewTenant::new(Slug::parse("acme")?, "Acme", "free").status(TenantStatus::Active);
    let acme = tenants.insert(acme).await?;
    let (secrets, catalog) = (SigningSecrets::new([secret])?, Arc::new(Catalog::from_toml(PLANS)?));
    let stripe = StripeWebhook::new(secrets, Mode::Test, Arc::new(store), catalog, tenants.clone());
    let route = post(receive).layer(DefaultBodyLimit::max(1 << 20));
    Ok((Router::new().route("/webhooks/stripe", route).with_state(Arc::new(stripe)), tenants, acme))
}

/// The event of a subscription, and its signature. Your checkout stamps `tenant_id` on the subscription's metadata.
fn event(id: &str, tenant: &Tenant, status: &str, secret: &str) -> (String, String) {
    let now = SystemClock.now();
    let body = serde_json::json!({
        "object": "event", "id": id, "type": "customer.subscription.updated", "created": now.seconds(), "livemode": false,
        "data": { "object": {
            "id": "sub_1", "customer": "cus_1", "status": status, "metadata": { "tenant_id": tenant.id() },
            "items": { "data": [{ "price": { "id": "price_1PrO" }, "quantity": 1 }] },
        } },
    })
    .to_string();
    let signature = sign(secret, body.as_bytes(), now);
    (body, signature)
}

async fn send(app: &Router, body: String, signature: &str) -> StatusCode {
    use tower::ServiceExt;
    let request = axum::http::Request::post("/webhooks/stripe").header("stripe-signature", signature);
    let request = request.body(axum::body::Body::from(body)).expect("a request");
    app.clone().oneshot(request).await.expect("a router does not fail").status()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = std::env::var("STRIPE_WEBHOOK_SECRET").unwrap_or_else(|_| "whsec_example".to_owned());
    let (app, tenants, acme) = app(&secret).await?;
    let (body, signature) = event("evt_1", &acme, "active", &secret);
    println!("a purchase of acme: {}", send(&app, body, &signature).await);
    let plan = tenants.by_id(acme.id()).await?.map(|acme| acme.plan().to_owned());
    println!("the plan of acme: {}", plan.unwrap_or_default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signed_event_changes_the_plan_and_a_forged_one_does_not() {
        let (app, tenants, acme) = app("whsec_test").await.unwrap();
        let plan = async || tenants.by_id(acme.id()).await.unwrap().unwrap().plan().to_owned();
        let (body, forged) = event("evt_1", &acme, "active", "whsec_other");
        assert_eq!(send(&app, body, &forged).await, StatusCode::BAD_REQUEST);
        assert_eq!(plan().await, "free");
        let (body, signature) = event("evt_1", &acme, "active", "whsec_test");
        assert_eq!(send(&app, body, &signature).await, StatusCode::OK);
        assert_eq!(plan().await, "pro");
    }
}
