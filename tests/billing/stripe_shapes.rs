//! What Stripe writes in another form is read exactly or rejected by name, in every API version since 2014.

use proptest::prelude::*;
use serde_json::{Value, json};
use tenancy::billing::stripe::{Accounts, Mode, StripeEvents};
use tenancy::billing::{CheckoutFacts, Fact, PaymentFacts, Provider, SubscriptionFacts};
use tenancy::clock::Timestamp;

use crate::stripe_translate::{AT, event, read, subscription};

fn payment(object: &Value) -> PaymentFacts {
    match read(&event("invoice.paid", object)).fact {
        Fact::PaymentSucceeded(facts) => facts,
        other => panic!("{object}: {other:?}"),
    }
}

fn checkout(object: &Value) -> CheckoutFacts {
    match read(&event("checkout.session.completed", object)).fact {
        Fact::CheckoutCompleted(facts) => facts,
        other => panic!("{object}: {other:?}"),
    }
}

fn fault(kind: &str, object: &Value) -> &'static str {
    match read(&event(kind, object)).fact {
        Fact::Unreadable { reason } => reason,
        other => panic!("{object}: {other:?}"),
    }
}

/// `base` with one value replaced; `path` is a JSON pointer whose last part may be new.
fn with(base: &Value, path: &str, value: &Value) -> Value {
    let mut changed = base.clone();
    if let Some(place) = changed.pointer_mut(path) {
        *place = value.clone();
        return changed;
    }
    let (parent, key) = path.rsplit_once('/').unwrap();
    changed.pointer_mut(parent).unwrap()[key] = value.clone();
    changed
}

fn sub() -> Value {
    json!({ "id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active", "created": AT - 10,
            "cancel_at": null, "cancel_at_period_end": false, "metadata": { "tenant_id": "acme" },
            "items": { "object": "list", "has_more": false, "data": [
                { "id": "si_1", "quantity": 3, "current_period_end": AT + 9, "price": { "id": "price_pro" } } ] } })
}

fn session() -> Value {
    json!({ "id": "cs_1", "object": "checkout.session", "mode": "subscription", "payment_status": "paid",
            "customer": "cus_1", "subscription": "sub_1", "metadata": { "tenant_id": "acme" } })
}

fn invoice() -> Value {
    json!({ "id": "in_1", "object": "invoice", "customer": "cus_1", "amount_paid": 900, "currency": "eur",
            "attempt_count": 1, "next_payment_attempt": AT + 5, "parent": { "subscription_details": {
                "subscription": "sub_1", "metadata": { "tenant_id": "acme" } } } })
}

#[test]
fn a_number_that_is_written_as_text_is_read() {
    let at = |seconds| Some(Timestamp::from_seconds(seconds));
    let facts = subscription(&with(&sub(), "/cancel_at", &json!("1700000050")));
    assert_eq!(facts.state.cancel_at, at(AT + 50));
    let facts = subscription(&with(&sub(), "/created", &json!("1699999999")));
    assert_eq!(facts.started, at(AT - 1));
    let facts = subscription(&with(&sub(), "/current_period_end", &json!("1700000060")));
    assert_eq!(facts.state.period_end, at(AT + 60));
    let facts = subscription(&with(&sub(), "/items/data/0/current_period_end", &json!("1700000070")));
    assert_eq!(facts.state.period_end, at(AT + 70));
    let facts = subscription(&with(&sub(), "/items/data/0/quantity", &json!("4")));
    assert_eq!(facts.state.prices[0].quantity, Some(4));

    let facts = payment(&with(&invoice(), "/amount_paid", &json!("1200")));
    assert_eq!(facts.amount, Some(1200));
    let facts = payment(&with(&invoice(), "/attempt_count", &json!("2")));
    assert_eq!(facts.attempt, Some(2));
    let facts = payment(&with(&invoice(), "/next_payment_attempt", &json!("1700000080")));
    assert_eq!(facts.next_attempt, at(AT + 80));

    let mut late = event("customer.subscription.updated", &sub());
    late["created"] = json!("1700000001");
    late["data"]["previous_attributes"] =
        json!({ "cancel_at": "1700000050", "current_period_end": "1700000002" });
    let late = read(&late);
    assert_eq!(Some(late.created), at(AT + 1));
    let Fact::Subscription(facts) = late.fact else { panic!("{:?}", late.fact) };
    assert_eq!(facts.previous.cancel_at, Some(at(AT + 50)));
    assert_eq!(facts.previous.period_end, at(AT + 2));
}

