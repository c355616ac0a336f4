//! Events of every API version translate to the same facts, and malformed events have no effect.

use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};
use tenancy::ErrorKind;
use tenancy::billing::stripe::{Accounts, Mode, StripeEvents};
use tenancy::billing::{BillingEvent, Fact, PaymentFacts, Provider, SubscriptionFacts, SubscriptionStatus};
use tenancy::clock::Timestamp;

pub(crate) const AT: i64 = 1_700_000_000;

pub(crate) fn event(kind: &str, object: &Value) -> Value {
    json!({ "id": "evt_1", "object": "event", "type": kind, "created": AT, "livemode": false,
            "data": { "object": object } })
}

pub(crate) fn read(event: &Value) -> BillingEvent {
    StripeEvents::new(Mode::Test).read(event.to_string().as_bytes()).unwrap()
}

fn refusal(raw: &[u8]) -> ErrorKind {
    StripeEvents::new(Mode::Test).read(raw).unwrap_err().kind()
}

pub(crate) fn subscription(object: &Value) -> SubscriptionFacts {
    match read(&event("customer.subscription.updated", object)).fact {
        Fact::Subscription(facts) => facts,
        other => panic!("{object}: {other:?}"),
    }
}

fn payment(kind: &str, object: &Value) -> PaymentFacts {
    match read(&event(kind, object)).fact {
        Fact::PaymentSucceeded(facts) | Fact::PaymentFailed(facts) => facts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_subscription_reads_alike_in_every_version() {
    let base = json!({ "id": "sub_1", "object": "subscription", "status": "active",
                       "metadata": { "tenant_id": "acme" }, "created": AT - 10 });
    let shapes = [
        // 2014: one plan on the subscription itself.
        json!({ "customer": "cus_1", "current_period_end": AT + 9, "quantity": 2,
                "plan": { "id": "price_pro", "object": "plan" } }),
        // 2017: items with plans, the period on the subscription.
        json!({ "customer": "cus_1", "current_period_end": AT + 9,
                "items": { "data": [{ "id": "si_1", "quantity": 2, "plan": { "id": "price_pro" } }] } }),
        // 2020: items with prices and plans.
        json!({ "customer": "cus_1", "current_period_end": AT + 9, "plan": { "id": "price_pro" },
                "items": { "data": [{ "id": "si_1", "quantity": 2, "plan": { "id": "price_pro" },
                                      "price": { "id": "price_pro", "lookup_key": null } }] } }),
        // 2025-03-31.basil: the period on the items.
        json!({ "customer": "cus_1",
                "items": { "data": [{ "quantity": 2, "current_period_end": AT + 9, "price": { "id": "price_pro" } }] } }),
        // 2025-10-29: an account pays, the customer is null.
        json!({ "customer": null, "customer_account": "cus_1",
                "items": { "data": [{ "quantity": 2, "current_period_end": AT + 9, "price": "price_pro" }] } }),
        // The customer expanded to a whole object.
        json!({ "customer": { "id": "cus_1", "object": "customer" }, "current_period_end": AT + 9,
                "items": { "data": [{ "quantity": 2, "price": { "id": "price_pro" } }] } }),
    ];
    for shape in shapes {
        let mut object = base.clone();
        object.as_object_mut().unwrap().extend(shape.as_object().unwrap().clone());
        let facts = subscription(&object);
        assert_eq!((facts.id.as_str(), facts.customer.as_str()), ("sub_1", "cus_1"), "{shape}");
        assert_eq!(facts.tenant.as_deref(), Some("acme"));
        assert_eq!(facts.state.status, SubscriptionStatus::Active);
        assert_eq!(facts.state.prices.len(), 1, "{shape}");
        assert_eq!(facts.state.prices[0].id, "price_pro");
        assert_eq!(facts.state.prices[0].quantity, Some(2), "{shape}");
        assert_eq!(facts.state.period_end, Some(Timestamp::from_seconds(AT + 9)), "{shape}");
    }
}

#[test]
fn every_item_counts_and_the_last_period_ends_last() {
    let facts = subscription(&json!({
        "id": "sub_1", "customer": "cus_1", "status": "trialing", "cancel_at": AT + 5,
        "items": { "data": [
            { "current_period_end": AT + 9, "price": { "id": "price_seat", "lookup_key": "seat" }, "quantity": null },
            { "current_period_end": AT + 99, "price": { "id": "price_pro" }, "quantity": 1 },
        ] },
    }));
    assert_eq!(facts.state.period_end, Some(Timestamp::from_seconds(AT + 99)));
    assert_eq!(facts.state.prices[0].lookup_key.as_deref(), Some("seat"));
    assert_eq!(facts.state.prices[0].quantity, None);
    assert_eq!(facts.state.prices.len(), 2);
    assert!(facts.state.is_ending() && !facts.state.cancel_at_period_end);
}

#[test]
fn an_invoice_names_its_subscription_in_every_version() {
    for shape in [
        json!({ "subscription": "sub_1", "subscription_details": { "metadata": { "tenant_id": "acme" } } }),
        json!({ "subscription": { "id": "sub_1" }, "lines": { "data": [{ "metadata": { "tenant_id": "acme" } }] } }),
        json!({ "parent": { "type": "subscription_details", "subscription_details": {
                "subscription": "sub_1", "metadata": { "tenant_id": "acme" } } } }),
        json!({ "parent": null, "lines": { "data": [{ "metadata": { "tenant_id": "acme" }, "parent": {
                "subscription_item_details": { "subscription": "sub_1" } } }] } }),
    ] {
        let mut object = json!({ "id": "in_1", "object": "invoice", "customer": "cus_1", "amount_paid": 0,
                                 "amount_due": 900, "currency": "eur", "attempt_count": 3 });
        object.as_object_mut().unwrap().extend(shape.as_object().unwrap().clone());
        let paid = payment("invoice.paid", &object);
        assert_eq!(paid.subscription.as_deref(), Some("sub_1"), "{shape}");
        assert_eq!(paid.tenant.as_deref(), Some("acme"), "{shape}");
        assert_eq!((paid.amount, paid.attempt), (Some(0), Some(3)));
        assert_eq!(payment("invoice.payment_failed", &object).amount, Some(900));
    }
}

#[test]
fn what_is_not_for_us_is_ignored() {
    let object = json!({ "id": "sub_1", "customer": "cus_1", "status": "active" });
    let good = event("customer.subscription.updated", &object);
    let ignored = |event: &Value| matches!(read(event).fact, Fact::Ignored { .. });
    assert!(!ignored(&good));
    for kind in ["customer.created", "invoice.created", "v1.something.new", ""] {
        assert!(ignored(&event(kind, &object)), "{kind}");
    }
    let mut live = good.clone();
    live["livemode"] = json!(true);
    assert!(ignored(&live));
    let live = StripeEvents::new(Mode::Live).read(live.to_string().as_bytes()).unwrap();
    assert!(matches!(live.fact, Fact::Subscription(_)));
    let mut connected = good;
    connected["account"] = json!("acct_1");
    assert!(ignored(&connected));
    let connected =
        StripeEvents::new(Mode::Test).accounts(Accounts::Connected).read(connected.to_string().as_bytes());
    assert!(matches!(connected.unwrap().fact, Fact::Subscription(_)));
}

#[test]
fn a_body_that_is_no_event_is_rejected() {
    let good = event("customer.created", &json!({})).to_string();
    let without = |key: &str| {
        let mut event = event("customer.created", &json!({}));
        event.as_object_mut().unwrap().remove(key);
        event.to_string().into_bytes()
    };
    let twice = |key: &str| good.replacen('{', &format!("{{\"{key}\":null,"), 1).into_bytes();
    for bad in [
        b"".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        [b"\xEF\xBB\xBF", good.as_bytes()].concat(),
        [good.as_bytes(), b"x"].concat(),
        good.replace("evt_1", "\\ud800").into_bytes(),
        [b"\xFF", good.as_bytes()].concat(),
        good.replace("\"object\":\"event\"", "\"object\":\"list\"").into_bytes(),
        good.replace("evt_1", "").into_bytes(),
        without("id"),
        without("object"),
        without("type"),
        without("created"),
        without("livemode"),
        twice("id"),
        twice("type"),
        twice("livemode"),
        twice("created"),
        twice("data"),
        good.replace("\"data\":{", "\"data\":{\"object\":{},").into_bytes(),
        "[".repeat(100_000).into_bytes(),
    ] {
        assert_eq!(refusal(&bad), ErrorKind::InvalidInput, "{}", String::from_utf8_lossy(&bad));
    }
}

#[test]
fn a_thin_event_is_a_misconfigured_destination() {
    let thin = json!({ "id": "evt_1", "object": "v2.core.event", "type": "v1.customer.subscription.updated",
                       "created": "2026-11-01T00:00:00.000Z", "livemode": false,
                       "related_object": { "id": "sub_1" } });
    let error = StripeEvents::new(Mode::Test).read(thin.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("thin events"));
}

#[test]
fn an_event_does_not_show_its_body() {
    let object =
        json!({ "id": "sub_1", "customer": "cus_1", "status": "active", "description": "Ada Lovelace" });
    let shown = format!("{:?}", read(&event("customer.subscription.updated", &object)));
    assert!(shown.contains("sub_1") && !shown.contains("Ada"), "{shown}");
}

/// Any JSON, built mostly of the keys and values that the parser reads.
pub(crate) fn json_value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("event"),
        Just("sub_1"),
        Just("active"),
        Just("canceled"),
        Just("price_1"),
        Just(""),
        Just("acme"),
        Just("subscription"),
        Just("1700000000"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| Value::Number(n.into())),
        any::<u64>().prop_map(|n| Value::Number(n.into())),
        any::<f64>().prop_map(|n| Number::from_f64(n).map_or(Value::Null, Value::Number)),
        word.prop_map(|text| json!(text)),
        any::<String>().prop_map(Value::String),
    ];
    let key = prop_oneof![
        Just("id"),
        Just("object"),
        Just("customer"),
        Just("status"),
        Just("items"),
        Just("data"),
        Just("price"),
        Just("plan"),
        Just("lines"),
        Just("parent"),
        Just("subscription"),
        Just("subscription_details"),
        Just("metadata"),
        Just("tenant_id"),
        Just("tenancy_installation"),
        Just("client_reference_id"),
        Just("mode"),
        Just("payment_status"),
        Just("has_more"),
        Just("type"),
        Just("cancel_at"),
        Just("current_period_end"),
        Just("quantity"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(raw: Vec<u8>) {
        let _ = StripeEvents::new(Mode::Test).read(&raw);
    }

    #[test]
    fn no_object_panics(object in json_value(), previous in json_value(), kind in prop_oneof![
        Just("customer.subscription.created"), Just("customer.subscription.updated"),
        Just("customer.subscription.deleted"), Just("checkout.session.completed"), Just("invoice.paid"),
        Just("invoice.payment_failed"), Just("customer.subscription.trial_will_end"), Just("customer.deleted"),
        Just("checkout.session.expired"), Just("invoice.upcoming"), Just("charge.dispute.created"),
        Just("entitlements.active_entitlement_summary.updated"), Just("subscription_schedule.updated"),
        Just("billing.alert.triggered"),
    ]) {
        let mut event = event(kind, &object);
        event["data"]["previous_attributes"] = previous;
        let read = StripeEvents::new(Mode::Test).read(event.to_string().as_bytes()).unwrap();
        prop_assert_eq!(read.kind, kind);
    }

    #[test]
    fn no_envelope_panics(envelope in json_value()) {
        let _ = StripeEvents::new(Mode::Test).read(envelope.to_string().as_bytes());
    }
}
