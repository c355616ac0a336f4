//! A checkout links a customer only by what this program wrote: a signed reference, or a stamp in the metadata.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tenancy::billing::stripe::{CheckoutReferences, Mode, StripeEvents};
use tenancy::billing::{BillingEvent, CheckoutFacts, CheckoutMode, EventOutcome, Fact, Provider};
use tenancy::tenant::TenantId;

use crate::stripe_fixture::{Fixture, START, checkout, created, event, references, subscription};

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn read(events: &StripeEvents, session: &Value) -> BillingEvent {
    events.read(event("evt_1", 0, "checkout.session.completed", session).to_string().as_bytes()).unwrap()
}

fn facts(events: &StripeEvents, session: &Value) -> CheckoutFacts {
    match read(events, session).fact {
        Fact::CheckoutCompleted(facts) => facts,
        other => panic!("{session}: {other:?}"),
    }
}

fn session(over: &Value) -> Value {
    let session = json!({ "id": "cs_1", "object": "checkout.session", "mode": "subscription", "payment_status": "paid",
                          "customer": "cus_1", "subscription": "sub_1", "metadata": {} });
    crate::stripe_fixture::with(session, over)
}

/// `I96`: a visitor writes the reference into the URL of a payment link or a pricing table.
#[test]
fn only_a_signed_reference_names_a_tenant() {
    let signed = references().reference(&acme());
    let with_keys = StripeEvents::new(Mode::Test).checkout_references(references());
    let without = StripeEvents::new(Mode::Test);
    let other = CheckoutReferences::new("2026-11", [8; 32]).unwrap();
    for link in [Value::Null, json!("plink_1"), json!({ "id": "plink_1" })] {
        let session =
            |reference: &str| session(&json!({ "client_reference_id": reference, "payment_link": link }));
        assert_eq!(facts(&with_keys, &session(&signed)).reference.as_deref(), Some("acme"));
        assert_eq!(facts(&without, &session(&signed)).reference, None, "without keys none is used");
        for bad in
            ["acme", "", "acme_", &signed[1..], &signed.replace("2026", "2025"), &other.reference(&acme())]
        {
            assert_eq!(facts(&with_keys, &session(bad)).reference, None, "{bad}");
        }
    }
    let rotated =
        CheckoutReferences::new("2027", [9; 32]).unwrap().with_previous_key("2026-11", [7; 32]).unwrap();
    let rotated = StripeEvents::new(Mode::Test).checkout_references(Arc::new(rotated));
    let old = session(&json!({ "client_reference_id": signed }));
    assert_eq!(facts(&rotated, &old).reference.as_deref(), Some("acme"));
}

#[test]
fn the_facts_name_the_session_its_kind_and_its_payment() {
    let events = StripeEvents::new(Mode::Test);
    let got = facts(&events, &session(&json!({})));
    assert_eq!(
        (got.id.as_deref(), got.mode, got.paid),
        (Some("cs_1"), CheckoutMode::Subscription, Some(true))
    );
    assert!(got.links());
    let free = facts(&events, &session(&json!({ "payment_status": "no_payment_required" })));
    assert_eq!(free.paid, Some(true));
    // The first sessions have neither field.
    let old = facts(&events, &session(&json!({ "payment_status": null, "mode": null })));
    assert_eq!((old.mode, old.paid, old.links()), (CheckoutMode::Subscription, None, true));
}

