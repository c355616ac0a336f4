//! The deletion of a customer ends all its live subscriptions, in whatever order the events arrive.

use serde_json::{Value, json};
use tenancy::billing::EventOutcome;
use tenancy::tenant::TenantStatus;

use crate::stripe_fixture::{Fixture, checkout, created, deleted, event, stamped, subscription, updated};
use crate::stripe_lives::permutations;

fn of(tenant: &str, id: &str, customer: &str, price: &str) -> Value {
    stamped(subscription(id, customer, "active", price), tenant)
}

/// The real event holds the whole customer.
fn customer_deleted(id: &str, second: i64, customer: &str) -> Value {
    let object = json!({ "id": customer, "object": "customer", "email": "ada@example.com", "name": "Ada",
        "metadata": {}, "livemode": false });
    event(id, second, "customer.deleted", &object)
}

async fn free(fixture: &Fixture) {
    assert_eq!(fixture.acme().await, ("free".to_owned(), TenantStatus::Active));
}

#[tokio::test]
async fn every_live_subscription_of_the_customer_ends() {
    let fixture = Fixture::new().await;
    let _ = fixture.send(&created("evt_1", 0, &of("acme", "sub_1", "cus_1", "price_basic"))).await;
    let _ = fixture.send(&created("evt_2", 1, &of("acme", "sub_2", "cus_1", "price_pro"))).await;
    let version = fixture.tenant("acme").await.version();
    let outcome = fixture.send(&customer_deleted("evt_3", 2, "cus_1")).await;
    let EventOutcome::Applied { tenant } = outcome else { panic!("{outcome:?}") };
    assert_eq!((tenant.plan(), tenant.version()), ("free", version + 1));
    free(&fixture).await;
    for id in ["sub_1", "sub_2"] {
        assert_eq!(fixture.subscription(id).unwrap().status().as_str(), "canceled");
    }
    let [record] = &fixture.audit("billing.customer_deleted")[..] else { panic!() };
    assert_eq!(
        (record.details()["from_plan"].as_str(), record.details()["to_plan"].as_str()),
        ("pro", "free")
    );
    assert!(!format!("{record:?}").contains("ada@"));
    // The link stays: an event of the ended subscription finds its tenant, and changes nothing.
    for (n, late) in [
        updated("evt_4", 3, &of("acme", "sub_1", "cus_1", "price_pro"), &json!({})),
        created("evt_5", 0, &of("acme", "sub_2", "cus_1", "price_pro")),
        deleted("evt_6", 2, &of("acme", "sub_1", "cus_1", "price_pro")),
        event("evt_7", 9, "customer.subscription.resumed", &of("acme", "sub_1", "cus_1", "price_pro")),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(fixture.send(late).await.as_str(), "stale", "{n}");
        free(&fixture).await;
    }
    assert_eq!(fixture.send(&customer_deleted("evt_8", 2, "cus_1")).await.as_str(), "unchanged");
    assert_eq!(fixture.send(&customer_deleted("evt_8", 2, "cus_1")).await.as_str(), "duplicate");
    assert_eq!(fixture.quarantined(), 0);
}

#[tokio::test]
async fn the_end_is_the_same_in_every_order() {
    let events = [
        created("evt_1", 0, &of("acme", "sub_1", "cus_1", "price_pro")),
        updated("evt_2", 4, &of("acme", "sub_1", "cus_1", "price_basic"), &json!({})),
        deleted("evt_3", 5, &of("acme", "sub_1", "cus_1", "price_basic")),
        customer_deleted("evt_4", 5, "cus_1"),
        customer_deleted("evt_5", 5, "cus_1"),
    ];
    for order in permutations(events.len()) {
        let fixture = Fixture::new().await;
        for at in &order {
            let _ = fixture.send(&events[*at]).await;
        }
        free(&fixture).await;
        assert_eq!(fixture.subscription("sub_1").unwrap().status().as_str(), "canceled", "{order:?}");
        assert_eq!(fixture.quarantined(), 0, "{order:?}");
    }
}

#[tokio::test]
async fn another_customer_of_the_tenant_and_another_tenant_keep_theirs() {
    let fixture = Fixture::new().await;
    let _ = fixture.send(&created("evt_1", 0, &of("acme", "sub_1", "cus_1", "price_pro"))).await;
    let _ = fixture.send(&created("evt_2", 0, &of("acme", "sub_2", "cus_2", "price_basic"))).await;
    let _ = fixture.send(&customer_deleted("evt_3", 1, "cus_1")).await;
    assert_eq!(fixture.acme().await, ("basic".to_owned(), TenantStatus::Active));
    let _ = fixture.send(&created("evt_4", 0, &of("globex", "sub_3", "cus_3", "price_pro"))).await;
    let _ = fixture.send(&customer_deleted("evt_5", 2, "cus_2")).await;
    assert_eq!(fixture.tenant("acme").await.plan(), "free");
    assert_eq!(fixture.tenant("globex").await.plan(), "pro");
    assert_eq!(fixture.subscription("sub_3").unwrap().status().as_str(), "active");
    let records = fixture.audit("billing.customer_deleted");
    assert!(records.len() == 2 && records.iter().all(|record| record.tenant().to_string() == "acme"));
}

#[tokio::test]
async fn a_customer_without_a_link_and_one_without_a_payment() {
    let fixture = Fixture::new().await;
    let outcome = fixture.send(&customer_deleted("evt_1", 0, "cus_1")).await;
    assert!(
        matches!(&outcome, EventOutcome::Ignored { reason } if reason.contains("not linked")),
        "{outcome:?}"
    );
    assert_eq!(fixture.quarantined(), 0);
    // Nothing was bought, so nothing ends.
    let incomplete = stamped(subscription("sub_1", "cus_1", "incomplete", "price_pro"), "acme");
    let _ = fixture.send(&created("evt_2", 0, &incomplete)).await;
    assert_eq!(fixture.send(&customer_deleted("evt_3", 1, "cus_1")).await.as_str(), "unchanged");
    assert_eq!(fixture.tenant("acme").await.version(), 1);
    assert_eq!(fixture.subscription("sub_1").unwrap().status().as_str(), "canceled");
    let broken = event("evt_4", 1, "customer.deleted", &json!({ "object": "customer" }));
    assert_eq!(fixture.send(&broken).await.as_str(), "quarantined");
}

#[tokio::test]
async fn a_checkout_that_waited_for_the_end_is_applied() {
    let fixture = Fixture::new().await;
    let _ = fixture.send(&created("evt_1", 0, &of("acme", "sub_1", "cus_1", "price_pro"))).await;
    let session = json!({ "metadata": { "tenant_id": "acme" }, "subscription": "sub_2" });
    assert_eq!(fixture.send(&checkout("evt_2", 1, "cus_2", &session)).await.as_str(), "quarantined");
    let unstamped = subscription("sub_2", "cus_2", "active", "price_basic");
    assert_eq!(fixture.send(&created("evt_3", 1, &unstamped)).await.as_str(), "quarantined");
    let _ = fixture.send(&customer_deleted("evt_4", 2, "cus_1")).await;
    assert_eq!(fixture.acme().await, ("basic".to_owned(), TenantStatus::Active));
    assert_eq!(fixture.quarantined(), 0);
}
