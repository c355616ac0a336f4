//! What the states of subscriptions mean for access under each policy.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeWebhook, sign};
use tenancy::billing::{BillingPolicy, BillingStore, Subscription};
use tenancy::clock::{Clock, ManualClock, Timestamp};
use tenancy::plan::Catalog;
use tenancy::store::SqlStore;
use tenancy::tenant::TenantStatus::{Active, Deactivated, PastDue, Suspended, Trialing};
use tenancy::tenant::{NewTenant, TenantId, TenantStatus, TenantStore};

use crate::common::TestBackend;
use crate::stripe_fixture::{
    Fixture, PLANS, SECRET, START, created, deleted, event, item, stamped, subscription, updated, with,
};
use crate::stripe_lives::permutations;

const DAY: i64 = 24 * 60 * 60;

fn days(days: u64) -> Duration {
    Duration::from_hours(24 * days)
}

async fn under(policy: BillingPolicy) -> Fixture {
    let fixture = Fixture::new().await;
    let webhook = fixture.webhook.clone().policy(policy);
    Fixture { webhook, ..fixture }
}

fn sub(status: &str) -> Value {
    stamped(subscription("sub_1", "cus_1", status, "price_pro"), "acme")
}

fn seats(status: &str, seats: u64) -> Value {
    with(sub(status), &json!({ "items": { "data": [item("price_pro", seats)] } }))
}

fn was(status: &str) -> Value {
    json!({ "status": status })
}

/// The commands without those of plans and seats.
fn commands(fixture: &Fixture) -> Vec<String> {
    let mut commands = Vec::new();
    for row in fixture.store.billing_outbox().unwrap() {
        assert_eq!(row.tenant.to_string(), "acme");
        let kind: Value = serde_json::from_str(&row.kind).unwrap();
        commands.extend(kind["command"].as_str().map(str::to_owned));
    }
    commands.retain(|command| !command.starts_with("change_"));
    commands
}

#[tokio::test]
async fn by_default_only_stripe_closes_a_tenant() {
    let fixture = under(BillingPolicy::default()).await;
    let paused = with(sub("past_due"), &json!({ "pause_collection": { "behavior": "void" } }));
    let _ = fixture.send(&created("e1", 1, &paused)).await;
    let _ = fixture.send(&dispute("e2", 1, "created", "dp_1", "needs_response")).await;
    fixture.clock.advance_seconds(1000 * DAY);
    assert_eq!(fixture.webhook.apply_due(10).await.unwrap(), []);
    assert_eq!(fixture.acme().await, ("pro".to_owned(), PastDue));
    assert_eq!(fixture.subscription("sub_1").unwrap().grace_ends(), None);
    let _ = fixture.send(&updated("e3", 2, &sub("unpaid"), &json!({}))).await;
    assert_eq!(fixture.acme().await, ("pro".to_owned(), Suspended));
    assert_eq!(commands(&fixture), ["activate", "enter_past_due", "suspend"]);
}

