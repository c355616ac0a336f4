//! The present state of a subscription is read from Stripe: after unclear events, for thin events, on request.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tenancy::ErrorKind;
use tenancy::billing::stripe::StripeBilling;
use tenancy::billing::{BillingPolicy, EventOutcome};
use tenancy::tenant::{TenantId, TenantStatus, TenantStore};

use crate::scripted_api::{ScriptedApi, down};
use crate::stripe_fixture::{Fixture, START, checkout, created, event, stamped, subscription, updated, with};

const ORIGIN: &str = "https://app.example.com";

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

/// The fixture, whose webhook reads from `api`.
async fn reading() -> (Fixture, ScriptedApi, StripeBilling) {
    let mut fixture = Fixture::new().await;
    let api = ScriptedApi::default();
    let billing = StripeBilling::new(fixture.webhook.clone(), Arc::new(api.clone()), [ORIGIN]).unwrap();
    fixture.webhook = billing.webhook().clone();
    (fixture, api, billing)
}

fn sub(status: &str, price: &str) -> Value {
    stamped(subscription("sub_1", "cus_1", status, price), "acme")
}

fn thin(id: &str, kind: &str, object: &str, url: &str) -> Value {
    json!({
        "id": id, "object": "v2.core.event", "type": kind, "created": "2023-11-14T22:13:20.123Z",
        "livemode": false, "snapshot_event": null,
        "related_object": { "id": object, "type": "subscription", "url": url },
    })
}

fn thin_subscription(id: &str) -> Value {
    thin(id, "v1.customer.subscription.updated", "sub_1", "/v1/subscriptions/sub_1")
}