#[test]
fn a_value_of_another_type_is_rejected_by_name() {
    let mut cases = 0;
    let mut rejects = |kind: &str, base: &Value, path: &str, bad: &[Value]| {
        for value in bad {
            let reason = fault(kind, &with(base, path, value));
            let last = path.rsplit('/').next().unwrap();
            let key = if last == "data" { "items" } else { last };
            assert!(reason.contains(&format!("`{key}`")), "{path} = {value}: {reason}");
            cases += 1;
        }
    };
    let integers =
        [json!("soon"), json!(""), json!("1.5"), json!("+5"), json!(1.5), json!(true), json!([]), json!({})];
    let ids = [json!(7), json!(true), json!([]), json!(["cus_1"]), json!({}), json!({ "id": 7 })];
    let updated = "customer.subscription.updated";
    for path in ["/cancel_at", "/created", "/current_period_end"] {
        rejects(updated, &sub(), path, &integers);
    }
    rejects(updated, &sub(), "/items/data/0/current_period_end", &integers);
    rejects(updated, &sub(), "/items/data/0/quantity", &integers);
    rejects(
        updated,
        &sub(),
        "/items/data/0/quantity",
        &[json!(-1), json!("-1"), json!("99999999999999999999")],
    );
    rejects(updated, &sub(), "/items/data/0/price", &ids);
    rejects(updated, &sub(), "/customer", &ids);
    rejects(updated, &sub(), "/status", &[json!(1), json!(true), json!([]), json!({ "id": "active" })]);
    rejects(updated, &sub(), "/cancel_at_period_end", &[json!("true"), json!("false"), json!(1), json!([])]);
    rejects(
        updated,
        &sub(),
        "/items",
        &[json!("si_1"), json!([]), json!(1), json!({ "data": {} }), json!({})],
    );
    rejects(
        updated,
        &sub(),
        "/items/data",
        &[json!("si_1"), json!({}), Value::Null, json!([1]), json!(["si_1"])],
    );
    rejects(updated, &sub(), "/items/has_more", &[json!("true"), json!(1)]);
    rejects(updated, &sub(), "/metadata", &[json!("acme"), json!(["acme"])]);
    rejects(updated, &sub(), "/metadata/tenant_id", &[json!(7), json!(["acme"]), json!({})]);
    for kind in ["invoice.paid", "invoice.payment_failed"] {
        rejects(kind, &invoice(), "/customer", &ids);
        rejects(kind, &invoice(), "/attempt_count", &integers);
        rejects(kind, &invoice(), "/parent/subscription_details/subscription", &ids);
    }
    rejects("invoice.paid", &invoice(), "/amount_paid", &integers);
    rejects("invoice.payment_failed", &invoice(), "/amount_due", &integers);
    rejects("invoice.paid", &invoice(), "/currency", &[json!(978)]);
    let completed = "checkout.session.completed";
    rejects(completed, &session(), "/customer", &ids);
    rejects(completed, &session(), "/subscription", &ids);
    rejects(completed, &session(), "/mode", &[json!(1), json!(["subscription"])]);
    rejects(completed, &session(), "/payment_status", &[json!(true), json!({})]);
    assert!(cases > 150, "only {cases} cases ran");

    let mut event = event(updated, &sub());
    for bad in [json!("status"), json!(["status"]), json!(1)] {
        event["data"]["previous_attributes"] = bad;
        let reason = "`previous_attributes` is not an object";
        assert_eq!(read(&event).fact, Fact::Unreadable { reason });
    }
    for (key, bad) in [
        ("status", json!(1)),
        ("cancel_at", json!("soon")),
        ("cancel_at_period_end", json!("true")),
        ("current_period_end", json!({})),
    ] {
        event["data"]["previous_attributes"] = json!({ key: bad });
        assert!(matches!(read(&event).fact, Fact::Unreadable { reason } if reason.contains(key)), "{key}");
    }
}

#[test]
fn an_event_without_an_object_is_rejected_by_name() {
    for kind in ["customer.subscription.deleted", "checkout.session.completed", "invoice.paid"] {
        for object in [Value::Null, json!([]), json!("sub_1"), json!(1)] {
            assert_eq!(fault(kind, &object), "the event has no object", "{kind}: {object}");
        }
    }
}

