//! The outbox: what is written with the tenant, once, and delivered in order to one node at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeWebhook, sign};
use tenancy::billing::{BillingStore, Notification, OutboxRow};
use tenancy::clock::{Clock, ManualClock, Timestamp};
use tenancy::plan::Catalog;
use tenancy::store::{MemoryStore, SqlStore};
use tenancy::tenant::{NewTenant, TenantId, TenantStatus, TenantStore};

use crate::common::TestBackend;
use crate::stripe_fixture::{
    Fixture, PLANS, SECRET, START, created, deleted, event, item, stamped, subscription, updated, with,
};
use crate::stripe_lives::permutations;

fn sub(id: &str, tenant: &str, status: &str, price: &str) -> Value {
    stamped(subscription(id, &format!("cus_{tenant}"), status, price), tenant)
}

fn acme(status: &str, price: &str) -> Value {
    sub("sub_1", "acme", status, price)
}

fn was(status: &str) -> Value {
    json!({ "status": status })
}

/// What the notification is, in few words: `deactivate`, `trial_ending`, `unmapped_price`.
fn word(kind: &str) -> String {
    let kind: Value = serde_json::from_str(kind).unwrap();
    let word = kind.get("command").or(kind.get("review")).unwrap_or(&kind["type"]);
    word.as_str().unwrap().to_owned()
}

fn words(rows: &[OutboxRow]) -> Vec<String> {
    rows.iter().map(|row| word(&row.kind)).collect()
}

/// Two tenants on a store.
struct Side {
    webhook: StripeWebhook,
    clock: Arc<ManualClock>,
}

impl Side {
    async fn new<S: BillingStore + TenantStore + 'static>(store: S) -> Arc<Self> {
        let store = Arc::new(store);
        for name in ["acme", "globex"] {
            let tenant = NewTenant::active(name, "free").unwrap().id(TenantId::parse(name).unwrap());
            store.insert(tenant).await.unwrap();
        }
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START)));
        let catalog = Catalog::from_toml(&format!("fallback = \"free\"\n{PLANS}")).unwrap();
        let secrets = SigningSecrets::new([SECRET]).unwrap();
        let webhook = StripeWebhook::new(secrets, Mode::Test, store.clone(), catalog, store.clone())
            .with_clock(clock.clone());
        Arc::new(Self { webhook, clock })
    }

    async fn send(&self, event: &Value) {
        let body = event.to_string();
        let signature = sign(SECRET, body.as_bytes(), self.clock.now());
        let _ = self.webhook.receive(body.as_bytes(), &[signature.as_bytes()]).await.unwrap();
    }

    /// Delivers up to `limit`, and returns what was handled, as `tenant word`.
    async fn deliver(&self, limit: u16) -> Vec<String> {
        let handled = Mutex::new(Vec::new());
        let count = self
            .webhook
            .deliver_notifications(limit, async |notification| {
                handled.lock().unwrap().push(line(&notification));
                Ok::<(), &str>(())
            })
            .await
            .unwrap();
        let handled = handled.into_inner().unwrap();
        assert_eq!(handled.len(), usize::from(count));
        handled
    }
}

fn line(notification: &Notification) -> String {
    format!("{} {}", notification.tenant, word(&serde_json::to_string(&notification.kind).unwrap()))
}

/// A purchase of each tenant; what globex is notified of is that of acme.
async fn both_buy(side: &Side) {
    for (n, tenant) in ["acme", "globex"].into_iter().enumerate() {
        let bought = sub(&format!("sub_{tenant}"), tenant, "active", "price_pro");
        side.send(&created(&format!("e{n}"), 1, &bought)).await;
    }
}

const BOUGHT: [&str; 3] = ["activate", "change_plan", "change_seats"];

