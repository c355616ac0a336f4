//! Fixture: two tenants, acme and globex, and signed Stripe events of the test's choice.
#![allow(dead_code, unreachable_pub, reason = "each test uses its own part of the fixture")]

use std::sync::Arc;

use serde_json::{Value, json};
use tenancy::Result;
use tenancy::billing::stripe::{CheckoutReferences, Mode, SigningSecrets, StripeWebhook, sign};
use tenancy::billing::{EventOutcome, Subscription};
use tenancy::clock::{Clock, ManualClock, Timestamp};
use tenancy::plan::Catalog;
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStatus, TenantStore};

pub const SECRET: &str = "whsec_world";
pub const START: i64 = 1_700_000_000;

pub const PLANS: &str = r#"
    version = 1
    [features]
    sso = { kind = "flag" }
    [plans.free]
    features = { sso = false }
    [plans.basic]
    prices = ["price_basic"]
    features = { sso = false }
    [plans.pro]
    prices = ["price_pro", "pro_by_key", "prod_pro"]
    seat_prices = ["price_pro_seat"]
    features = { sso = true }
    [addons.support]
    prices = ["price_support"]
"#;

#[derive(Debug)]
pub struct Fixture {
    pub store: Arc<MemoryStore>,
    pub clock: Arc<ManualClock>,
    pub webhook: StripeWebhook,
}

impl Fixture {
    /// Both tenants are active on `free`, which is also the fallback plan.
    pub async fn new() -> Self {
        Self::with_catalog(&format!("fallback = \"free\"\n{PLANS}")).await
    }

    /// As `new`, for live events.
    pub async fn live() -> Self {
        Self::in_mode(&format!("fallback = \"free\"\n{PLANS}"), Mode::Live).await
    }

    /// Without a fallback plan.
    pub async fn without_fallback() -> Self {
        Self::with_catalog(PLANS).await
    }

    pub async fn with_catalog(catalog: &str) -> Self {
        Self::in_mode(catalog, Mode::Test).await
    }

    async fn in_mode(catalog: &str, mode: Mode) -> Self {
        let store = Arc::new(MemoryStore::new());
        for name in ["acme", "globex"] {
            let tenant = NewTenant::new(Slug::parse(name).unwrap(), name, "free")
                .id(TenantId::parse(name).unwrap())
                .status(TenantStatus::Active);
            let _ = store.insert(tenant).await.unwrap();
        }
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START)));
        let webhook = StripeWebhook::new(
            SigningSecrets::new([SECRET]).unwrap(),
            mode,
            store.clone(),
            Arc::new(Catalog::from_toml(catalog).unwrap()),
            store.clone(),
        )
        .checkout_references(references())
        .with_clock(clock.clone());
        Self { store, clock, webhook }
    }

    pub async fn try_send(&self, event: &Value) -> Result<EventOutcome> {
        let body = event.to_string();
        let signature = sign(SECRET, body.as_bytes(), self.clock.now());
        self.webhook.receive(body.as_bytes(), &[signature.as_bytes()]).await
    }

    pub async fn send(&self, event: &Value) -> EventOutcome {
        self.try_send(event).await.unwrap()
    }

    pub async fn tenant(&self, name: &str) -> Tenant {
        Tenant::clone(&self.store.by_id(&TenantId::parse(name).unwrap()).await.unwrap().unwrap())
    }

    /// The plan and status of acme. Asserts that globex is unchanged.
    pub async fn acme(&self) -> (String, TenantStatus) {
        let globex = self.tenant("globex").await;
        assert_eq!((globex.plan(), globex.status(), globex.version()), ("free", TenantStatus::Active, 1));
        let acme = self.tenant("acme").await;
        (acme.plan().to_owned(), acme.status())
    }

    pub fn subscription(&self, id: &str) -> Option<Subscription> {
        self.store.billing_subscriptions().unwrap().into_iter().find(|one| one.id() == id)
    }

    pub fn quarantined(&self) -> usize {
        self.store.billing_quarantine().unwrap().len()
    }

    pub fn audit(&self, action: &str) -> Vec<tenancy::audit::AuditEvent> {
        self.store.billing_audit().unwrap().into_iter().filter(|event| event.action() == action).collect()
    }
}

/// An event about any object.
pub fn event(id: &str, second: i64, kind: &str, object: &Value) -> Value {
    json!({
        "id": id, "object": "event", "api_version": "2026-10-28.endive", "created": START + second,
        "type": kind, "livemode": false, "pending_webhooks": 1, "request": { "id": null },
        "data": { "object": object },
    })
}

/// A subscription of the current API version; override values with [`with`].
pub fn subscription(id: &str, customer: &str, status: &str, price: &str) -> Value {
    json!({
        "id": id, "object": "subscription", "customer": customer, "status": status,
        "cancel_at": null, "cancel_at_period_end": false, "created": START - 1000, "metadata": {},
        "items": { "object": "list", "has_more": false, "data": [item(price, 1)] },
    })
}

pub fn item(price: &str, quantity: u64) -> Value {
    json!({
        "id": "si_1", "current_period_end": START + 2_592_000, "quantity": quantity,
        "price": { "id": price, "object": "price", "lookup_key": null },
    })
}

/// `value`, with the top-level keys of `over` replaced.
pub fn with(mut value: Value, over: &Value) -> Value {
    for (key, new) in over.as_object().unwrap() {
        value[key] = new.clone();
    }
    value
}

/// The subscription with a tenant id in its metadata.
pub fn stamped(subscription: Value, tenant: &str) -> Value {
    with(subscription, &json!({ "metadata": { "tenant_id": tenant } }))
}

/// `customer.subscription.updated`, with the previous attributes.
pub fn updated(id: &str, second: i64, object: &Value, previous: &Value) -> Value {
    let mut event = event(id, second, "customer.subscription.updated", object);
    event["data"]["previous_attributes"] = previous.clone();
    event
}

pub fn created(id: &str, second: i64, object: &Value) -> Value {
    event(id, second, "customer.subscription.created", object)
}

pub fn deleted(id: &str, second: i64, object: &Value) -> Value {
    event(
        id,
        second,
        "customer.subscription.deleted",
        &with(object.clone(), &json!({ "status": "canceled" })),
    )
}

/// The keys that sign the references of the fixture's checkouts.
pub fn references() -> CheckoutReferences {
    CheckoutReferences::new("2026-11", [7; 32]).unwrap()
}

/// `checkout.session.completed`. A tenant id as `client_reference_id` is signed, unless a payment link brings it.
pub fn checkout(id: &str, second: i64, customer: &str, over: &Value) -> Value {
    let session = json!({
        "id": "cs_1", "object": "checkout.session", "mode": "subscription", "payment_status": "paid",
        "customer": customer, "subscription": null, "client_reference_id": null, "payment_link": null,
        "metadata": {},
    });
    let mut session = with(session, over);
    let tenant = session["client_reference_id"].as_str().and_then(|id| TenantId::parse(id).ok());
    if let (Some(tenant), Value::Null) = (tenant, &session["payment_link"]) {
        session["client_reference_id"] = references().reference(&tenant).into();
    }
    event(id, second, "checkout.session.completed", &session)
}