/// `I96`: no purchase of a subscription, no link, whatever names the tenant.
#[tokio::test]
async fn a_checkout_that_is_no_paid_subscription_links_no_tenant() {
    let fixture = Fixture::new().await;
    for (n, (over, named)) in [
        (json!({ "mode": "setup" }), "the checkout sells no subscription"),
        (json!({ "mode": "payment" }), "the checkout sells no subscription"),
        (json!({ "mode": "rental" }), "the checkout sells no subscription"),
        (json!({ "mode": null }), "the checkout sells no subscription"),
        (json!({ "payment_status": "unpaid" }), "the checkout is not paid"),
        (json!({ "payment_status": "processing" }), "the checkout is not paid"),
    ]
    .into_iter()
    .enumerate()
    {
        for evidence in
            [json!({ "client_reference_id": "acme" }), json!({ "metadata": { "tenant_id": "acme" } })]
        {
            let session = crate::stripe_fixture::with(over.clone(), &evidence);
            let outcome = fixture.send(&checkout(&format!("e{n}"), 1, "cus_1", &session)).await;
            assert_eq!(outcome, EventOutcome::Ignored { reason: named }, "{session}");
        }
    }
    let object = subscription("sub_1", "cus_1", "active", "price_pro");
    assert_eq!(
        fixture.send(&created("e9", 2, &object)).await.as_str(),
        "quarantined",
        "no customer is linked"
    );
}

/// `I96`: the buyer pays `basic` with an own card, and writes the id of another tenant into the URL.
#[tokio::test]
async fn a_buyer_with_the_id_of_another_tenant_changes_nothing_there() {
    let fixture = Fixture::new().await;
    let before = fixture.tenant("acme").await;
    for (n, link) in [json!("plink_1"), Value::Null].into_iter().enumerate() {
        let mut bought =
            checkout(&format!("c{n}"), 1, "cus_9", &json!({ "payment_link": link, "subscription": "sub_9" }));
        bought["data"]["object"]["client_reference_id"] = json!("acme");
        assert_eq!(fixture.send(&bought).await.as_str(), "quarantined");
    }
    let object = subscription("sub_9", "cus_9", "active", "price_basic");
    assert_eq!(fixture.send(&created("e1", 2, &object)).await.as_str(), "quarantined");
    assert_eq!(fixture.tenant("acme").await, before);

    // The other tenant's own purchase still succeeds.
    let mut own = checkout("c8", 3, "cus_1", &json!({ "payment_link": "plink_1", "subscription": "sub_1" }));
    own["data"]["object"]["client_reference_id"] = references().reference(&acme()).into();
    assert_eq!(fixture.send(&own).await.as_str(), "applied");
    let object = subscription("sub_1", "cus_1", "active", "price_pro");
    assert_eq!(fixture.send(&created("e2", 4, &object)).await.as_str(), "applied");
    assert_eq!(fixture.tenant("acme").await.plan(), "pro");
}

/// Any JSON value that a reference may be, with texts near a good one.
fn reference() -> impl Strategy<Value = Value> {
    let signed = references().reference(&acme());
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[A-Za-z0-9_-]{0,200}".prop_map(Value::from),
        Just(json!("acme")),
        Just(json!({ "id": "acme" })),
        (any::<prop::sample::Index>(), "[A-Za-z0-9_.-]{0,3}").prop_map(move |(at, text)| {
            let at = at.index(signed.len());
            let changed = format!("{}{text}{}", &signed[..at], &signed[at + 1..]);
            // One text in a few hundred is the good one again.
            json!(if changed == signed { "acme" } else { &changed })
        }),
    ]
}

proptest! {
    /// `I96`: without a stamp and without a signature no event names a tenant.
    #[test]
    fn an_unsigned_reference_never_names_a_tenant(
        reference in reference(),
        kind in prop::sample::select(vec![
            "checkout.session.completed", "customer.subscription.created", "customer.subscription.updated",
            "customer.subscription.deleted", "invoice.paid", "invoice.payment_failed",
        ]),
        mode in prop::sample::select(vec!["subscription", "payment", "setup", ""]),
    ) {
        let object = session(&json!({ "client_reference_id": reference, "mode": mode, "status": "active" }));
        let raw = event("evt_1", START, kind, &object).to_string();
        for events in [
            StripeEvents::new(Mode::Test),
            StripeEvents::new(Mode::Test).checkout_references(references()).installation("eu").unwrap(),
        ] {
            let event = events.read(raw.as_bytes()).unwrap();
            prop_assert_eq!(event.subjects().reference, None);
            prop_assert_eq!(event.subjects().tenant, None);
        }
    }
}
