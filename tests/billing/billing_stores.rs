//! The memory store, SQLite and PostgreSQL reach the same billing state after every event.

use std::sync::Arc;

use serde_json::{Value, json};
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeWebhook, sign};
use tenancy::billing::{BillingPolicy, BillingStore, EventOutcome, UsageError};
use tenancy::clock::{Clock, ManualClock, Timestamp};
use tenancy::plan::Catalog;
use tenancy::store::{MemoryStore, SqlStore};
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore};

use tenancy::ErrorKind;

use crate::common::{CATALOG, TestBackend};

const SECRET: &str = "whsec_stores";
const START: i64 = 1_700_000_000;

/// One store with its webhook endpoint.
struct Side {
    webhook: StripeWebhook,
    billing: Arc<dyn BillingStore>,
    tenants: Arc<dyn TenantStore>,
    clock: Arc<ManualClock>,
}

impl Side {
    async fn new<S: BillingStore + TenantStore + 'static>(store: S, policy: BillingPolicy) -> Self {
        let store = Arc::new(store);
        for name in ["acme", "globex"] {
            let tenant = NewTenant::new(Slug::parse(name).unwrap(), name, "free")
                .id(TenantId::parse(name).unwrap())
                .status(TenantStatus::Active);
            store.insert(tenant).await.unwrap();
        }
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START)));
        let webhook = StripeWebhook::new(
            SigningSecrets::new([SECRET]).unwrap(),
            Mode::Test,
            store.clone(),
            Arc::new(Catalog::from_toml(CATALOG).unwrap()),
            store.clone(),
        )
        .policy(policy)
        .with_clock(clock.clone());
        Self { webhook, billing: store.clone(), tenants: store, clock }
    }

    async fn send(&self, event: &Value) -> EventOutcome {
        let body = event.to_string();
        let signature = sign(SECRET, body.as_bytes(), self.clock.now());
        self.webhook.receive(body.as_bytes(), &[signature.as_bytes()]).await.unwrap()
    }

    /// The whole billing state, as text.
    async fn stand(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut tx = self.billing.begin().await.unwrap();
        for name in ["acme", "globex"] {
            let id = TenantId::parse(name).unwrap();
            lines.push(format!("{:?}", self.tenants.by_id(&id).await.unwrap()));
            lines.push(format!("{:?}", tx.subscriptions(&id).await.unwrap()));
            lines.push(format!("{:?}", tx.disputes(&id).await.unwrap()));
        }
        for customer in ["cus_1", "cus_2", "cus_3"] {
            lines.push(format!("{:?}", tx.tenant_of_customer(customer).await.unwrap()));
            lines.push(format!("{:?}", tx.take_quarantined(Some(customer), None).await.unwrap()));
        }
        while let Some(row) = tx.due_notification(Timestamp::from_seconds(i64::MAX)).await.unwrap() {
            lines.push(format!("{:?} {:?} {} {:?}", row.tenant, row.event, row.kind, row.created));
            tx.delete_notification(&row.id).await.unwrap();
        }
        lines
    }
}

/// Pseudo-random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        of[usize::try_from(self.0 >> 33).unwrap() % of.len()]
    }
}

fn event(dice: &mut Dice, n: usize) -> Value {
    let customer = dice.roll(&["cus_1", "cus_2", "cus_3"]);
    let subscription = dice.roll(&["sub_1", "sub_2", "sub_3"]);
    let tenant = match dice.roll(&["acme", "globex", "nobody", ""]) {
        "" => json!({}),
        tenant => json!({ "tenant_id": tenant }),
    };
    let status =
        dice.roll(&["active", "active", "trialing", "past_due", "unpaid", "canceled", "incomplete", "novel"]);
    let price = dice.roll(&["price_pro", "price_pro", "price_enterprise", "price_unknown"]);
    let created = START + i64::from(dice.roll(&["0", "1", "1", "2", "30"]).parse::<i32>().unwrap());
    let (kind, object) = match dice.roll(&[
        "subscription",
        "subscription",
        "subscription",
        "checkout",
        "paid",
        "failed",
        "stated",
        "customer",
        "recorded",
    ]) {
        "checkout" => (
            "checkout.session.completed",
            json!({ "id": "cs_1", "object": "checkout.session", "mode": "subscription", "customer": customer,
                "subscription": subscription, "payment_status": "paid", "metadata": tenant }),
        ),
        "paid" => (
            "invoice.paid",
            json!({ "id": "in_1", "object": "invoice", "customer": customer, "subscription": subscription,
                "amount_paid": 1000, "currency": "eur" }),
        ),
        "failed" => (
            "invoice.payment_failed",
            json!({ "id": "in_2", "object": "invoice", "customer": customer, "subscription": subscription,
                "attempt_count": 1 }),
        ),
        "customer" => ("customer.deleted", json!({ "id": customer, "object": "customer" })),
        "recorded" => (
            dice.roll(&[
                "invoice.payment_succeeded",
                "invoice.upcoming",
                "charge.refunded",
                "charge.dispute.created",
                "entitlements.active_entitlement_summary.updated",
                "subscription_schedule.updated",
                "checkout.session.expired",
                "checkout.session.async_payment_succeeded",
                "customer.updated",
            ]),
            json!({ "id": "x_1", "customer": customer, "subscription": subscription, "metadata": tenant,
                "mode": "subscription", "payment_status": "paid",
                "status": dice.roll(&["needs_response", "won", "lost"]), "amount_paid": 1000, "amount_due": 1000 }),
        ),
        "stated" if status != "canceled" => (
            dice.roll(&[
                "customer.subscription.paused",
                "customer.subscription.resumed",
                "customer.subscription.trial_will_end",
            ]),
            json!({ "id": subscription, "object": "subscription", "customer": customer, "status": status,
                "trial_end": START + 9000, "metadata": tenant,
                "items": { "data": [{ "price": { "id": price }, "quantity": 1 }] } }),
        ),
        _ => (
            if status == "canceled" {
                "customer.subscription.deleted"
            } else {
                "customer.subscription.updated"
            },
            json!({ "id": subscription, "object": "subscription", "customer": customer, "status": status,
                "metadata": tenant, "items": { "data": [{ "price": { "id": price }, "quantity": 1 }] } }),
        ),
    };
    // Some events are delivered twice.
    let id = dice.roll(&[format!("evt_{n}").as_str(), format!("evt_{}", n / 2).as_str()]).to_owned();
    json!({ "id": id, "object": "event", "type": kind, "created": created, "livemode": false,
        "data": { "object": object } })
}