/// In every order of the events; either `apply_due` or another event is first after the end of the grace.
#[tokio::test]
async fn a_grace_ends_the_same_whatever_comes_first() {
    let events = [
        created("e1", 0, &sub("active")),
        updated("e2", DAY, &sub("past_due"), &was("active")),
        // Neither of these begins a grace of its own.
        updated("e3", 3 * DAY, &seats("past_due", 4), &json!({})),
        event("e4", 4 * DAY, "customer.subscription.pending_update_applied", &seats("past_due", 4)),
    ];
    let late = updated("e5", 5 * DAY, &seats("past_due", 6), &json!({}));
    for order in permutations(events.len()) {
        for event_first in [false, true] {
            let fixture = under(BillingPolicy::new().past_due_grace(days(7))).await;
            fixture.clock.advance_seconds(6 * DAY);
            for at in &order {
                let _ = fixture.send(&events[*at]).await;
            }
            let ends = Timestamp::from_seconds(START + 8 * DAY);
            assert_eq!(fixture.subscription("sub_1").unwrap().grace_ends(), Some(ends), "{order:?}");
            assert_eq!(fixture.acme().await, ("pro".to_owned(), PastDue), "{order:?}");
            fixture.clock.advance_seconds(2 * DAY - 1);
            assert_eq!(fixture.webhook.apply_due(10).await.unwrap(), []);
            fixture.clock.advance_seconds(1);
            if event_first {
                let _ = fixture.send(&late).await;
                assert_eq!(fixture.webhook.apply_due(10).await.unwrap(), []);
            } else {
                assert_eq!(fixture.webhook.apply_due(10).await.unwrap().len(), 1);
                assert_eq!(fixture.webhook.apply_due(10).await.unwrap(), []);
                let _ = fixture.send(&late).await;
            }
            assert_eq!(fixture.acme().await, ("pro".to_owned(), Suspended), "{order:?}");
            let stored = fixture.subscription("sub_1").unwrap();
            assert_eq!((stored.grace_ends(), stored.seats()), (None, Some(6)));
            let commands = commands(&fixture);
            assert_eq!(commands.iter().filter(|one| *one == "suspend").count(), 1, "{order:?}: {commands:?}");
            // A payment opens the tenant again, and the next grace begins anew.
            let _ = fixture.send(&updated("e6", 9 * DAY, &sub("active"), &was("past_due"))).await;
            assert_eq!(fixture.acme().await, ("pro".to_owned(), Active));
            let _ = fixture.send(&updated("e7", 10 * DAY, &sub("past_due"), &was("active"))).await;
            assert_eq!(fixture.acme().await, ("pro".to_owned(), PastDue));
            let ends = Timestamp::from_seconds(START + 17 * DAY);
            assert_eq!(fixture.subscription("sub_1").unwrap().grace_ends(), Some(ends));
        }
    }
}

#[tokio::test]
async fn no_grace_suspends_at_once() {
    let fixture = under(BillingPolicy::new().past_due_grace(Duration::ZERO)).await;
    let _ = fixture.send(&created("e1", 0, &sub("active"))).await;
    let _ = fixture.send(&updated("e2", 0, &sub("past_due"), &was("active"))).await;
    assert_eq!(fixture.acme().await, ("pro".to_owned(), Suspended));
    let _ = fixture.send(&updated("e3", 1, &sub("active"), &was("past_due"))).await;
    assert_eq!(fixture.acme().await, ("pro".to_owned(), Active));
    assert_eq!(commands(&fixture), ["activate", "suspend", "recover"]);
}

/// A subscription that is past due for too long does not close a tenant that pays for another one.
#[tokio::test]
async fn another_open_subscription_keeps_the_tenant_open() {
    let fixture = under(BillingPolicy::new().past_due_grace(days(1))).await;
    let second = stamped(subscription("sub_2", "cus_1", "trialing", "price_basic"), "acme");
    let _ = fixture.send(&created("e1", 0, &sub("past_due"))).await;
    fixture.clock.advance_seconds(DAY);
    let _ = fixture.send(&created("e2", 0, &second)).await;
    assert_eq!(fixture.acme().await, ("basic".to_owned(), Trialing));
    assert_eq!(fixture.webhook.apply_due(10).await.unwrap(), []);
    let _ = fixture.send(&deleted("e3", 1, &second)).await;
    assert_eq!(fixture.acme().await, ("pro".to_owned(), Suspended));
}

#[tokio::test]
async fn an_unpaid_tenant_is_deactivated_and_comes_back() {
    let fixture = under(BillingPolicy::new().deactivate_unpaid()).await;
    for (n, status, expected) in
        [(0, "active", Active), (1, "unpaid", Deactivated), (2, "active", Active), (3, "paused", Suspended)]
    {
        let _ = fixture.send(&updated(&format!("e{n}"), n, &sub(status), &json!({}))).await;
        assert_eq!(fixture.acme().await, ("pro".to_owned(), expected));
    }
    assert_eq!(commands(&fixture), ["activate", "deactivate", "reactivate", "pause"]);
}

