//! Events that state a subscription beside its `updated`: `paused`, `resumed`, `pending_update_*`, `trial_will_end`.

use serde_json::{Value, json};
use tenancy::billing::Subscription;
use tenancy::store::{MemoryStore, SqlStore};
use tenancy::tenant::TenantStatus;

use super::{Dice, History, Side, permutations};
use crate::billing_stores::clear;
use crate::common::TestBackend;
use crate::stripe_fixture::{Fixture, START, created, deleted, event, stamped, subscription, updated, with};

const STATEMENTS: [&str; 5] = [
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "customer.subscription.trial_will_end",
];

fn acme(status: &str, price: &str) -> Value {
    stamped(subscription("sub_1", "cus_1", status, price), "acme")
}

/// The history, with statements of the states in it; the second value marks the events that are statements.
fn with_statements(mut history: History, dice: &mut Dice) -> (History, Vec<bool>) {
    let mut is_statement = Vec::new();
    let mut events = Vec::new();
    for mut event in history.events {
        let states = event["type"] != "customer.subscription.deleted" && dice.roll(2) == 0;
        events.push(event.clone());
        is_statement.push(false);
        if states {
            event["id"] = json!(format!("evt_s{}", events.len()));
            event["type"] = json!(STATEMENTS[dice.roll(STATEMENTS.len())]);
            event["data"].as_object_mut().unwrap().remove("previous_attributes");
            events.push(event);
            is_statement.push(true);
        }
    }
    history.events = events;
    (history, is_statement)
}

fn is_marked(subscriptions: &[Subscription]) -> bool {
    subscriptions.iter().any(Subscription::needs_refresh)
}

#[tokio::test]
async fn statements_change_no_result_in_any_order() {
    let (mut compared, mut clear) = (0, 0);
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let history = History::random(&mut dice, 1 + usize::from(seed % 3 == 0), 3);
        let (history, is_statement) = with_statements(history, &mut dice);
        if !is_statement.contains(&true) {
            continue;
        }
        for mut order in permutations(history.events.len()) {
            // Of the longest histories a third of the orders.
            if order.len() > 5 && dice.roll(3) != 0 {
                continue;
            }
            let changes: Vec<usize> = order.iter().copied().filter(|at| !is_statement[*at]).collect();
            // One event comes twice.
            order.insert(dice.roll(order.len() + 1), order[dice.roll(order.len())]);
            let with = Side::new(MemoryStore::new()).await.after(&history, &order).await;
            let without = Side::new(MemoryStore::new()).await.after(&history, &changes).await;
            assert_eq!(is_marked(&with.1), is_marked(&without.1), "seed {seed}: {order:?}");
            assert_eq!(
                (with.0.plan(), with.0.status()),
                (without.0.plan(), without.0.status()),
                "seed {seed}: {order:?}"
            );
            compared += 1;
            if !is_marked(&with.1) {
                let (plan, status) = history.truth();
                assert_eq!((with.0.plan(), with.0.status()), (&*plan, status), "seed {seed}: {order:?}");
                clear += 1;
            }
        }
    }
    assert!(compared > 2000 && clear > compared / 2, "{compared} {clear}");
}

/// In every prefix of a delivery: where the changes that arrived make the subscription clear, so do they with the
/// statements.
#[tokio::test]
async fn a_statement_never_makes_a_clear_second_unclear() {
    let first = acme("trialing", "price_basic");
    let paused = acme("paused", "price_basic");
    let active = acme("active", "price_pro");
    let changes = [
        updated("evt_1", 1, &paused, &json!({ "status": "trialing" })),
        updated("evt_2", 1, &active, &json!({ "status": "paused", "items": first_items(&paused) })),
    ];
    let statements =
        [&first, &paused, &active].map(|state| event("evt_s", 1, "customer.subscription.paused", state));
    for order in permutations(5) {
        let with = Fixture::new().await;
        let without = Fixture::new().await;
        for fixture in [&with, &without] {
            let _ = fixture.send(&created("evt_0", 0, &first)).await;
        }
        let mut seen = 0;
        for at in order.clone() {
            if at < 2 {
                let _ = with.send(&changes[at]).await;
                let _ = without.send(&changes[at]).await;
                seen += 1;
            } else {
                let mut statement = statements[at - 2].clone();
                statement["id"] = json!(format!("evt_s{at}"));
                let _ = with.send(&statement).await;
            }
            if seen > 0 {
                let marked = |fixture: &Fixture| fixture.subscription("sub_1").unwrap().needs_refresh();
                assert_eq!(marked(&with), marked(&without), "{order:?} at {at}");
                assert_eq!(with.acme().await, without.acme().await, "{order:?} at {at}");
            }
        }
        assert_eq!(with.acme().await, ("pro".to_owned(), TenantStatus::Active), "{order:?}");
    }
}

fn first_items(subscription: &Value) -> Value {
    subscription["items"].clone()
}