/// Removes every row of billing, and the tenants.
pub(crate) async fn clear<DB: TestBackend>(pool: &sqlx::Pool<DB>) {
    for table in [
        "subscriptions",
        "customers",
        "checkouts",
        "billing_events",
        "billing_quarantine",
        "billing_outbox",
        "billing_disputes",
        "tenants",
        "slugs",
    ] {
        DB::raw(pool, &format!("DELETE FROM tenancy_{table}")).await.unwrap();
    }
}

async fn the_sql_store_answers_as_the_memory_store_does<DB: TestBackend>() {
    let mut receipts = std::collections::BTreeSet::new();
    let mut graces = 0;
    let (pool, _cleanup) = DB::fresh(4).await;
    for seed in 0..40_u64 {
        let policy = if seed % 2 == 0 {
            BillingPolicy::new()
        } else {
            let day = std::time::Duration::from_hours(24);
            BillingPolicy::new().past_due_grace(day).suspend_disputed()
        };
        let memory = Side::new(MemoryStore::new(), policy.clone()).await;
        let sql = SqlStore::new(pool.clone());
        sql.migrate().await.unwrap();
        clear(&pool).await;
        let sql = Side::new(sql, policy).await;
        let mut dice = Dice(seed);
        for n in 0..14 {
            let event = event(&mut dice, n);
            let (expected, answered) = (memory.send(&event).await, sql.send(&event).await);
            assert_eq!(answered, expected, "seed {seed}, event {n}: {event}");
            receipts.insert(format!("{expected:?}").split([' ', '{']).next().unwrap().to_owned());
        }
        let mut due = Vec::new();
        for side in [&memory, &sql] {
            side.clock.advance_seconds(2 * 24 * 60 * 60);
            let mut tx = side.billing.begin().await.unwrap();
            let subscriptions = tx.due_subscriptions(side.clock.now(), 10).await.unwrap();
            let first = tx.due_subscriptions(side.clock.now(), 1).await.unwrap();
            assert_eq!(first[..], subscriptions[..first.len()]);
            drop(tx);
            due.push((subscriptions, side.webhook.apply_due(10).await.unwrap()));
            assert_eq!(side.webhook.apply_due(10).await.unwrap(), []);
        }
        assert_eq!(due[0], due[1], "seed {seed}");
        graces += due[0].0.len();
        assert_eq!(sql.stand().await, memory.stand().await, "seed {seed}");
    }
    assert!(graces > 2, "{graces} graces ended");
    assert!(receipts.len() >= 6, "the histories reach too little: {receipts:?}");
}

async fn of_an_event_that_comes_many_times_at_once_one_counts<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(8).await;
    let store = SqlStore::new(pool);
    store.migrate().await.unwrap();
    let side = Arc::new(Side::new(store, BillingPolicy::new()).await);
    let event = json!({ "id": "evt_1", "object": "event", "type": "customer.subscription.created", "created": START,
        "livemode": false, "data": { "object": { "id": "sub_1", "object": "subscription", "customer": "cus_1",
            "status": "active", "metadata": { "tenant_id": "acme" },
            "items": { "data": [{ "price": { "id": "price_pro" } }] } } } });
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let (side, event) = (side.clone(), event.clone());
            tokio::spawn(async move { side.send(&event).await })
        })
        .collect();
    let (mut applied, mut duplicates) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            EventOutcome::Applied { tenant } => {
                applied += 1;
                assert_eq!((tenant.plan(), tenant.version()), ("pro", 2));
            }
            EventOutcome::Duplicate => duplicates += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((applied, duplicates), (1, 11));
    let globex = side.tenants.by_id(&TenantId::parse("globex").unwrap()).await.unwrap().unwrap();
    assert_eq!((globex.plan(), globex.version()), ("free", 1));
}