#[test]
fn one_item_without_a_price_leaves_the_others() {
    let item =
        |price: Value| json!({ "id": "si_1", "quantity": 1, "current_period_end": AT + 9, "price": price });
    let items = |items: Vec<Value>| with(&sub(), "/items/data", &Value::Array(items));
    let whole = subscription(&items(vec![item(json!({ "id": "price_pro" })), item(json!("price_seat"))]));
    assert!(!whole.partial);
    let ids = |facts: &SubscriptionFacts| {
        facts.state.prices.iter().map(|price| price.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&whole), ["price_pro", "price_seat"]);
    for missing in [json!({ "id": "si_2" }), item(Value::Null), item(json!(""))] {
        let facts =
            subscription(&items(vec![missing.clone(), item(json!("price_pro")), item(json!("price_seat"))]));
        assert!(facts.partial, "{missing}");
        assert_eq!(ids(&facts), ["price_pro", "price_seat"]);
        let facts = subscription(&items(vec![missing]));
        assert!(facts.partial && facts.state.prices.is_empty());
    }
}

#[test]
fn a_list_that_goes_on_is_partial() {
    let cut = with(&sub(), "/items/has_more", &json!(true));
    let facts = subscription(&cut);
    assert!(facts.partial);
    assert_eq!(facts.state.prices.len(), 1);
    assert!(subscription(&with(&cut, "/items/data", &json!([]))).partial);
    for whole in [json!(false), Value::Null] {
        assert!(!subscription(&with(&sub(), "/items/has_more", &whole)).partial);
    }
    // A partial list of the previous prices is no list of the previous prices.
    let mut event = event("customer.subscription.updated", &sub());
    let previous = sub()["items"].clone();
    event["data"]["previous_attributes"] = json!({ "items": previous });
    let Fact::Subscription(facts) = read(&event).fact else { panic!() };
    assert_eq!(facts.previous.prices.map(|prices| prices.len()), Some(1));
    event["data"]["previous_attributes"]["items"]["has_more"] = json!(true);
    let Fact::Subscription(facts) = read(&event).fact else { panic!() };
    assert_eq!(facts.previous.prices, None);
}

#[test]
fn the_start_of_a_subscription_is_read_in_every_version() {
    let started = |over: Value| {
        let mut object = sub();
        object.as_object_mut().unwrap().remove("created");
        object.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
        subscription(&object).started.map(Timestamp::micros)
    };
    let seconds = |n: i64| Some(n * 1_000_000);
    // 2014: only `start`. Before 2019-10-17 `start` is the start of the current plan, so `created` outranks it.
    assert_eq!(started(json!({ "start": AT - 30 })), seconds(AT - 30));
    assert_eq!(started(json!({ "start": AT - 30, "created": AT - 40 })), seconds(AT - 40));
    assert_eq!(started(json!({ "start_date": AT - 50, "created": null })), seconds(AT - 50));
    assert_eq!(started(json!({ "start_date": AT - 50, "created": AT - 40 })), seconds(AT - 40));
    assert_eq!(started(json!({})), None);
}

#[test]
fn an_invoice_names_its_subscription_and_tenant_in_old_and_expanded_forms() {
    let stamp = json!({ "tenant_id": "acme" });
    for shape in [
        // 2014 to 2018: the line of a subscription has the id of the subscription.
        json!({ "lines": { "object": "list", "data": [
            { "id": "ii_1", "type": "invoiceitem", "metadata": {} },
            { "id": "sub_1", "type": "subscription", "metadata": stamp, "plan": { "id": "gold" } } ] } }),
        // 2018 to 2025: a field of the line.
        json!({ "lines": { "data": [{ "id": "il_1", "type": "subscription", "subscription": "sub_1",
            "metadata": stamp }] } }),
        // 2025: an invoice item of a subscription, such as a proration.
        json!({ "lines": { "data": [{ "id": "il_1", "metadata": stamp, "parent": {
            "subscription_item_details": null, "invoice_item_details": { "subscription": "sub_1" } } }] } }),
        // Expanded objects.
        json!({ "subscription": { "id": "sub_1", "object": "subscription", "metadata": stamp } }),
        json!({ "parent": { "subscription_details": { "metadata": null,
            "subscription": { "id": "sub_1", "metadata": stamp } } } }),
    ] {
        for customer in [json!("cus_1"), json!({ "id": "cus_1", "object": "customer", "deleted": true })] {
            let mut object =
                json!({ "id": "in_1", "customer": customer, "amount_due": 900, "amount_paid": 900 });
            object.as_object_mut().unwrap().extend(shape.as_object().unwrap().clone());
            let facts = payment(&object);
            assert_eq!(facts.customer.as_deref(), Some("cus_1"), "{shape}");
            assert_eq!(facts.subscription.as_deref(), Some("sub_1"), "{shape}");
            assert_eq!(facts.tenant.as_deref(), Some("acme"), "{shape}");
        }
    }
    // The id of a line of another kind is no subscription.
    for line in [
        json!({ "id": "sub_1", "type": "invoiceitem" }),
        json!({ "id": "il_1", "type": "subscription" }),
        json!({ "id": "su_1", "type": "subscription" }),
    ] {
        let facts = payment(&json!({ "id": "in_1", "customer": "cus_1", "lines": { "data": [line] } }));
        assert_eq!(facts.subscription, None, "{line}");
    }
}