#[tokio::test]
async fn a_paused_collection_pauses_the_tenant_in_every_order() {
    let paused = |status: &str| {
        with(sub(status), &json!({ "pause_collection": { "behavior": "keep_as_draft", "resumes_at": null } }))
    };
    // All in one second, so only the previous values order them.
    let events = [
        created("e1", 0, &sub("active")),
        updated("e2", 0, &paused("active"), &json!({ "pause_collection": null })),
        updated("e3", 0, &paused("past_due"), &was("active")),
    ];
    let resumed = updated("e4", 0, &sub("past_due"), &json!({ "pause_collection": { "behavior": "void" } }));
    for order in permutations(events.len()) {
        let fixture = under(BillingPolicy::new().suspend_paused_collection()).await;
        for at in &order {
            let _ = fixture.send(&events[*at]).await;
        }
        assert_eq!(fixture.acme().await, ("pro".to_owned(), Suspended), "{order:?}");
        assert!(!fixture.subscription("sub_1").unwrap().needs_refresh(), "{order:?}");
        let _ = fixture.send(&resumed).await;
        assert_eq!(fixture.acme().await, ("pro".to_owned(), PastDue), "{order:?}");
        let commands = commands(&fixture);
        assert!(commands.contains(&"pause".to_owned()), "{order:?}: {commands:?}");
    }
}

fn dispute(id: &str, second: i64, kind: &str, dispute: &str, status: &str) -> Value {
    let object = json!({ "id": dispute, "object": "dispute", "amount": 900, "currency": "eur", "status": status,
        "charge": { "id": "ch_1", "object": "charge", "customer": "cus_1" } });
    event(id, second, &format!("charge.dispute.{kind}"), &object)
}

#[tokio::test]
async fn a_dispute_suspends_until_it_is_won_in_every_order() {
    for (closed, expected) in [("won", Active), ("warning_closed", Active), ("lost", Suspended)] {
        let events = [
            dispute("d1", 1, "created", "dp_1", "needs_response"),
            dispute("d2", 2, "updated", "dp_1", "under_review"),
            dispute("d3", 2, "closed", "dp_1", closed),
        ];
        for order in permutations(events.len()) {
            let fixture = under(BillingPolicy::new().suspend_disputed()).await;
            let _ = fixture.send(&created("e1", 1, &sub("active"))).await;
            for at in &order {
                let _ = fixture.send(&events[*at]).await;
                let _ = fixture.send(&events[*at]).await;
            }
            assert_eq!(fixture.acme().await, ("pro".to_owned(), expected), "{closed} {order:?}");
            assert_eq!(fixture.audit("billing.dispute").len(), 3);
            // A renewal does not open it.
            let _ = fixture.send(&updated("e2", 9, &seats("active", 3), &json!({}))).await;
            assert_eq!(fixture.acme().await, ("pro".to_owned(), expected), "{closed} {order:?}");
        }
    }
}

#[tokio::test]
async fn each_open_dispute_suspends_and_only_by_the_policy() {
    let fixture = under(BillingPolicy::new().suspend_disputed()).await;
    let _ = fixture.send(&created("e1", 1, &sub("incomplete"))).await;
    let _ = fixture.send(&dispute("d1", 1, "created", "dp_1", "needs_response")).await;
    let _ = fixture.send(&dispute("d2", 1, "created", "dp_2", "needs_response")).await;
    // Nothing is bought, and the tenant is closed all the same.
    assert_eq!(fixture.acme().await, ("free".to_owned(), Suspended));
    let _ = fixture.send(&dispute("d3", 2, "closed", "dp_1", "won")).await;
    assert_eq!(fixture.acme().await, ("free".to_owned(), Suspended));
    let _ = fixture.send(&dispute("d4", 2, "closed", "dp_2", "won")).await;
    assert_eq!(fixture.acme().await, ("free".to_owned(), Active));
    assert_eq!(commands(&fixture), ["suspend", "recover"]);
    assert_eq!(fixture.audit("billing.disputed").len(), 2);
    // A dispute that came before the policy counts from the next computation on.
    let fixture = Fixture::new().await;
    let _ = fixture.send(&created("e1", 1, &sub("active"))).await;
    let _ = fixture.send(&dispute("d1", 1, "created", "dp_1", "needs_response")).await;
    assert_eq!(fixture.acme().await, ("pro".to_owned(), Active));
    let webhook = fixture.webhook.clone().policy(BillingPolicy::new().suspend_disputed());
    let acme = TenantId::parse("acme").unwrap();
    assert!(webhook.recompute(&acme).await.unwrap().is_some());
    assert_eq!(fixture.acme().await, ("pro".to_owned(), Suspended));
    assert!(fixture.webhook.recompute(&acme).await.unwrap().is_some());
    assert_eq!(fixture.acme().await, ("pro".to_owned(), Active));
}