#[tokio::test]
async fn a_life_gives_its_commands_once() {
    let fixture = Fixture::new().await;
    let seats = with(acme("active", "price_pro"), &json!({ "items": { "data": [item("price_pro", 5)] } }));
    let ending = with(acme("active", "price_pro"), &json!({ "cancel_at": START + 9000 }));
    for (event, expected) in [
        (created("e1", 1, &acme("incomplete", "price_pro")), &[][..]),
        (updated("e2", 2, &acme("active", "price_pro"), &was("incomplete")), &BOUGHT),
        (updated("e3", 3, &seats, &json!({})), &["change_seats"]),
        (
            updated("e4", 4, &acme("past_due", "price_basic"), &json!({})),
            &["change_plan", "change_seats", "enter_past_due"],
        ),
        (updated("e5", 5, &acme("unpaid", "price_basic"), &json!({})), &["suspend"]),
        (updated("e6", 6, &acme("active", "price_pro"), &json!({})), &["change_plan", "recover"]),
        (updated("e7", 7, &acme("paused", "price_pro"), &json!({})), &["pause"]),
        (updated("e8", 8, &ending, &json!({})), &["resume", "schedule_cancel"]),
        (updated("e9", 9, &acme("active", "price_pro"), &json!({})), &["unschedule_cancel"]),
        (
            updated("e10", 10, &acme("novel", "price_other"), &json!({})),
            &["unknown_status", "unmapped_price"],
        ),
        (updated("e11", 11, &acme("novel", "price_other"), &json!({})), &[]),
        (deleted("e12", 12, &acme("active", "price_pro")), &["deactivate", "change_plan"]),
        (
            created("e13", 13, &sub("sub_2", "acme", "trialing", "price_pro")),
            &["reactivate", "change_plan", "change_seats"],
        ),
    ] {
        let before = fixture.store.billing_outbox().unwrap().len();
        let _ = fixture.send(&event).await;
        let _ = fixture.send(&event).await;
        let rows = fixture.store.billing_outbox().unwrap();
        assert_eq!(words(&rows[before..]), expected, "{event}");
        for row in &rows[before..] {
            assert_eq!(
                (row.tenant.to_string(), row.event.as_deref()),
                ("acme".to_owned(), event["id"].as_str())
            );
        }
    }
    fixture.acme().await;
}

