//! Seats and add-ons of a subscription, from Stripe's items.

use serde_json::{Value, json};
use tenancy::billing::{EventOutcome, Subscription};
use tenancy::clock::{Clock, Timestamp};
use tenancy::plan::{Catalog, Limit};
use tenancy::tenant::{TenantId, TenantStatus};

use crate::stripe_fixture::{Fixture, created, deleted, item, stamped, subscription, updated, with};

fn sub(items: &[Value]) -> Value {
    let items = json!({ "object": "list", "has_more": false, "data": items });
    with(stamped(subscription("sub_1", "cus_1", "active", ""), "acme"), &json!({ "items": items }))
}

fn bought(fixture: &Fixture) -> (String, Option<u64>, Vec<String>) {
    let stored = fixture.subscription("sub_1").unwrap();
    (stored.plan().unwrap().to_owned(), stored.seats(), stored.addons().to_vec())
}

fn is(plan: &str, seats: Option<u64>, addons: &[&str]) -> (String, Option<u64>, Vec<String>) {
    (plan.to_owned(), seats, addons.iter().map(|&addon| addon.to_owned()).collect())
}

#[tokio::test]
async fn one_plan_its_seats_and_an_add_on() {
    let fixture = Fixture::new().await;
    let items = [item("price_support", 1), item("price_pro_seat", 12), item("price_pro", 1)];
    let _ = fixture.send(&created("e1", 1, &sub(&items))).await;
    assert_eq!(bought(&fixture), is("pro", Some(12), &["support"]));
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
    assert_eq!(fixture.audit("billing.subscription")[0].details().get("attention"), None);
    // Metered seats have no number.
    let mut metered = item("price_pro_seat", 1);
    metered["quantity"] = Value::Null;
    let _ = fixture.send(&updated("e2", 2, &sub(&[item("price_pro", 1), metered]), &json!({}))).await;
    assert_eq!(bought(&fixture), is("pro", None, &[]));
    let mut named = item("price_x", 1);
    named["price"]["metadata"] = json!({ "tenancy_addon": "support" });
    let _ = fixture.send(&updated("e3", 3, &sub(&[item("price_pro", 5), named]), &json!({}))).await;
    assert_eq!(bought(&fixture), is("pro", Some(5), &["support"]));
    let _ = fixture.send(&deleted("e4", 4, &sub(&[item("price_pro", 5)]))).await;
    assert_eq!(fixture.acme().await, ("free".to_owned(), TenantStatus::Active));
}

/// What is bought raises the limits of its tenant, and sets its billing day, until the subscription ends.
#[tokio::test]
async fn seats_and_add_ons_raise_limits_until_the_subscription_ends() {
    let catalog = r#"
        version = 1
        fallback = "free"
        [features]
        projects = { kind = "gauge" }
        calls    = { kind = "quota", period = "billing_month" }
        [plans.free]
        features = { projects = 3, calls = 10 }
        [plans.pro]
        prices = ["price_pro"]
        seat_prices = ["price_pro_seat"]
        features = { projects = { limit = 10, per_seat = 2 }, calls = 100 }
        [addons.support]
        prices = ["price_support"]
        grants = { projects = 5 }
    "#;
    let fixture = Fixture::with_catalog(catalog).await;
    let catalog = Catalog::from_toml(catalog).unwrap();
    let own = async |slug: &str| {
        let tenant = fixture.tenant(slug).await;
        catalog.entitlements_for(tenant.plan(), tenant.terms(), fixture.clock.now()).unwrap()
    };
    let items = [item("price_support", 1), item("price_pro_seat", 4), item("price_pro", 1)];
    let anchor = 1_769_817_600; // 2026-01-31
    let bought = with(sub(&items), &json!({ "billing_cycle_anchor": anchor }));
    let _ = fixture.send(&created("e1", 1, &bought)).await;
    let acme = own("acme").await;
    assert_eq!(acme.limit("projects").unwrap(), Limit::AtMost(10 + 4 * 2 + 5));
    let calls = acme.rule("calls").unwrap().period();
    let march = Timestamp::from_seconds(1_772_323_200); // 2026-03-01
    let period = calls.window(march, acme.billing_anchor()).unwrap();
    assert_eq!(period.end.unwrap().seconds(), 1_774_915_200, "2026-03-31, after 2026-02-28");
    assert_eq!(own("globex").await.limit("projects").unwrap(), Limit::AtMost(3));
    let _ = fixture.send(&deleted("e2", 2, &bought)).await;
    let acme = own("acme").await;
    assert_eq!((acme.limit("projects").unwrap(), acme.billing_anchor()), (Limit::AtMost(3), None));
}

#[tokio::test]
async fn a_list_that_was_cut_off_takes_no_seat_and_no_add_on_away() {
    for late in [false, true] {
        let fixture = Fixture::new().await;
        let whole = [item("price_pro", 1), item("price_pro_seat", 9), item("price_support", 1)];
        let mut cut = sub(&[item("price_pro", 1)]);
        cut["items"]["has_more"] = json!(true);
        let mut events = [created("e1", 1, &sub(&whole)), updated("e2", 2, &cut, &json!({}))];
        if late {
            events.reverse();
        }
        for event in &events {
            let _ = fixture.send(event).await;
        }
        assert_eq!(bought(&fixture), is("pro", Some(9), &["support"]), "late: {late}");
        assert!(fixture.subscription("sub_1").unwrap().needs_refresh());
    }
}

#[tokio::test]
async fn an_add_on_without_a_plan_has_no_say_and_is_reported() {
    let fixture = Fixture::new().await;
    let outcome = fixture.send(&created("e1", 1, &sub(&[item("price_support", 1)]))).await;
    assert_eq!(outcome, EventOutcome::Applied { tenant: fixture.tenant("acme").await.into() });
    assert_eq!(fixture.acme().await, ("free".to_owned(), TenantStatus::Active));
    let said = fixture.audit("billing.subscription")[0].details()["attention"].clone();
    assert_eq!(said, "the subscription buys seats or add-ons without a plan");
}

/// A row of the version before: without seats and add-ons, and prices without `addon`.
#[test]
fn an_old_row_is_read() {
    let old = r#"{"id":"sub_1","customer":"cus_1","started":null,"plan":"pro","state":{"status":"active",
        "prices":[{"id":"price_pro","lookup_key":null,"quantity":3}],"cancel_at":null,
        "cancel_at_period_end":false,"period_end":null},"as_of":{"created":1,"event":"e1"},"steps":[],
        "known_plan":{"second":0,"value":"pro","clash":false},"known_status":null,"partial":false,
        "was_live":true,"needs_refresh":false}"#;
    let read = Subscription::from_json(TenantId::parse("acme").unwrap(), old).unwrap();
    assert_eq!((read.plan(), read.seats(), read.addons()), (Some("pro"), None, &[][..]));
    let again = Subscription::from_json(read.tenant().clone(), &read.to_json()).unwrap();
    assert_eq!(again, read);
}