#[tokio::test]
async fn an_unclear_order_is_settled_by_a_read() {
    let (fixture, api, _) = reading().await;
    let _ = fixture.send(&created("evt_1", 0, &sub("active", "price_basic"))).await;
    // Two changes of one second, whose order their contents do not show.
    let to_pro = updated("evt_2", 5, &sub("active", "price_pro"), &json!({}));
    let to_basic = updated("evt_3", 5, &sub("past_due", "price_basic"), &json!({}));
    api.subscription(&sub("active", "price_pro"));
    let _ = fixture.send(&to_pro).await;
    assert!(api.take_paths().is_empty(), "an event in order is not read again");
    let _ = fixture.send(&to_basic).await;
    assert_eq!(api.take_paths(), ["Get /v1/subscriptions/sub_1"]);
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
    assert!(!fixture.subscription("sub_1").unwrap().needs_refresh());
    assert!(fixture.webhook.unclear_subscriptions(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_read_that_fails_is_made_up_for_later() {
    let (fixture, api, billing) = reading().await;
    let _ = fixture.send(&created("evt_1", 0, &sub("active", "price_basic"))).await;
    let _ = fixture.send(&updated("evt_2", 5, &sub("active", "price_pro"), &json!({}))).await;
    api.next(|_| Some(Err(down())));
    let unclear = updated("evt_3", 5, &sub("past_due", "price_basic"), &json!({}));
    assert_eq!(fixture.send(&unclear).await, EventOutcome::NeedsRefresh);
    assert_eq!(fixture.webhook.unclear_subscriptions(10).await.unwrap().len(), 1);
    api.next(|_| Some(Err(down())));
    assert_eq!(billing.refresh_unclear(10).await.unwrap_err().kind(), ErrorKind::BillingUnavailable);
    api.subscription(&sub("past_due", "price_basic"));
    assert_eq!(billing.refresh_unclear(10).await.unwrap(), 1);
    assert_eq!(fixture.acme().await, ("basic".to_owned(), TenantStatus::PastDue));
    assert!(fixture.webhook.unclear_subscriptions(10).await.unwrap().is_empty());
    assert_eq!(billing.refresh_unclear(10).await.unwrap(), 0);
}

#[tokio::test]
async fn an_event_that_comes_during_a_read_is_not_overwritten() {
    let (fixture, api, billing) = reading().await;
    let _ = fixture.send(&created("evt_1", 0, &sub("active", "price_basic"))).await;
    // Stripe answers with the old state; before the answer arrives, the event of a change is applied.
    let (before, now) = (sub("active", "price_basic"), sub("active", "price_pro"));
    api.subscription(&now);
    let webhook = fixture.webhook.clone();
    let (body, clock) = (updated("evt_2", 900, &now, &json!({})).to_string(), fixture.clock.clone());
    api.next(move |request| {
        assert_eq!(request.path, "/v1/subscriptions");
        let signature = tenancy::billing::stripe::sign(
            crate::stripe_fixture::SECRET,
            body.as_bytes(),
            tenancy::clock::Clock::now(&*clock),
        );
        let receive = async { webhook.receive(body.as_bytes(), &[signature.as_bytes()]).await.unwrap() };
        let outcome = futures_util::FutureExt::now_or_never(receive).expect("the memory store never waits");
        assert!(matches!(outcome, EventOutcome::Applied { .. }), "{outcome:?}");
        let listed = with(before, &json!({ "livemode": false }));
        Some(Ok(json!({ "object": "list", "has_more": false, "data": [listed] })))
    });
    let tenant = billing.sync_now(&acme()).await.unwrap();
    assert_eq!(
        tenant.plan(),
        "pro",
        "the read of the list is the older one, so the subscription was read again"
    );
    assert_eq!(api.take_paths(), ["Get /v1/subscriptions", "Get /v1/subscriptions/sub_1"]);
}

#[tokio::test]
async fn a_late_event_after_a_read_does_no_harm() {
    let (fixture, api, billing) = reading().await;
    let _ = fixture.send(&created("evt_1", 0, &sub("active", "price_basic"))).await;
    fixture.clock.advance_seconds(1_000);
    api.subscription(&sub("active", "price_pro"));
    billing.sync_now(&acme()).await.unwrap();
    api.take_paths();
    // Far older than the read: stale, and nothing is read.
    let late = updated("evt_2", 300, &sub("past_due", "price_basic"), &json!({}));
    assert_eq!(fixture.send(&late).await, EventOutcome::Stale);
    assert!(api.take_paths().is_empty());
    // As old as the read, as far as two clocks agree: the same state is not read again, another one is.
    let near = updated("evt_3", 990, &sub("active", "price_pro"), &json!({}));
    assert_eq!(fixture.send(&near).await, EventOutcome::Unchanged);
    assert!(api.take_paths().is_empty());
    let near = updated("evt_4", 1_200, &sub("past_due", "price_basic"), &json!({}));
    let _ = fixture.send(&near).await;
    assert_eq!(api.take_paths(), ["Get /v1/subscriptions/sub_1"]);
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
    // Newer than the read: applied.
    let _ = fixture.send(&updated("evt_5", 2_000, &sub("past_due", "price_pro"), &json!({}))).await;
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::PastDue));
}

#[tokio::test]
async fn thin_events_are_applied_with_the_present_state() {
    let (fixture, api, _) = reading().await;
    api.subscription(&sub("trialing", "price_pro"));
    let outcome = fixture.send(&thin_subscription("evt_t1")).await;
    assert!(matches!(outcome, EventOutcome::Applied { .. }), "{outcome:?}");
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Trialing));
    assert_eq!(fixture.send(&thin_subscription("evt_t1")).await, EventOutcome::Duplicate);
    // The snapshot event of the same change is the same event.
    let thin_2 = with(thin_subscription("evt_t2"), &json!({ "snapshot_event": "evt_2" }));
    api.subscription(&sub("active", "price_pro"));
    assert!(matches!(fixture.send(&thin_2).await, EventOutcome::Applied { .. }));
    let snapshot = updated("evt_2", 0, &sub("past_due", "price_pro"), &json!({}));
    assert_eq!(fixture.send(&snapshot).await, EventOutcome::Duplicate);
    // Types that exist as thin events only.
    api.subscription(&sub("past_due", "price_pro"));
    let past_due = thin("evt_t3", "v1.customer.subscription.past_due", "sub_1", "/v1/subscriptions/sub_1");
    assert!(matches!(fixture.send(&past_due).await, EventOutcome::Applied { .. }));
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::PastDue));
}