async fn customers_and_checkouts_belong_to_one_tenant<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(4).await;
    let store = SqlStore::new(pool);
    store.migrate().await.unwrap();
    for side in [
        Side::new(store, BillingPolicy::new()).await,
        Side::new(MemoryStore::new(), BillingPolicy::new()).await,
    ] {
        let [acme, globex] = ["acme", "globex"].map(|name| TenantId::parse(name).unwrap());
        let at = |seconds| Timestamp::from_seconds(START + seconds);
        let mut tx = side.billing.begin().await.unwrap();
        for (customer, tenant, second) in
            [("cus_2", &acme, 1), ("cus_1", &acme, 2), ("cus_3", &globex, 3), ("cus_1", &globex, 9)]
        {
            let linked = tx.link_customer(customer, tenant, at(second)).await.unwrap();
            assert_eq!(linked, if customer == "cus_3" { globex.clone() } else { acme.clone() });
        }
        assert_eq!(tx.customers(&acme).await.unwrap(), ["cus_1", "cus_2"], "the newest first");
        assert_eq!(tx.customers(&globex).await.unwrap(), ["cus_3"]);

        tx.save_checkout("cs_2", &acme, at(0)).await.unwrap();
        tx.save_checkout("cs_1", &acme, at(5)).await.unwrap();
        tx.save_checkout("cs_3", &globex, at(5)).await.unwrap();
        assert_eq!(tx.save_checkout("cs_1", &globex, at(6)).await.unwrap_err().kind(), ErrorKind::Conflict);
        tx.commit().await.unwrap();

        let mut tx = side.billing.begin().await.unwrap();
        assert_eq!(tx.open_checkouts(&acme).await.unwrap(), ["cs_1", "cs_2"]);
        tx.close_checkout("cs_2", at(7)).await.unwrap();
        tx.close_checkout("cs_2", at(8)).await.unwrap();
        tx.close_checkout("cs_unknown", at(8)).await.unwrap();
        assert_eq!(tx.open_checkouts(&acme).await.unwrap(), ["cs_1"]);
        assert_eq!(tx.open_checkouts(&globex).await.unwrap(), ["cs_3"]);
        assert_eq!(tx.tenant_of_checkout("cs_2").await.unwrap(), Some(acme), "also after it is closed");
        tx.forget_events(at(5)).await.unwrap();
        assert_eq!(tx.tenant_of_checkout("cs_2").await.unwrap(), None);
        assert_eq!(tx.tenant_of_checkout("cs_3").await.unwrap(), Some(globex));
        tx.commit().await.unwrap();
    }
}

async fn usage_errors_are_kept_once_until_they_are_deleted<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(4).await;
    let store = SqlStore::new(pool);
    store.migrate().await.unwrap();
    for side in [
        Side::new(store, BillingPolicy::new()).await,
        Side::new(MemoryStore::new(), BillingPolicy::new()).await,
    ] {
        let error = |identifier: &str, second: i64, code: &str| UsageError {
            identifier: identifier.to_owned(),
            code: code.to_owned(),
            message: "Nö: 'quoted'".to_owned(),
            received: Timestamp::from_seconds(START + second),
        };
        let (late, b, a) = (error("c", 9, "late"), error("b-x", 5, "one"), error("b.a", 5, "two"));
        let mut tx = side.billing.begin().await.unwrap();
        for one in [&late, &b, &a, &error("c", 1, "again")] {
            tx.add_usage_error(one).await.unwrap();
        }
        assert_eq!(tx.usage_errors(10).await.unwrap(), [b.clone(), a.clone(), late.clone()]);
        assert_eq!(tx.usage_errors(1).await.unwrap(), std::slice::from_ref(&b));
        tx.commit().await.unwrap();
        let mut tx = side.billing.begin().await.unwrap();
        tx.delete_usage_error("b-x").await.unwrap();
        tx.delete_usage_error("unknown").await.unwrap();
        assert_eq!(tx.usage_errors(10).await.unwrap(), [a, late.clone()]);
        tx.forget_events(Timestamp::from_seconds(START + 9)).await.unwrap();
        assert_eq!(tx.usage_errors(10).await.unwrap(), std::slice::from_ref(&late));
        drop(tx);
        assert_eq!(side.billing.begin().await.unwrap().usage_errors(10).await.unwrap().len(), 3);
    }
}

on_every_database!(
    usage_errors_are_kept_once_until_they_are_deleted,
    customers_and_checkouts_belong_to_one_tenant,
    the_sql_store_answers_as_the_memory_store_does,
    of_an_event_that_comes_many_times_at_once_one_counts,
);
