//! In every order of delivery, with any event twice, the tenant ends in the right state or is marked for a refresh.

use serde_json::{Value, json};
use tenancy::tenant::TenantStatus;

use crate::stripe_fixture::{Fixture, created, deleted, item, stamped, subscription, updated, with};

/// The events of one subscription, in the order in which they occurred, and the final state.
struct History {
    name: &'static str,
    events: Vec<Value>,
    plan: &'static str,
    status: TenantStatus,
    subscription: &'static str,
    /// The exact number of deliveries that mark the subscription, so that a guard that marks everything fails. A
    /// subscription is marked if it returns to a state within one second, or if the middle one of three changes in
    /// one second is missing.
    marked: usize,
}

impl History {
    /// The number of seats in the last event.
    fn quantity(&self) -> Option<u64> {
        self.events.last().unwrap()["data"]["object"]["items"]["data"][0]["quantity"].as_u64()
    }
}

fn sub(status: &str, price: &str) -> Value {
    stamped(subscription("sub_1", "cus_1", status, price), "acme")
}

fn items(price: &str, quantity: u64) -> Value {
    json!({ "object": "list", "data": [item(price, quantity)] })
}

fn many(status: &str, price: &str, quantity: u64) -> Value {
    with(sub(status, price), &json!({ "items": items(price, quantity) }))
}

fn was(status: &str) -> Value {
    json!({ "status": status })
}

fn had(price: &str, quantity: u64) -> Value {
    json!({ "items": items(price, quantity) })
}

#[expect(clippy::too_many_lines, reason = "a table of histories")]
fn histories() -> Vec<History> {
    use TenantStatus::{Active, PastDue, Suspended};
    let ending = |on: bool| with(sub("active", "price_pro"), &json!({ "cancel_at_period_end": on }));
    vec![
        History {
            name: "a checkout: incomplete, then active, in one second",
            events: vec![
                created("e1", 0, &sub("incomplete", "price_pro")),
                updated("e2", 0, &sub("active", "price_pro"), &was("incomplete")),
            ],
            plan: "pro",
            status: Active,
            subscription: "active",
            marked: 0,
        },
        History {
            name: "a trial, a failed payment, a recovery",
            events: vec![
                created("e1", 0, &sub("trialing", "price_pro")),
                updated("e2", 100, &sub("active", "price_pro"), &was("trialing")),
                updated("e3", 200, &sub("past_due", "price_pro"), &was("active")),
                updated("e4", 300, &sub("active", "price_pro"), &was("past_due")),
            ],
            plan: "pro",
            status: Active,
            subscription: "active",
            marked: 0,
        },
        History {
            name: "plan and status change in one second",
            events: vec![
                created("e1", 0, &sub("active", "price_basic")),
                updated("e2", 10, &sub("active", "price_pro"), &had("price_basic", 1)),
                updated("e3", 10, &sub("past_due", "price_pro"), &was("active")),
            ],
            plan: "pro",
            status: PastDue,
            subscription: "past_due",
            marked: 0,
        },
        History {
            name: "three changes in the second of the creation",
            events: vec![
                created("e1", 0, &sub("incomplete", "price_basic")),
                updated("e2", 0, &sub("active", "price_basic"), &was("incomplete")),
                updated("e3", 0, &sub("active", "price_pro"), &had("price_basic", 1)),
                updated("e4", 0, &sub("unpaid", "price_pro"), &was("active")),
            ],
            plan: "pro",
            status: Suspended,
            subscription: "unpaid",
            marked: 0,
        },
        History {
            name: "set to end, and ended at once",
            events: vec![
                created("e1", 0, &ending(false)),
                updated("e2", 5, &ending(true), &json!({ "cancel_at_period_end": false })),
                deleted("e3", 5, &ending(true)),
            ],
            plan: "free",
            status: Active,
            subscription: "canceled",
            marked: 0,
        },
        History {
            name: "a whole life in one second",
            events: vec![
                created("e1", 0, &sub("incomplete", "price_pro")),
                updated("e2", 0, &sub("active", "price_pro"), &was("incomplete")),
                deleted("e3", 0, &sub("active", "price_pro")),
            ],
            plan: "free",
            status: Active,
            subscription: "canceled",
            marked: 0,
        },
        History {
            name: "never paid",
            events: vec![
                created("e1", 0, &sub("incomplete", "price_pro")),
                updated("e2", 1, &sub("incomplete_expired", "price_pro"), &was("incomplete")),
            ],
            plan: "free",
            status: Active,
            subscription: "incomplete_expired",
            marked: 0,
        },
        History {
            name: "a change that is of no concern between two that are",
            events: vec![
                created("e1", 0, &sub("active", "price_basic")),
                updated("e2", 7, &sub("active", "price_pro"), &had("price_basic", 1)),
                updated("e3", 7, &sub("active", "price_pro"), &json!({ "description": null })),
                updated("e4", 7, &sub("past_due", "price_pro"), &was("active")),
            ],
            plan: "pro",
            status: PastDue,
            subscription: "past_due",
            marked: 0,
        },
        History {
            name: "a cancellation that is taken back, then another plan",
            events: vec![
                created("e1", 0, &with(sub("active", "price_basic"), &json!({ "cancel_at": 1_800_000_000 }))),
                updated("e2", 6, &sub("active", "price_basic"), &json!({ "cancel_at": 1_800_000_000 })),
                updated("e3", 6, &sub("active", "price_pro"), &had("price_basic", 1)),
            ],
            plan: "pro",
            status: Active,
            subscription: "active",
            marked: 0,
        },
        History {
            name: "seat after seat after seat in one second",
            events: vec![
                created("e1", 0, &many("active", "price_pro", 1)),
                updated("e2", 5, &many("active", "price_pro", 2), &had("price_pro", 1)),
                updated("e3", 5, &many("active", "price_pro", 3), &had("price_pro", 2)),
                updated("e4", 5, &many("active", "price_pro", 4), &had("price_pro", 3)),
            ],
            plan: "pro",
            status: Active,
            subscription: "active",
            marked: 0,
        },
        History {
            name: "a change that is of no concern, then two that are, in one second",
            events: vec![
                created("e1", 0, &many("active", "price_pro", 1)),
                updated("e2", 5, &many("active", "price_pro", 1), &json!({ "description": null })),
                updated("e3", 5, &many("active", "price_pro", 2), &had("price_pro", 1)),
                updated("e4", 5, &many("past_due", "price_pro", 2), &was("active")),
            ],
            plan: "pro",
            status: PastDue,
            subscription: "past_due",
            marked: 0,
        },
        History {
            name: "two seats and back in one second",
            events: vec![
                created("e1", 0, &many("active", "price_pro", 1)),
                updated("e2", 5, &many("active", "price_pro", 2), &had("price_pro", 1)),
                updated("e3", 5, &many("active", "price_pro", 1), &had("price_pro", 2)),
            ],
            plan: "pro",
            status: Active,
            subscription: "active",
            marked: 42,
        },
        History {
            name: "another plan, a failed payment and back to the first state in one second",
            events: vec![
                created("e1", 0, &sub("active", "price_basic")),
                updated("e2", 5, &sub("past_due", "price_basic"), &was("active")),
                updated("e3", 5, &sub("unpaid", "price_basic"), &was("past_due")),
                updated("e4", 5, &sub("active", "price_basic"), &was("unpaid")),
            ],
            plan: "basic",
            status: Active,
            subscription: "active",
            marked: 264,
        },
    ]
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    permutations(n - 1)
        .into_iter()
        .flat_map(|shorter| {
            (0..n).map(move |at| {
                let mut longer = shorter.clone();
                longer.insert(at, n - 1);
                longer
            })
        })
        .collect()
}

