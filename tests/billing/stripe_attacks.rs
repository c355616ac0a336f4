//! What happens between a request to Stripe and its response, and objects that Stripe's API does not serve.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tenancy::billing::stripe::{Cancellation, Checkout, StripeBilling, StripeWebhook, sign};
use tenancy::billing::{BillingPolicy, BillingStore, EventOutcome};
use tenancy::clock::{Clock, ManualClock};
use tenancy::tenant::{TenantId, TenantStatus};
use tenancy::{Error, ErrorKind};

use crate::scripted_api::{ScriptedApi, down, missing};
use crate::stripe_fixture::{Fixture, SECRET, created, deleted, event, stamped, subscription, updated, with};

const ORIGIN: &str = "https://app.example.com";
const DAY: i64 = 24 * 60 * 60;

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

async fn under(policy: BillingPolicy) -> (Fixture, ScriptedApi, StripeBilling) {
    let mut fixture = Fixture::new().await;
    let api = ScriptedApi::default();
    let webhook = fixture.webhook.clone().policy(policy);
    let billing = StripeBilling::new(webhook, Arc::new(api.clone()), [ORIGIN]).unwrap();
    fixture.webhook = billing.webhook().clone();
    api.put("/v1/prices/price_pro", &json!({ "id": "price_pro", "lookup_key": null, "product": "prod_1" }));
    api.put("/v1/customers", &json!({ "id": "cus_1" }));
    (fixture, api, billing)
}

fn sub(id: &str, status: &str, price: &str) -> Value {
    stamped(subscription(id, "cus_1", status, price), "acme")
}

fn live(object: &Value) -> Value {
    with(object.clone(), &json!({ "livemode": false }))
}

fn pro() -> Checkout {
    Checkout::new("price_pro", "https://app.example.com/done", "https://app.example.com/billing")
}

fn session(api: &ScriptedApi, id: &str, status: &str) {
    let session = json!({ "id": id, "url": format!("https://checkout.test/{id}"), "status": status });
    api.put("/v1/checkout/sessions", &session);
    api.put(&format!("/v1/checkout/sessions/{id}"), &session);
    api.put(&format!("/v1/checkout/sessions/{id}/expire"), &with(session, &json!({ "status": "expired" })));
}

/// Receives an event inside of a reply of Stripe.
fn receive(webhook: &StripeWebhook, clock: &ManualClock, event: &Value) -> EventOutcome {
    let body = event.to_string();
    let signature = sign(SECRET, body.as_bytes(), clock.now());
    let outcome = async { webhook.receive(body.as_bytes(), &[signature.as_bytes()]).await.unwrap() };
    futures_util::FutureExt::now_or_never(outcome).expect("the memory store never waits")
}

fn rejected() -> Error {
    Error::new(ErrorKind::BillingRejected, "the key may not read this")
}

#[tokio::test]
async fn a_read_does_not_prolong_a_grace() {
    let policy = BillingPolicy::new().past_due_grace(Duration::from_hours(7 * 24));
    let (fixture, api, billing) = under(policy).await;
    let _ = fixture.send(&created("evt_1", 0, &sub("sub_1", "active", "price_pro"))).await;
    api.subscription(&sub("sub_1", "past_due", "price_pro"));
    // Its events are missed. It is read every day.
    for _ in 0..6 {
        fixture.clock.advance_seconds(DAY);
        billing.reconcile().await.unwrap();
        assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::PastDue));
    }
    fixture.clock.advance_seconds(2 * DAY);
    assert_eq!(fixture.webhook.apply_due(10).await.unwrap().len(), 1);
    billing.reconcile().await.unwrap();
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Suspended));
    // It is paid, and past due again much later: the grace starts again.
    api.subscription(&sub("sub_1", "active", "price_pro"));
    billing.sync_now(&acme()).await.unwrap();
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
    fixture.clock.advance_seconds(30 * DAY);
    api.subscription(&sub("sub_1", "past_due", "price_pro"));
    billing.sync_now(&acme()).await.unwrap();
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::PastDue));
    fixture.clock.advance_seconds(8 * DAY);
    assert_eq!(fixture.webhook.apply_due(10).await.unwrap().len(), 1);
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Suspended));
}