#[test]
fn expanded_objects_read_as_their_ids() {
    let mut object = sub();
    object["customer"] =
        json!({ "id": "cus_1", "object": "customer", "metadata": { "tenant_id": "globex" } });
    object["items"]["data"][0]["price"] =
        json!({ "id": "price_pro", "lookup_key": "pro", "product": { "id": "prod_1", "metadata": {} } });
    let facts = subscription(&object);
    assert_eq!((facts.customer.as_str(), facts.tenant.as_deref()), ("cus_1", Some("acme")));
    assert_eq!(facts.state.prices[0].lookup_key.as_deref(), Some("pro"));

    let mut object = session();
    object["customer"] = json!({ "id": "cus_1", "object": "customer" });
    object["subscription"] = sub();
    let facts = checkout(&object);
    assert_eq!((facts.customer.as_deref(), facts.subscription.as_deref()), (Some("cus_1"), Some("sub_1")));
}

/// Until 2017-05-25 an event named its connected account in `user_id`.
#[test]
fn an_old_event_of_a_connected_account_is_not_of_our_own() {
    let mut old = event("customer.subscription.updated", &sub());
    old["user_id"] = json!("acct_1");
    let old = old.to_string();
    let own = StripeEvents::new(Mode::Test);
    let event = own.read(old.as_bytes()).unwrap();
    assert_eq!(event.account.as_deref(), Some("acct_1"));
    assert!(matches!(event.fact, Fact::Ignored { .. }), "{:?}", event.fact);
    let event = StripeEvents::new(Mode::Test).accounts(Accounts::Connected).read(old.as_bytes()).unwrap();
    assert_eq!(event.account.as_deref(), Some("acct_1"));
    assert!(matches!(event.fact, Fact::Subscription(_)));
}

/// Any JSON value, with the forms of numbers and ids that count here.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(|n| json!(n.to_string())),
        any::<String>().prop_map(Value::from),
        Just(json!("sub_1")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            inner.prop_map(|inner| json!({ "id": inner, "data": [inner], "has_more": inner })),
        ]
    })
}

proptest! {
    /// One value anywhere in a good object is replaced: the event is read, or rejected by name.
    #[test]
    fn any_value_in_any_place_is_read_or_rejected(
        value in value(),
        place in prop::sample::select(vec![
            "/id", "/customer", "/status", "/created", "/cancel_at", "/cancel_at_period_end", "/items", "/metadata",
            "/items/data", "/items/has_more", "/items/data/0", "/items/data/0/price", "/items/data/0/quantity",
            "/items/data/0/current_period_end", "/metadata/tenant_id", "/current_period_end",
        ]),
    ) {
        let object = with(&sub(), place, &value);
        let fact = read(&event("customer.subscription.updated", &object)).fact;
        match &fact {
            Fact::Subscription(facts) => {
                // What was in the event and is not null is in the facts as well.
                if place == "/cancel_at" {
                    prop_assert_eq!(facts.state.cancel_at.is_none(), value.is_null());
                }
                if place == "/items/data/0/price" {
                    prop_assert_eq!(facts.partial, facts.state.prices.is_empty());
                }
            }
            Fact::Unreadable { reason } => prop_assert!(!reason.is_empty()),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