/// Many nodes apply what is due, while the event of a payment arrives for one tenant.
async fn what_is_due_is_applied_once_across_nodes<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(8).await;
    let store = Arc::new(SqlStore::new(pool));
    store.migrate().await.unwrap();
    let names: Vec<String> = (0..6).map(|n| format!("tenant-{n}")).collect();
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START)));
    let catalog = Catalog::from_toml(&format!("fallback = \"free\"\n{PLANS}")).unwrap();
    let secrets = SigningSecrets::new([SECRET]).unwrap();
    let webhook = StripeWebhook::new(secrets, Mode::Test, store.clone(), catalog, store.clone())
        .policy(BillingPolicy::new().past_due_grace(days(7)))
        .with_clock(clock.clone());
    let of = |n: usize, status: &str| {
        let object = subscription(&format!("sub_{n}"), &format!("cus_{n}"), status, "price_pro");
        stamped(object, &names[n])
    };
    let send = async |event: Value| {
        let body = event.to_string();
        let signature = sign(SECRET, body.as_bytes(), clock.now());
        webhook.receive(body.as_bytes(), &[signature.as_bytes()]).await.unwrap()
    };
    for (n, name) in names.iter().enumerate() {
        let id = TenantId::parse(name).unwrap();
        store.insert(NewTenant::active(name, "free").unwrap().id(id)).await.unwrap();
        // The last tenant is past due a day later, so it is not due yet.
        let second = if n == 5 { DAY } else { 0 };
        let _ = send(created(&format!("e{n}"), second, &of(n, "past_due"))).await;
    }
    clock.advance_seconds(7 * DAY);
    let mut nodes = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let webhook = webhook.clone();
        nodes.spawn(async move { webhook.apply_due(3).await.unwrap() });
    }
    let _ = send(updated("paid", DAY, &of(4, "active"), &was("past_due"))).await;
    let mut changed: Vec<String> = Vec::new();
    while let Some(node) = nodes.join_next().await {
        changed.extend(node.unwrap().iter().map(|tenant| tenant.id().to_string()));
    }
    while let Some(more) = Some(webhook.apply_due(3).await.unwrap()).filter(|more| !more.is_empty()) {
        changed.extend(more.iter().map(|tenant| tenant.id().to_string()));
    }
    changed.sort();
    changed.retain(|name| *name != names[4]);
    assert_eq!(changed, names[..4]);
    let status = async |n: usize| -> TenantStatus {
        store.by_id(&TenantId::parse(&names[n]).unwrap()).await.unwrap().unwrap().status()
    };
    for n in 0..4 {
        assert_eq!(status(n).await, Suspended, "{n}");
    }
    assert_eq!((status(4).await, status(5).await), (Active, PastDue));
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.due_subscriptions(clock.now(), 10).await.unwrap(), Vec::<Subscription>::new());
    assert_eq!(tx.due_subscriptions(Timestamp::from_seconds(START + 8 * DAY), 10).await.unwrap().len(), 1);
    let mut suspended = Vec::new();
    while let Some(row) = tx.due_notification(clock.now()).await.unwrap() {
        if row.kind.contains("suspend") {
            suspended.push(row.tenant.to_string());
        }
        tx.delete_notification(&row.id).await.unwrap();
    }
    suspended.sort();
    suspended.retain(|name| *name != names[4]);
    assert_eq!(suspended, names[..4]);
}

on_every_database!(what_is_due_is_applied_once_across_nodes);