#[tokio::test]
async fn a_page_of_reconciliation_does_not_overwrite_a_newer_event() {
    let (fixture, api, billing) = under(BillingPolicy::new()).await;
    let (before, now) = (live(&sub("sub_1", "past_due", "price_basic")), sub("sub_1", "active", "price_pro"));
    api.subscription(&now);
    let (webhook, clock) = (fixture.webhook.clone(), fixture.clock.clone());
    // The events of the last 30 days and of today.
    for _ in 0..31 {
        api.next(|_| None);
    }
    // The page has the subscription as it was before a change. Its events are applied before the page arrives.
    api.next(move |request| {
        assert_eq!(request.path, "/v1/subscriptions");
        let _ = receive(&webhook, &clock, &created("evt_1", 0, &before));
        let _ = receive(&webhook, &clock, &updated("evt_2", 1, &now, &json!({ "status": "past_due" })));
        Some(Ok(json!({ "object": "list", "has_more": false, "data": [before] })))
    });
    billing.reconcile().await.unwrap();
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
}

#[tokio::test]
async fn a_canceled_subscription_is_not_read_one_by_one() {
    let (fixture, api, billing) = under(BillingPolicy::new()).await;
    let _ = fixture.send(&created("evt_1", 0, &sub("sub_1", "active", "price_pro"))).await;
    let _ = fixture.send(&deleted("evt_2", 5, &sub("sub_1", "active", "price_pro"))).await;
    api.subscription(&sub("sub_1", "canceled", "price_pro"));
    billing.reconcile().await.unwrap();
    let mut paths = api.take_paths();
    paths.retain(|path| path != "Get /v1/events");
    assert_eq!(paths, ["Get /v1/subscriptions"]);
}