/// Every order of `n` events, alone and with any one event delivered a second time after the first.
fn deliveries(n: usize) -> Vec<Vec<usize>> {
    let mut all = permutations(n);
    for order in permutations(n) {
        for (first, &event) in order.iter().enumerate() {
            for at in first + 1..=n {
                let mut twice = order.clone();
                twice.insert(at, event);
                all.push(twice);
            }
        }
    }
    all
}

#[tokio::test]
async fn every_order_ends_right_or_is_marked() {
    let histories = histories();
    assert!(histories.len() >= 8);
    let mut counts = Vec::new();
    for history in &histories {
        let mut marked = 0;
        let truth = (history.plan.to_owned(), history.status);
        let in_order: Vec<usize> = (0..history.events.len()).collect();
        let orders = deliveries(history.events.len());
        let circular = history.marked == orders.len();
        for order in orders {
            let fixture = Fixture::new().await;
            let mut told = false;
            for &at in &order {
                told |= fixture.send(&history.events[at]).await.as_str() == "needs-refresh";
            }
            let stored = fixture.subscription("sub_1").unwrap();
            if stored.needs_refresh() {
                marked += 1;
                assert!(told, "{}: {order:?} is marked, and no receipt said so", history.name);
                assert!(circular || order != in_order, "{}: marked in order", history.name);
                assert_ne!(
                    history.subscription, "canceled",
                    "{}: {order:?}: the end is the end",
                    history.name
                );
                continue;
            }
            assert_eq!(fixture.acme().await, truth, "{}: {order:?}", history.name);
            assert_eq!(stored.prices()[0].quantity, history.quantity(), "{}: {order:?}", history.name);
            assert_eq!(stored.status().as_str(), history.subscription, "{}: {order:?}", history.name);
        }
        counts.push((history.name, marked));
    }
    let expected: Vec<_> = histories.iter().map(|history| (history.name, history.marked)).collect();
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn a_later_second_settles_what_was_marked() {
    let fixture = Fixture::new().await;
    let _ = fixture.send(&created("e1", 0, &many("active", "price_pro", 1))).await;
    let _ = fixture.send(&updated("e2", 5, &many("active", "price_pro", 2), &had("price_pro", 1))).await;
    let _ = fixture.send(&updated("e3", 5, &many("active", "price_pro", 1), &had("price_pro", 2))).await;
    assert!(fixture.subscription("sub_1").unwrap().needs_refresh());
    let _ = fixture.send(&updated("e4", 6, &sub("past_due", "price_basic"), &was("active"))).await;
    assert!(!fixture.subscription("sub_1").unwrap().needs_refresh());
    assert_eq!(fixture.acme().await, ("basic".to_owned(), TenantStatus::PastDue));
}