#[tokio::test]
async fn many_statements_of_one_second_leave_room_for_its_changes() {
    let fixture = Fixture::new().await;
    let (active, paused) = (acme("active", "price_pro"), acme("paused", "price_pro"));
    let _ = fixture.send(&created("evt_0", 0, &active)).await;
    for n in 0..20 {
        let _ = fixture.send(&event(&format!("evt_s{n}"), 1, "customer.subscription.paused", &paused)).await;
    }
    assert!(!fixture.subscription("sub_1").unwrap().needs_refresh());
    assert_eq!(fixture.subscription("sub_1").unwrap().as_of().event, "evt_s9", "the greatest id");
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Suspended));
    let _ = fixture.send(&updated("evt_1", 1, &paused, &json!({ "status": "active" }))).await;
    let _ = fixture.send(&updated("evt_2", 1, &active, &json!({ "status": "paused" }))).await;
    let _ = fixture
        .send(&updated("evt_3", 1, &acme("past_due", "price_pro"), &json!({ "status": "active" })))
        .await;
    for n in 20..40 {
        let _ = fixture.send(&event(&format!("evt_s{n}"), 1, "customer.subscription.resumed", &active)).await;
    }
    assert!(!fixture.subscription("sub_1").unwrap().needs_refresh());
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::PastDue));
}

#[tokio::test]
async fn statements_that_differ_are_unclear_until_the_change_arrives() {
    let fixture = Fixture::new().await;
    let (active, paused) = (acme("active", "price_pro"), acme("paused", "price_pro"));
    let _ = fixture.send(&event("evt_1", 1, "customer.subscription.resumed", &active)).await;
    let outcome = fixture.send(&event("evt_2", 1, "customer.subscription.paused", &paused)).await;
    assert_eq!(outcome.as_str(), "needs-refresh");
    assert!(fixture.subscription("sub_1").unwrap().needs_refresh());
    let _ = fixture.send(&updated("evt_3", 1, &paused, &json!({ "status": "active" }))).await;
    assert!(!fixture.subscription("sub_1").unwrap().needs_refresh());
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Suspended));
}

#[tokio::test]
async fn each_statement_alone_sets_the_state() {
    for kind in STATEMENTS {
        for (status, expected) in [
            ("trialing", TenantStatus::Trialing),
            ("active", TenantStatus::Active),
            ("past_due", TenantStatus::PastDue),
            ("paused", TenantStatus::Suspended),
        ] {
            let fixture = Fixture::new().await;
            let _ = fixture.send(&created("evt_0", 0, &acme("incomplete", "price_basic"))).await;
            // After the creation, whichever of the two arrives first.
            let _ = fixture.send(&event("evt_1", 0, kind, &acme(status, "price_pro"))).await;
            assert_eq!(fixture.acme().await, ("pro".to_owned(), expected), "{kind}");
            assert!(!fixture.subscription("sub_1").unwrap().needs_refresh());
        }
    }
}

#[tokio::test]
async fn the_end_of_a_trial_is_announced_only_if_it_is_ahead() {
    for (status, trial_end, announced) in [
        ("trialing", json!(START + 3 * 86_400), true),
        ("trialing", json!((START + 3 * 86_400).to_string()), true),
        ("trialing", json!(START), false),
        ("trialing", json!(START - 1), false),
        ("trialing", Value::Null, false),
        ("active", json!(START + 86_400), false),
        ("canceled", json!(START + 86_400), false),
    ] {
        let fixture = Fixture::new().await;
        let object = with(acme(status, "price_pro"), &json!({ "trial_end": trial_end }));
        let sent = event("evt_1", 0, "customer.subscription.trial_will_end", &object);
        let _ = fixture.send(&sent).await;
        assert_eq!(fixture.send(&sent).await.as_str(), "duplicate");
        let records = fixture.audit("billing.trial_will_end");
        assert_eq!(records.len(), usize::from(announced), "{status} {trial_end}");
        for record in records {
            assert_eq!(record.tenant().to_string(), "acme");
            assert_eq!(record.details()["trial_end"], (START + 3 * 86_400).to_string());
        }
        fixture.acme().await;
    }
    // Another event about a subscription in trial announces nothing.
    let fixture = Fixture::new().await;
    let object = with(acme("trialing", "price_pro"), &json!({ "trial_end": START + 86_400 }));
    let _ = fixture.send(&updated("evt_1", 0, &object, &json!({}))).await;
    assert!(fixture.audit("billing.trial_will_end").is_empty());
    // The subscription has ended meanwhile.
    let _ = fixture.send(&deleted("evt_2", 5, &object)).await;
    let outcome = fixture.send(&event("evt_3", 6, "customer.subscription.trial_will_end", &object)).await;
    assert_eq!(outcome.as_str(), "stale");
    assert!(fixture.audit("billing.trial_will_end").is_empty());
    assert_eq!(fixture.acme().await, ("free".to_owned(), TenantStatus::Active));
}

async fn lives_with_statements_end_alike_in_every_store<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(2).await;
    SqlStore::new(pool.clone()).migrate().await.unwrap();
    for seed in 2000..2025 {
        let mut dice = Dice(seed);
        let history = History::random(&mut dice, 2, 7);
        let (history, _) = with_statements(history, &mut dice);
        let mut order: Vec<usize> = (0..history.events.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, dice.roll(at + 1));
        }
        clear(&pool).await;
        let sql = Side::new(SqlStore::new(pool.clone())).await.after(&history, &order).await;
        let memory = Side::new(MemoryStore::new()).await.after(&history, &order).await;
        assert_eq!(sql, memory, "seed {seed}: {order:?}");
    }
}

on_every_database!(lives_with_statements_end_alike_in_every_store);