#[tokio::test]
async fn a_checkout_that_was_slow_sells_nothing_twice() {
    let (fixture, api, billing) = under(BillingPolicy::new()).await;
    session(&api, "cs_1", "open");
    billing.checkout(&acme(), &pro()).await.unwrap();
    // While the second checkout is created, the first one is paid.
    session(&api, "cs_2", "open");
    api.take_paths();
    let (webhook, clock) = (fixture.webhook.clone(), fixture.clock.clone());
    let store = fixture.store.clone();
    api.next(|_| None); // The price.
    api.next(move |request| {
        assert_eq!(request.path, "/v1/checkout/sessions/cs_1/expire");
        None
    });
    api.next(move |request| {
        assert_eq!(request.path, "/v1/checkout/sessions");
        // Another node's checkout, which was created and paid meanwhile.
        let paid = async {
            let mut tx = store.begin().await.unwrap();
            tx.save_checkout("cs_other", &acme(), clock.now()).await.unwrap();
            tx.commit().await.unwrap();
        };
        futures_util::FutureExt::now_or_never(paid).unwrap();
        let _ = receive(&webhook, &clock, &created("evt_1", 0, &sub("sub_1", "active", "price_pro")));
        let bought = json!({
            "id": "cs_other", "object": "checkout.session", "mode": "subscription", "payment_status": "paid",
            "customer": "cus_1", "subscription": "sub_1", "metadata": {},
        });
        let _ = receive(&webhook, &clock, &event("evt_2", 0, "checkout.session.completed", &bought));
        None
    });
    let second = billing.checkout(&acme(), &pro()).await;
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Conflict);
    let paths = api.take_paths();
    assert!(paths.contains(&"Post /v1/checkout/sessions/cs_2/expire".to_owned()), "{paths:?}");
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
    assert!(fixture.store.begin().await.unwrap().open_checkouts(&acme()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_paid_checkout_blocks_the_next_one_until_its_subscription_is_read() {
    let (fixture, api, billing) = under(BillingPolicy::new()).await;
    session(&api, "cs_1", "open");
    billing.checkout(&acme(), &pro()).await.unwrap();
    // It is paid, its events are late, and Stripe does not list the subscription at first.
    session(&api, "cs_1", "complete");
    session(&api, "cs_2", "open");
    for attempt in 0..3 {
        api.forget_replies();
        api.next(|_| None); // The price.
        api.next(|request| {
            assert_eq!(request.path, "/v1/checkout/sessions/cs_1/expire");
            Some(Err(rejected()))
        });
        api.next(|_| None); // The checkout.
        if attempt < 2 {
            api.next(|request| {
                assert_eq!(request.path, "/v1/subscriptions");
                Some(Err(down()))
            });
        } else {
            api.subscription(&sub("sub_1", "active", "price_pro"));
        }
        let kind = billing.checkout(&acme(), &pro()).await.unwrap_err().kind();
        assert_eq!(kind, if attempt < 2 { ErrorKind::BillingUnavailable } else { ErrorKind::Conflict });
    }
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
}

#[tokio::test]
async fn a_completed_checkout_blocks_the_next_one_until_its_subscription_is_stored() {
    let (fixture, api, billing) = under(BillingPolicy::new()).await;
    session(&api, "cs_1", "open");
    billing.checkout(&acme(), &pro()).await.unwrap();
    let bought = json!({
        "id": "cs_1", "object": "checkout.session", "mode": "subscription", "payment_status": "paid",
        "customer": "cus_1", "subscription": "sub_1", "metadata": {},
    });
    api.next(|_| Some(Err(down()))); // The subscription is not read, and its own event is late.
    let _ = fixture.send(&event("evt_1", 0, "checkout.session.completed", &bought)).await;
    api.subscription(&sub("sub_1", "active", "price_pro"));
    session(&api, "cs_1", "complete");
    session(&api, "cs_2", "open");
    let expired_too_late = |api: &ScriptedApi| {
        api.next(|_| None); // The price.
        api.next(|request| {
            assert_eq!(request.path, "/v1/checkout/sessions/cs_1/expire");
            Some(Err(rejected()))
        });
    };
    expired_too_late(&api);
    assert_eq!(billing.checkout(&acme(), &pro()).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));

    // After the end of what it sold, the tenant buys again.
    let (fixture, api, billing) = under(BillingPolicy::new()).await;
    session(&api, "cs_1", "open");
    billing.checkout(&acme(), &pro()).await.unwrap();
    let _ = fixture.send(&created("evt_1", 0, &sub("sub_1", "active", "price_pro"))).await;
    let _ = fixture.send(&deleted("evt_2", 5, &sub("sub_1", "active", "price_pro"))).await;
    api.subscription(&sub("sub_1", "canceled", "price_pro"));
    session(&api, "cs_1", "complete");
    session(&api, "cs_2", "open");
    expired_too_late(&api);
    assert_eq!(billing.checkout(&acme(), &pro()).await.unwrap().id, "cs_2");
}

#[tokio::test]
async fn a_cancellation_that_took_effect_before_is_applied() {
    let (fixture, api, billing) = under(BillingPolicy::new()).await;
    let _ = fixture.send(&created("evt_1", 0, &sub("sub_1", "active", "price_pro"))).await;
    // The response of the first attempt was lost: Stripe does not cancel twice.
    api.subscription(&sub("sub_1", "canceled", "price_pro"));
    api.next(|_| Some(Err(missing())));
    let tenant = billing.cancel(&acme(), Cancellation::Now).await.unwrap();
    assert_eq!((tenant.plan(), tenant.status()), ("free", TenantStatus::Active));
    assert_eq!(fixture.acme().await, ("free".to_owned(), TenantStatus::Active));
}

#[tokio::test]
async fn one_subscription_that_cannot_be_read_does_not_block_the_others() {
    let (fixture, api, billing) = under(BillingPolicy::new()).await;
    for (id, second) in [("sub_1", 0), ("sub_2", 1)] {
        let one = with(sub(id, "active", "price_pro"), &json!({ "status": "new_status" }));
        let _ = fixture.send(&created(&format!("evt_{id}"), second, &one)).await;
    }
    assert_eq!(fixture.webhook.unclear_subscriptions(10).await.unwrap().len(), 2);
    let unusable = with(sub("sub_1", "active", "price_pro"), &json!({ "cancel_at": "soon" }));
    api.subscription(&unusable);
    api.subscription(&sub("sub_2", "active", "price_basic"));
    assert_eq!(billing.refresh_unclear(10).await.unwrap_err().kind(), ErrorKind::BillingRejected);
    assert_eq!(fixture.acme().await, ("basic".to_owned(), TenantStatus::Active));

    // The same in a reconciliation, and for the events in it.
    api.subscription(&sub("sub_2", "past_due", "price_basic"));
    let long = "x".repeat(1 << 20);
    let events = [
        event(
            "evt_a",
            9,
            "customer.subscription.updated",
            &json!({ "id": "sub_9", "metadata": { "x": long } }),
        ),
        created("evt_b", 10, &sub("sub_3", "canceled", "price_basic")),
    ];
    for (at, event) in events.iter().enumerate() {
        api.put(&format!("/v1/events/{at}"), event);
    }
    assert_eq!(billing.reconcile().await.unwrap().failed, ["evt_a", "sub_1"]);
    assert!(fixture.subscription("sub_3").is_some());
    assert_eq!(fixture.acme().await, ("basic".to_owned(), TenantStatus::PastDue));
}

#[tokio::test]
async fn what_the_key_may_not_read_does_not_block_the_endpoint() {
    let (fixture, api, billing) = under(BillingPolicy::new().suspend_disputed()).await;
    let _ = fixture.send(&created("evt_1", 0, &sub("sub_1", "active", "price_pro"))).await;
    let dispute = json!({ "id": "dp_1", "object": "dispute", "charge": "ch_1", "status": "needs_response" });
    let dispute = event("evt_2", 5, "charge.dispute.created", &dispute);
    api.next(|_| Some(Err(rejected())));
    assert!(matches!(fixture.send(&dispute).await, EventOutcome::Ignored { .. }));
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
    // A reconciliation with a better key makes up for it.
    api.put("/v1/charges/ch_1", &json!({ "id": "ch_1", "object": "charge", "customer": "cus_1" }));
    api.put("/v1/events/evt_2", &dispute);
    api.subscription(&sub("sub_1", "active", "price_pro"));
    billing.reconcile().await.unwrap();
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Suspended));
}