#[tokio::test]
async fn thin_events_that_cannot_be_used() {
    let (fixture, api, _) = reading().await;
    let ignored = async |event: Value, why: &str| {
        let EventOutcome::Ignored { reason } = fixture.send(&event).await else { panic!("{why}") };
        assert!(reason.contains(why), "{reason}");
    };
    ignored(thin_subscription("evt_1"), "does not exist").await;
    api.take_paths();
    ignored(with(thin_subscription("evt_2"), &json!({ "livemode": true })), "other mode").await;
    ignored(with(thin_subscription("evt_3"), &json!({ "context": "acct_1" })), "connected account").await;
    ignored(with(thin_subscription("evt_4"), &json!({ "context": "org_1/acct_1" })), "organisation").await;
    ignored(with(thin_subscription("evt_5"), &json!({ "related_object": null })), "no object").await;
    ignored(thin("evt_6", "v1.product.created", "prod_1", "/v1/products/prod_1"), "of this type").await;
    assert!(api.take_paths().is_empty(), "what is ignored is not read");
    // Signed, but not of Stripe's form: kept for a person.
    for (id, change) in [("evt_7", json!({ "id": 7 })), ("evt_8", json!({ "type": null }))] {
        let outcome = fixture.send(&with(thin_subscription(id), &change)).await;
        assert!(matches!(outcome, EventOutcome::Quarantined { .. }), "{outcome:?}");
    }
    for url in ["https://evil.test/", "/v2/x", "/v1/../v2/x", "/v1/x?a=b"] {
        let outcome = fixture.send(&thin("evt_9", "v1.invoice.paid", "in_1", url)).await;
        assert!(matches!(outcome, EventOutcome::Quarantined { .. } | EventOutcome::Duplicate), "{outcome:?}");
    }
    assert!(api.take_paths().is_empty());
    // Stripe is down: the delivery fails, and its repetition succeeds.
    api.subscription(&sub("active", "price_pro"));
    api.next(|_| Some(Err(down())));
    let error = fixture.try_send(&thin_subscription("evt_10")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BillingUnavailable);
    assert!(error.is_transient());
    assert!(matches!(fixture.send(&thin_subscription("evt_10")).await, EventOutcome::Applied { .. }));
    // Without an API the destination is the wrong one.
    let plain = Fixture::new().await;
    let error = plain.try_send(&thin_subscription("evt_11")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
}

#[tokio::test]
async fn a_thin_event_waits_for_its_tenant() {
    let (fixture, api, _) = reading().await;
    api.subscription(&subscription("sub_1", "cus_1", "active", "price_pro"));
    let outcome = fixture.send(&thin_subscription("evt_1")).await;
    assert!(matches!(outcome, EventOutcome::Quarantined { .. }), "{outcome:?}");
    assert_eq!(fixture.acme().await.0, "free");
    let session = json!({ "id": "cs_1", "metadata": { "tenant_id": "acme" }, "subscription": null });
    let _ = fixture.send(&checkout("evt_2", 1, "cus_1", &session)).await;
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
    assert_eq!(fixture.quarantined(), 0);
}

#[tokio::test]
async fn a_paid_checkout_applies_its_subscription_at_once() {
    let (fixture, api, _) = reading().await;
    api.subscription(&subscription("sub_1", "cus_1", "active", "price_pro"));
    let session = json!({ "client_reference_id": "acme", "subscription": "sub_1" });
    let _ = fixture.send(&checkout("evt_1", 1, "cus_1", &session)).await;
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
    // As a thin event too: the session is read, then the subscription.
    let (fixture, api, _) = reading().await;
    api.subscription(&subscription("sub_1", "cus_1", "active", "price_pro"));
    let session = checkout("evt_1", 1, "cus_1", &session)["data"]["object"].clone();
    api.put("/v1/checkout/sessions/cs_1", &session);
    let event = thin("evt_t", "v1.checkout.session.completed", "cs_1", "/v1/checkout/sessions/cs_1");
    let _ = fixture.send(&event).await;
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
}

/// A test clock is a month ahead. A read that contains the renewal is as new as the renewal.
#[tokio::test]
async fn a_read_on_a_test_clock_is_as_new_as_its_period() {
    let (fixture, api, billing) = reading().await;
    let _ = fixture.send(&created("evt_1", 0, &sub("active", "price_pro"))).await;
    let month = 2_592_000;
    let mut renewed = sub("past_due", "price_pro");
    renewed["items"]["data"][0]["current_period_start"] = json!(START + month);
    api.subscription(&renewed);
    assert_eq!(billing.sync_now(&acme()).await.unwrap().status(), TenantStatus::PastDue);
    // The event of the renewal, before the payment failed, comes afterwards.
    let mut before = renewed.clone();
    before["status"] = json!("active");
    let _ = fixture.send(&updated("evt_2", month, &before, &json!({}))).await;
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::PastDue));
    let _ = fixture.send(&updated("evt_3", month + 3600, &renewed, &json!({ "status": "active" }))).await;
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::PastDue));
    assert_eq!(fixture.audit("billing.subscription").len(), 2, "the plan, then past due once");
}

