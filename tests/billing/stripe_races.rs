//! Events, reads, reconciliations and the ends of graces at the same time, on PostgreSQL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::Postgres;
use tenancy::Result;
use tenancy::billing::stripe::{
    ApiRequest, Checkout, Mode, SigningSecrets, StripeApi, StripeBilling, StripeWebhook, sign,
};
use tenancy::billing::{BillingPolicy, BillingStore, EventOutcome};
use tenancy::clock::{Clock, ManualClock, Timestamp};
use tenancy::plan::Catalog;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStatus, TenantStore};

use crate::common::{Cleanup, TestBackend};
use crate::scripted_api::ScriptedApi;
use crate::stripe_fixture::{PLANS, SECRET, START, created, stamped, subscription, updated};

const DAY: i64 = 24 * 60 * 60;

/// The scripted Stripe, which others overtake.
#[derive(Debug, Clone, Default)]
struct Slow(ScriptedApi);

#[async_trait]
impl StripeApi for Slow {
    async fn send(&self, request: &ApiRequest) -> Result<Value> {
        let response = self.0.send(request).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        response
    }
}

struct Nodes {
    pool: sqlx::Pool<Postgres>,
    store: Arc<SqlStore<Postgres>>,
    clock: Arc<ManualClock>,
    api: ScriptedApi,
    billing: StripeBilling,
}

fn id(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

impl Nodes {
    async fn new() -> (Arc<Self>, Cleanup) {
        let (pool, cleanup) = Postgres::fresh(12).await;
        let store = Arc::new(SqlStore::new(pool.clone()));
        store.migrate().await.unwrap();
        for name in ["acme", "globex"] {
            let tenant = NewTenant::new(Slug::parse(name).unwrap(), name, "free")
                .id(id(name))
                .status(TenantStatus::Active);
            let _ = store.insert(tenant).await.unwrap();
        }
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START)));
        let catalog = Catalog::from_toml(&format!("fallback = \"free\"\n{PLANS}")).unwrap();
        let webhook = StripeWebhook::new(
            SigningSecrets::new([SECRET]).unwrap(),
            Mode::Test,
            store.clone(),
            Arc::new(catalog),
            store.clone(),
        )
        .policy(BillingPolicy::new().past_due_grace(Duration::from_hours(7 * 24)))
        .with_clock(clock.clone());
        let api = ScriptedApi::default();
        let slow = Arc::new(Slow(api.clone()));
        let billing = StripeBilling::new(webhook, slow, ["https://app.example.com"]).unwrap();
        (Arc::new(Self { pool, store, clock, api, billing }), cleanup)
    }

    async fn try_send(&self, event: &Value) -> Result<EventOutcome> {
        let body = event.to_string();
        let signature = sign(SECRET, body.as_bytes(), self.clock.now());
        self.billing.webhook().receive(body.as_bytes(), &[signature.as_bytes()]).await
    }

    async fn send(&self, event: &Value) -> EventOutcome {
        self.try_send(event).await.unwrap()
    }

    async fn tenant(&self, name: &str) -> Tenant {
        Tenant::clone(&self.store.by_id(&id(name)).await.unwrap().unwrap())
    }

    /// Waits until so many transactions wait for a lock.
    async fn waiting(&self, count: i64) {
        let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND database = \
                   (SELECT oid FROM pg_database WHERE datname = current_database())";
        let deadline = Instant::now() + Duration::from_secs(30);
        while Postgres::number(&self.pool, sql).await < count {
            assert!(Instant::now() < deadline, "nothing waits");
        }
    }
}

fn sub(tenant: &str, status: &str, price: &str) -> Value {
    stamped(subscription(&format!("sub_{tenant}"), &format!("cus_{tenant}"), status, price), tenant)
}