#[tokio::test]
async fn a_thin_event_that_always_fails_is_set_apart() {
    let (fixture, api, _) = under(BillingPolicy::new()).await;
    api.subscription(&with(sub("sub_1", "active", "price_pro"), &json!({ "cancel_at": "soon" })));
    let thin = json!({
        "id": "evt_1", "object": "v2.core.event", "type": "v1.customer.subscription.updated",
        "created": "2023-11-14T22:13:20.123Z", "livemode": false,
        "related_object": { "id": "sub_1", "type": "subscription", "url": "/v1/subscriptions/sub_1" },
    });
    for _ in 0..4 {
        assert_eq!(fixture.try_send(&thin).await.unwrap_err().kind(), ErrorKind::BillingRejected);
    }
    assert!(matches!(fixture.send(&thin).await, EventOutcome::Quarantined { .. }));
    assert_eq!(fixture.quarantined(), 1);
    assert_eq!(fixture.send(&thin).await, EventOutcome::Duplicate);
    assert_eq!(fixture.acme().await, ("free".to_owned(), TenantStatus::Active));
}

#[tokio::test]
async fn a_price_is_no_path() {
    let (_, api, billing) = under(BillingPolicy::new()).await;
    for name in [
        "price_pro/../../customers/cus_1",
        "price_pro?expand[]=product",
        "price_pro#x",
        "price_/../price_pro",
    ] {
        let checkout = Checkout::new(name, "https://app.example.com/", "https://app.example.com/");
        assert_eq!(billing.checkout(&acme(), &checkout).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(api.take_paths(), ["Get /v1/prices"], "{name}");
    }
}