/// A dispute names a charge only. Its charge names the customer.
#[tokio::test]
async fn a_dispute_finds_its_tenant_by_its_charge() {
    let (mut fixture, api, _) = reading().await;
    fixture.webhook = fixture.webhook.policy(BillingPolicy::new().suspend_disputed());
    let _ = fixture.send(&created("evt_1", 0, &sub("active", "price_pro"))).await;
    let dispute = |id: &str, second, kind: &str, status: &str| {
        let object =
            json!({ "id": "dp_1", "object": "dispute", "charge": "ch_1", "status": status, "amount": 100 });
        event(id, second, kind, &object)
    };
    let opened = dispute("evt_2", 5, "charge.dispute.created", "needs_response");
    let EventOutcome::Ignored { reason } = fixture.send(&opened).await else { panic!("no charge is known") };
    assert!(reason.contains("by its charge"), "{reason}");
    api.put("/v1/charges/ch_1", &json!({ "id": "ch_1", "object": "charge", "customer": "cus_1" }));
    assert!(matches!(fixture.send(&opened).await, EventOutcome::Applied { .. }));
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Suspended));
    // Stripe is down: the event comes again.
    let closed = dispute("evt_3", 9, "charge.dispute.closed", "won");
    api.next(|_| Some(Err(down())));
    assert!(fixture.try_send(&closed).await.unwrap_err().is_transient());
    assert!(matches!(fixture.send(&closed).await, EventOutcome::Applied { .. }));
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
    // An event of the other mode is not read.
    api.take_paths();
    let live =
        with(dispute("evt_4", 12, "charge.dispute.created", "needs_response"), &json!({ "livemode": true }));
    assert!(matches!(fixture.send(&live).await, EventOutcome::Ignored { .. }));
    assert!(api.take_paths().is_empty());
}

#[tokio::test]
async fn all_items_of_a_long_subscription_are_read() {
    let (fixture, api, billing) = reading().await;
    let _ = fixture.send(&created("evt_1", 0, &sub("active", "price_basic"))).await;
    let mut long = sub("active", "price_unknown");
    long["items"]["has_more"] = json!(true);
    api.subscription(&long);
    let item = crate::stripe_fixture::item("price_pro", 1);
    api.put("/v1/subscription_items", &json!({ "object": "list", "has_more": false, "data": [item] }));
    assert_eq!(billing.sync_now(&acme()).await.unwrap().plan(), "pro");
    assert!(!fixture.subscription("sub_1").unwrap().needs_refresh());
}