/// In whatever order, and with every event twice, each notification that has a name of its own is there once.
#[tokio::test]
async fn payments_and_trials_are_notified_once_in_every_order() {
    let invoice = |over: &Value| {
        let invoice = json!({ "id": "in_1", "customer": "cus_acme", "subscription": "sub_1", "amount_due": 900,
            "currency": "eur", "attempt_count": 1, "next_payment_attempt": START + 9000,
            "hosted_invoice_url": "https://invoice.stripe.com/i/1" });
        with(invoice, over)
    };
    let trial = with(acme("trialing", "price_pro"), &json!({ "trial_end": START + 86_400 }));
    let events = [
        created("e1", 0, &trial),
        event("e2", 1, "customer.subscription.trial_will_end", &trial),
        // Stripe made two events of one fact.
        event("e3", 1, "customer.subscription.trial_will_end", &trial),
        event("e4", 2, "invoice.payment_failed", &invoice(&json!({}))),
        event("e5", 2, "invoice.payment_failed", &invoice(&json!({}))),
        event("e6", 2, "invoice.payment_action_required", &invoice(&json!({}))),
        event(
            "e7",
            3,
            "invoice.payment_failed",
            &invoice(&json!({ "attempt_count": 2, "next_payment_attempt": null })),
        ),
    ];
    let mut orders = permutations(events.len());
    orders.retain({
        let mut n = 0;
        move |_| {
            n += 1;
            n % 7 == 0
        }
    });
    assert!(orders.len() >= 700);
    for order in orders {
        let fixture = Fixture::new().await;
        for at in order.iter().chain(&order) {
            let _ = fixture.send(&events[*at]).await;
        }
        let rows = fixture.store.billing_outbox().unwrap();
        let mut kinds: Vec<String> = rows.iter().map(|row| row.kind.clone()).collect();
        kinds.retain(|kind| !BOUGHT.contains(&&*word(kind)));
        kinds.sort();
        let failed = r#"{"type":"payment_failed","subscription":"sub_1","invoice":"in_1","amount":900,"currency":"eur","#;
        let next = (START + 9000) * 1_000_000;
        assert_eq!(
            kinds,
            [
                r#"{"type":"payment_action_required","subscription":"sub_1","invoice":"in_1","attempt":1,"hosted_url":"https://invoice.stripe.com/i/1"}"#.to_owned(),
                format!(r#"{failed}"attempt":1,"next_attempt":{next}}}"#),
                format!(r#"{failed}"attempt":2,"next_attempt":null}}"#),
                format!(r#"{{"type":"trial_ending","subscription":"sub_1","at":{}}}"#, (START + 86_400) * 1_000_000),
            ],
            "{order:?}"
        );
        assert_eq!(rows.len(), kinds.len() + BOUGHT.len());
        assert!(rows.iter().all(|row| row.tenant.to_string() == "acme"));
    }
}

/// A review item is reported when it arises, and when an operator's change makes it so, but not with every event.
#[tokio::test]
async fn a_review_is_reported_once() {
    let fixture = Fixture::new().await;
    let mut n = 0;
    let mut reviews = async |fixture: &Fixture, object: &Value| {
        n += 1;
        let before = fixture.store.billing_outbox().unwrap().len();
        let _ = fixture.send(&updated(&format!("e{n}"), n, object, &json!({}))).await;
        let rows = fixture.store.billing_outbox().unwrap();
        let kinds = rows[before..].iter().filter(|row| row.kind.contains("\"review\""));
        kinds.map(|row| word(&row.kind)).collect::<Vec<_>>()
    };
    let (pro, other) = (acme("active", "price_pro"), acme("active", "price_other"));
    assert!(reviews(&fixture, &pro).await.is_empty());
    // It arises, is there, is gone, and arises again.
    assert_eq!(reviews(&fixture, &other).await, ["unmapped_price"]);
    assert!(reviews(&fixture, &other).await.is_empty());
    assert!(reviews(&fixture, &pro).await.is_empty());
    assert_eq!(reviews(&fixture, &other).await, ["unmapped_price"]);
    assert!(reviews(&fixture, &pro).await.is_empty());
    let tenant = fixture.tenant("acme").await;
    let closed = fixture.store.update(&tenant.with_status(TenantStatus::Deactivated).unwrap()).await.unwrap();
    assert_eq!(reviews(&fixture, &pro).await, ["status_held"]);
    assert!(reviews(&fixture, &pro).await.is_empty());
    fixture.store.update(&closed.with_status(TenantStatus::Deleting).unwrap()).await.unwrap();
    assert_eq!(reviews(&fixture, &pro).await, ["orphan_subscriptions"]);
    assert!(reviews(&fixture, &pro).await.is_empty());
    assert!(fixture.webhook.recompute(closed.id()).await.unwrap().is_none());
    assert_eq!(fixture.store.billing_outbox().unwrap().len(), BOUGHT.len() + 4);
}

/// Events that arrive in another order give other steps, and the steps always lead to the same end.
#[tokio::test]
async fn the_commands_of_every_order_lead_to_the_same_end() {
    let events = [
        created("e1", 1, &acme("trialing", "price_basic")),
        updated("e2", 2, &acme("active", "price_pro"), &json!({ "status": "trialing" })),
        updated("e3", 3, &acme("past_due", "price_pro"), &was("active")),
        updated("e4", 4, &acme("unpaid", "price_pro"), &was("past_due")),
        updated("e5", 5, &acme("active", "price_basic"), &was("unpaid")),
    ];
    for order in permutations(events.len()) {
        let fixture = Fixture::new().await;
        for at in &order {
            let _ = fixture.send(&events[*at]).await;
        }
        let (mut plan, mut closed, mut live) = ("free".to_owned(), false, false);
        for row in fixture.store.billing_outbox().unwrap() {
            let kind: Value = serde_json::from_str(&row.kind).unwrap();
            match &*word(&row.kind) {
                "activate" => live = true,
                "suspend" => closed = true,
                "recover" | "enter_past_due" => closed = false,
                "change_plan" => {
                    assert_eq!(kind["from"], *plan);
                    kind["to"].as_str().unwrap().clone_into(&mut plan);
                }
                "change_seats" => {}
                other => panic!("{other}"),
            }
        }
        assert_eq!((&*plan, closed, live), ("basic", false, true), "{order:?}");
    }
}

async fn notifications_of_a_tenant_are_delivered_in_order(side: Arc<Side>) {
    both_buy(&side).await;
    assert_eq!(side.deliver(4).await.len(), 4);
    let mut handled = side.deliver(100).await;
    assert_eq!(handled.len(), 2);
    assert!(side.deliver(100).await.is_empty());
    // A failure holds up its own tenant only.
    let past_due = sub("sub_acme", "acme", "past_due", "price_pro");
    let unpaid = sub("sub_acme", "acme", "unpaid", "price_pro");
    side.send(&updated("f1", 2, &past_due, &json!({}))).await;
    side.send(&updated("f2", 3, &unpaid, &json!({}))).await;
    side.send(&updated("f3", 3, &sub("sub_globex", "globex", "unpaid", "price_pro"), &json!({}))).await;
    handled.clear();
    let mut pause = 30;
    for failure in 1..=10 {
        let failing = Mutex::new(Vec::new());
        side.webhook
            .deliver_notifications(100, async |notification| {
                failing.lock().unwrap().push(line(&notification));
                if notification.event.as_deref() == Some("f1") { Err("no mail server") } else { Ok(()) }
            })
            .await
            .unwrap();
        let failing = failing.into_inner().unwrap();
        handled.extend(failing.iter().filter(|line| *line != "acme enter_past_due").cloned());
        assert!(failing.contains(&"acme enter_past_due".to_owned()), "{failure}: {failing:?}");
        if failure < 10 {
            assert_eq!(handled, ["globex suspend"], "{failure}");
            assert!(side.webhook.failed_notifications(10).await.unwrap().is_empty());
            side.clock.advance_seconds(pause - 1);
            assert!(side.deliver(100).await.is_empty(), "{failure}");
            side.clock.advance_seconds(1);
            pause *= 2;
        }
    }
    // It is given up by name, and the next one is handled.
    assert_eq!(handled, ["globex suspend", "acme suspend"]);
    let failed = side.webhook.failed_notifications(10).await.unwrap();
    let [row] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(
        (word(&row.kind), row.error.as_deref()),
        ("enter_past_due".to_owned(), Some("no mail server"))
    );
    assert_eq!((row.failures, row.claims, row.failed), (10, 10, Some(side.clock.now())));
    assert!(!side.webhook.retry_notification("another id").await.unwrap());
    assert!(side.webhook.retry_notification(&row.id).await.unwrap());
    assert!(!side.webhook.retry_notification(&row.id).await.unwrap());
    assert!(side.webhook.failed_notifications(10).await.unwrap().is_empty());
    assert_eq!(side.deliver(100).await, ["acme enter_past_due"]);
    // What nobody fetches does not stay for ever.
    side.send(&updated("f4", 9, &sub("sub_acme", "acme", "active", "price_pro"), &json!({}))).await;
    side.clock.advance_seconds(41 * 86_400);
    side.webhook.forget_old_events().await.unwrap();
    assert!(side.deliver(100).await.is_empty());
}

/// A node that dies while it handles a notification loses it after the lease; a handler that always dies is given up.
async fn a_lease_ends(side: Arc<Side>) {
    both_buy(&side).await;
    for death in 1..=10 {
        let node = side.clone();
        let (started, alive) = tokio::sync::oneshot::channel();
        let started = Mutex::new(Some(started));
        let task = tokio::spawn(async move {
            let started = &started;
            let handler = |notification: Notification| async move {
                let started = started.lock().unwrap().take().unwrap();
                started.send(line(&notification)).unwrap();
                std::future::pending::<()>().await;
                Ok::<(), &str>(())
            };
            node.webhook.deliver_notifications(1, handler).await
        });
        // Both tenants have something due at the same time, so acme is first.
        assert_eq!(alive.await.unwrap(), "acme activate", "{death}");
        task.abort();
        let _ = task.await;
        if death == 1 {
            assert_eq!(side.deliver(100).await, BOUGHT.map(|word| format!("globex {word}")));
        }
        side.clock.advance_seconds(299);
        assert!(side.deliver(100).await.is_empty());
        side.clock.advance_seconds(1);
    }
    assert_eq!(side.deliver(100).await, ["acme change_plan", "acme change_seats"]);
    let failed = side.webhook.failed_notifications(10).await.unwrap();
    assert_eq!(failed[0].error.as_deref(), Some("the handler did not return"));
}

/// A node whose lease ended does not undo what the next one did.
async fn a_late_node_changes_nothing(side: Arc<Side>) {
    both_buy(&side).await;
    let handled = Mutex::new(Vec::new());
    let count = side
        .webhook
        .deliver_notifications(1, async |notification| {
            handled.lock().unwrap().push(line(&notification));
            side.clock.advance_seconds(300);
            for _ in 0..9 {
                if side.deliver(1).await == ["acme activate"] {
                    handled.lock().unwrap().push("acme activate, again".to_owned());
                    break;
                }
            }
            Err("too late")
        })
        .await
        .unwrap();
    assert_eq!(count, 1);
    assert_eq!(handled.into_inner().unwrap(), ["acme activate", "acme activate, again"]);
    let rest = side.deliver(100).await;
    assert!(!rest.contains(&"acme activate".to_owned()) && rest.len() >= 2, "{rest:?}");
    assert!(side.webhook.failed_notifications(10).await.unwrap().is_empty());
}

/// Many nodes at once: each notification is handled once, those of a tenant in their order.
async fn several_nodes_handle_each_notification_once(side: Arc<Side>) {
    both_buy(&side).await;
    for n in 0..8_i64 {
        let status = if n % 2 == 0 { "unpaid" } else { "active" };
        for tenant in ["acme", "globex"] {
            let object = sub(&format!("sub_{tenant}"), tenant, status, "price_pro");
            side.send(&updated(&format!("u{n}_{tenant}"), 10 + n, &object, &json!({}))).await;
        }
    }
    let handled = Arc::new(Mutex::new(BTreeMap::<String, Vec<String>>::new()));
    let mut nodes = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (side, handled) = (side.clone(), handled.clone());
        nodes.spawn(async move {
            loop {
                let handled = &handled;
                let pass = |notification: Notification| async move {
                    let line = line(&notification);
                    let (tenant, word) = line.split_once(' ').unwrap();
                    tokio::task::yield_now().await;
                    handled.lock().unwrap().entry(tenant.to_owned()).or_default().push(word.to_owned());
                    Ok::<(), &str>(())
                };
                match side.webhook.deliver_notifications(3, pass).await {
                    Ok(_) if handled.lock().unwrap().values().map(Vec::len).sum::<usize>() >= 22 => break,
                    Ok(_) => tokio::task::yield_now().await,
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            }
        });
    }
    nodes.join_all().await;
    let handled = handled.lock().unwrap().clone();
    let mut expected: Vec<&str> = BOUGHT.to_vec();
    expected.extend(["suspend", "recover"].repeat(4));
    for tenant in ["acme", "globex"] {
        assert_eq!(handled[tenant], expected, "{tenant}");
    }
    assert!(side.deliver(100).await.is_empty());
}

macro_rules! on_every_store {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(super::Side::new(super::MemoryStore::new()).await).await;
                }
            )*
        }
        mod sql {
            use super::{Side, SqlStore, TestBackend};
            $(
                pub(crate) async fn $case<DB: TestBackend>() {
                    let (pool, _cleanup) = DB::fresh(8).await;
                    let store = SqlStore::new(pool);
                    store.migrate().await.unwrap();
                    super::$case(Side::new(store).await).await;
                }
            )*
            on_every_database!($($case),*);
        }
    };
}

on_every_store!(
    notifications_of_a_tenant_are_delivered_in_order,
    a_lease_ends,
    a_late_node_changes_nothing,
    several_nodes_handle_each_notification_once,
);