fn thin(event: &str, tenant: &str) -> Value {
    let object = format!("sub_{tenant}");
    json!({
        "id": event, "object": "v2.core.event", "type": "v1.customer.subscription.updated",
        "created": "2023-11-14T22:13:20.123Z", "livemode": false,
        "related_object": { "id": object, "type": "subscription", "url": format!("/v1/subscriptions/{object}") },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thin_event_during_the_end_of_a_grace_is_applied() {
    let (nodes, _cleanup) = Nodes::new().await;
    let _ = nodes.send(&created("evt_1", 0, &sub("acme", "active", "price_pro"))).await;
    let _ = nodes
        .send(&updated("evt_2", 10, &sub("acme", "past_due", "price_pro"), &json!({ "status": "active" })))
        .await;
    nodes.clock.advance_seconds(8 * DAY);
    nodes.api.subscription(&sub("acme", "active", "price_pro"));

    let mut held = nodes.store.begin().await.unwrap();
    held.lock_tenant(&id("acme")).await.unwrap();
    let due = tokio::spawn({
        let nodes = nodes.clone();
        async move { nodes.billing.webhook().apply_due(10).await.unwrap().len() }
    });
    nodes.waiting(1).await;
    let paid = tokio::spawn({
        let nodes = nodes.clone();
        async move { nodes.send(&thin("evt_3", "acme")).await }
    });
    nodes.waiting(2).await;
    drop(held);
    assert_eq!(due.await.unwrap(), 1);
    let outcome = paid.await.unwrap();
    assert!(matches!(outcome, EventOutcome::Applied { .. }), "{outcome:?}");
    let acme = nodes.tenant("acme").await;
    assert_eq!((acme.plan(), acme.status()), ("pro", TenantStatus::Active));
    assert_eq!(nodes.tenant("globex").await.version(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_and_a_read_lock_in_the_same_order() {
    let (nodes, _cleanup) = Nodes::new().await;
    let _ = nodes.send(&created("evt_1", 0, &sub("acme", "active", "price_basic"))).await;
    nodes.api.subscription(&sub("acme", "active", "price_pro"));
    nodes.clock.advance_seconds(1_000);
    // The customer is locked as by an event that has come this far.
    let mut held = nodes.store.begin().await.unwrap();
    held.advisory_lock("cus_acme").await.unwrap();
    let read = tokio::spawn({
        let nodes = nodes.clone();
        async move { nodes.billing.sync_now(&id("acme")).await.unwrap() }
    });
    nodes.waiting(1).await;
    // It holds no other lock while it waits, or the two could wait for each other.
    let sql = "SELECT count(*) FROM pg_locks WHERE granted AND locktype = 'advisory' AND database = \
               (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(Postgres::number(&nodes.pool, sql).await, 1);
    drop(held);
    assert_eq!(read.await.unwrap().plan(), "pro");
    assert_eq!(nodes.tenant("globex").await.version(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_ends_as_stripe_says() {
    let (nodes, _cleanup) = Nodes::new().await;
    nodes
        .api
        .put("/v1/prices/price_pro", &json!({ "id": "price_pro", "lookup_key": null, "product": "prod_1" }));
    for (name, price) in [("acme", "price_basic"), ("globex", "price_pro")] {
        let _ = nodes.send(&created(&format!("evt_{name}"), 0, &sub(name, "active", price))).await;
    }
    for round in 0..4_i64 {
        nodes.clock.advance_seconds(1_000);
        let at = (round + 1) * 1_000;
        let (acme, globex) =
            if round % 2 == 0 { ("price_pro", "price_basic") } else { ("price_basic", "price_pro") };
        for (name, price) in [("acme", acme), ("globex", globex)] {
            nodes.api.subscription(&sub(name, "active", price));
            let id = format!("snapshot_{name}_{round}");
            nodes
                .api
                .put(&format!("/v1/events/{id}"), &updated(&id, at, &sub(name, "active", price), &json!({})));
        }
        let mut tasks = Vec::new();
        for node in 0..8 {
            for (name, price) in [("acme", acme), ("globex", globex)] {
                let nodes = nodes.clone();
                tasks.push(tokio::spawn(async move {
                    let webhook = nodes.billing.webhook();
                    match node {
                        0 => drop(nodes.send(&thin(&format!("thin_{name}_{round}"), name)).await),
                        1 => drop(nodes.send(&thin(&format!("other_{name}_{round}"), name)).await),
                        2 | 3 => {
                            let id = format!("snapshot_{name}_{round}");
                            let object = sub(name, "active", price);
                            drop(nodes.send(&updated(&id, at, &object, &json!({}))).await);
                        }
                        4 => drop(nodes.billing.sync_now(&id(name)).await.unwrap()),
                        5 => drop(nodes.billing.reconcile().await.unwrap()),
                        6 => {
                            let checkout = Checkout::new(
                                "price_pro",
                                "https://app.example.com/",
                                "https://app.example.com/",
                            );
                            nodes.billing.checkout(&id(name), &checkout).await.unwrap_err();
                        }
                        _ => {
                            webhook.apply_due(10).await.unwrap();
                            nodes.billing.refresh_unclear(10).await.unwrap();
                        }
                    }
                }));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        for (name, price) in [("acme", acme), ("globex", globex)] {
            let tenant = nodes.tenant(name).await;
            let plan = price.trim_start_matches("price_");
            assert_eq!((tenant.plan(), tenant.status()), (plan, TenantStatus::Active), "{name} {round}");
        }
        assert!(nodes.billing.webhook().unclear_subscriptions(10).await.unwrap().is_empty());
        assert!(nodes.billing.webhook().quarantined(10).await.unwrap().is_empty());
    }
}