#[tokio::test]
async fn a_key_of_the_other_mode_is_an_error() {
    let (fixture, api, billing) = reading().await;
    let _ = fixture.send(&created("evt_1", 0, &sub("active", "price_basic"))).await;
    api.put("/v1/subscriptions/sub_1", &with(sub("active", "price_pro"), &json!({ "livemode": true })));
    assert_eq!(billing.sync_now(&acme()).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(fixture.acme().await.0, "basic");
}

#[tokio::test]
async fn a_customer_of_another_tenant_is_not_taken_over_by_a_read() {
    let (fixture, api, billing) = reading().await;
    let _ = fixture.send(&created("evt_1", 0, &sub("active", "price_basic"))).await;
    // Stripe's object names globex; the stored link says acme.
    api.subscription(&stamped(subscription("sub_1", "cus_1", "active", "price_pro"), "globex"));
    billing.sync_now(&acme()).await.unwrap();
    assert_eq!(fixture.acme().await.0, "basic");
    let unknown = TenantId::parse("nobody").unwrap();
    assert_eq!(billing.sync_now(&unknown).await.unwrap_err().kind(), ErrorKind::TenantUnknown);
}

#[tokio::test]
async fn reconciliation_repairs_what_was_missed() {
    let (fixture, api, billing) = reading().await;
    let first = created("evt_1", 0, &sub("active", "price_basic"));
    let _ = fixture.send(&first).await;
    api.put("/v1/events/1", &first);
    let missing = billing.reconcile().await.unwrap().missing;
    assert_eq!(missing.iter().map(tenancy::billing::Subscription::id).collect::<Vec<_>>(), ["sub_1"]);
    assert_eq!(fixture.acme().await.0, "basic");
    // While the endpoint was down: a change, a payment, a subscription of somebody unknown, and one of globex.
    api.put(
        "/v1/events/3",
        &with(updated("evt_2", 5, &sub("active", "price_pro"), &json!({})), &json!({ "id": "evt_2" })),
    );
    api.put(
        "/v1/events/2",
        &created("evt_3", 6, &stamped(subscription("sub_g", "cus_g", "active", "price_pro"), "globex")),
    );
    api.subscription(&sub("active", "price_pro"));
    api.subscription(&stamped(subscription("sub_g", "cus_g", "past_due", "price_pro"), "globex"));
    api.subscription(&subscription("sub_x", "cus_x", "active", "price_pro"));
    let found = billing.reconcile().await.unwrap();
    assert_eq!((found.events, found.missed_events, found.subscriptions), (3, 2, 3));
    assert_eq!(found.unknown, ["sub_x"]);
    assert!(found.missing.is_empty());
    let changed: Vec<String> = found.changed.iter().map(ToString::to_string).collect();
    assert_eq!(changed, ["acme", "globex"]);
    let globex = fixture.tenant("globex").await;
    assert_eq!((globex.plan(), globex.status()), ("pro", TenantStatus::PastDue));
    assert_eq!(fixture.tenant("acme").await.plan(), "pro");
    // Again: nothing to repair.
    let again = billing.reconcile().await.unwrap();
    assert_eq!((again.missed_events, again.changed.len()), (0, 0));
}

/// A change of the subscription, the delivery of one of its events, or a read.
#[derive(Debug, Clone, Copy)]
enum Move {
    Change(usize),
    Deliver(usize),
    Read,
    Wait(i64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (0..6_usize).prop_map(Move::Change),
        (0..20_usize).prop_map(Move::Deliver),
        Just(Move::Read),
        (0..400_i64).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..24)
}

const STATES: [(&str, &str); 6] = [
    ("active", "price_basic"),
    ("active", "price_pro"),
    ("past_due", "price_pro"),
    ("past_due", "price_basic"),
    ("unpaid", "price_pro"),
    ("trialing", "price_pro"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Stripe's clock and ours differ by up to four minutes; events come late and in any order, between reads. The result
    /// is the present state, or the subscription is marked.
    #[test]
    fn events_and_reads_in_any_order_end_in_the_present_state(moves in moves(), skew in -240..240_i64, fails in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (fixture, api, billing) = reading().await;
            fixture.clock.advance_seconds(10_000);
            let stripe_now = |fixture: &Fixture| {
                tenancy::clock::Clock::now(&*fixture.clock).seconds() - START + skew
            };
            let mut present = sub("active", "price_basic");
            let mut waiting = vec![created("evt_0", stripe_now(&fixture), &present)];
            api.subscription(&present);
            for (at, one) in moves.iter().enumerate() {
                match *one {
                    Move::Change(state) => {
                        let (status, price) = STATES[state];
                        let next = sub(status, price);
                        let mut previous = json!({});
                        if next["status"] != present["status"] {
                            previous["status"] = present["status"].clone();
                        }
                        if next["items"] != present["items"] {
                            previous["items"] = present["items"].clone();
                        }
                        waiting.push(updated(&format!("evt_{}", at + 1), stripe_now(&fixture), &next, &previous));
                        api.subscription(&next);
                        present = next;
                    }
                    Move::Deliver(which) if !waiting.is_empty() => {
                        let event = waiting.remove(which % waiting.len());
                        if fails >> (at % 64) & 1 == 1 {
                            api.next(|_| Some(Err(down())));
                        }
                        let _ = fixture.send(&event).await;
                        api.forget_replies();
                    }
                    Move::Deliver(_) => {}
                    Move::Read => {
                        let _ = billing.sync_now(&acme()).await.unwrap();
                    }
                    Move::Wait(seconds) => fixture.clock.advance_seconds(seconds),
                }
            }
            while let Some(event) = waiting.pop() {
                let _ = fixture.send(&event).await;
            }
            let stored = fixture.subscription("sub_1").unwrap();
            let is_present = |stored: &tenancy::billing::Subscription| {
                stored.status().as_str() == present["status"]
                    && stored.prices()[0].id == present["items"]["data"][0]["price"]["id"]
            };
            assert!(stored.needs_refresh() || is_present(&stored), "{stored:?}\n{present}");
            billing.refresh_unclear(10).await.unwrap();
            let stored = fixture.subscription("sub_1").unwrap();
            assert!(is_present(&stored) && !stored.needs_refresh(), "{stored:?}\n{present}");
            let plan = fixture.store.by_id(&acme()).await.unwrap().unwrap().plan().to_owned();
            assert_eq!(Some(plan.as_str()), stored.plan());
        });
    }
}
