//! What a tenant is on, whatever it buys, and who set it: each test is a history that once ended wrong without a mark.

use serde_json::{Value, json};
use tenancy::billing::stripe::{Accounts, Mode, StripeEvents};
use tenancy::billing::{BillingContext, BillingStore, EventOutcome, recompute, replay};
use tenancy::clock::{Clock, Timestamp};
use tenancy::plan::Catalog;
use tenancy::tenant::{TenantId, TenantStatus, TenantStore};

use crate::stripe_fixture::{
    Fixture, PLANS, START, checkout, created, deleted, stamped, subscription, updated, with,
};

fn sub(id: &str, status: &str, price: &str) -> Value {
    stamped(subscription(id, "cus_1", status, price), "acme")
}

fn plan(plan: &str, status: TenantStatus) -> (String, TenantStatus) {
    (plan.to_owned(), status)
}

async fn send_all(fixture: &Fixture, events: &[Value]) {
    for event in events {
        let _ = fixture.send(event).await;
    }
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

#[tokio::test]
async fn the_plan_follows_from_what_is_still_paid_for() {
    let fixture = Fixture::new().await;
    send_all(
        &fixture,
        &[
            created("e1", 1, &sub("sub_1", "active", "price_pro")),
            created("e2", 2, &sub("sub_2", "active", "price_other")),
            deleted("e3", 3, &sub("sub_1", "active", "price_pro")),
        ],
    )
    .await;
    assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active));
    let _ = fixture.send(&deleted("e4", 4, &sub("sub_2", "active", "price_other"))).await;
    assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active));
}

#[tokio::test]
async fn a_subscription_to_something_else_has_no_say() {
    for status in ["active", "trialing", "past_due", "unpaid", "paused"] {
        let fixture = Fixture::new().await;
        let event = |id: &str, second, status: &str| {
            updated(id, second, &sub("sub_1", status, "price_other"), &json!({}))
        };
        send_all(&fixture, &[event("e1", 1, "active"), event("e2", 2, status)]).await;
        assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active), "{status}");
        let _ = fixture.send(&deleted("e3", 3, &sub("sub_1", status, "price_other"))).await;
        assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active), "{status}");
    }
}

#[tokio::test]
async fn nothing_ends_that_was_never_paid() {
    for without_fallback in [false, true] {
        let fixture = if without_fallback { Fixture::without_fallback().await } else { Fixture::new().await };
        send_all(
            &fixture,
            &[
                created("e1", 1, &sub("sub_1", "incomplete", "price_pro")),
                deleted("e2", 2, &sub("sub_1", "incomplete", "price_pro")),
            ],
        )
        .await;
        assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active));
        // The payment that came through before is delivered late.
        let paid = updated("e3", 1, &sub("sub_1", "active", "price_pro"), &json!({ "status": "incomplete" }));
        let _ = fixture.send(&paid).await;
        let ended = if without_fallback { TenantStatus::Deactivated } else { TenantStatus::Active };
        assert_eq!(fixture.acme().await, plan("free", ended));
    }
}

#[tokio::test]
async fn a_plan_that_an_operator_granted_is_never_lowered() {
    let fixture = Fixture::new().await;
    let granted = fixture.tenant("acme").await.with_plan("pro");
    fixture.store.update(&granted).await.unwrap();
    let _ = fixture.send(&created("e1", 1, &sub("sub_1", "active", "price_basic"))).await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));
    let said = fixture.audit("billing.subscription").last().unwrap().details()["attention"].clone();
    assert_eq!(said, "the tenant pays for `basic`, and an operator granted `pro`, which has more");
    let _ = fixture.send(&deleted("e2", 2, &sub("sub_1", "active", "price_basic"))).await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));

    // A bought plan that has more replaces it, until it ends.
    let fixture = Fixture::new().await;
    let granted = fixture.tenant("acme").await.with_plan("basic");
    fixture.store.update(&granted).await.unwrap();
    let _ = fixture.send(&created("e1", 1, &sub("sub_1", "active", "price_pro"))).await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));
    let _ = fixture.send(&deleted("e2", 2, &sub("sub_1", "active", "price_pro"))).await;
    assert_eq!(fixture.acme().await, plan("basic", TenantStatus::Active));
    let lifted = fixture.tenant("acme").await.without_granted_plan();
    fixture.store.update(&lifted).await.unwrap();
    let _ = fixture.send(&created("e3", 3, &sub("sub_2", "active", "price_pro"))).await;
    let _ = fixture.send(&deleted("e4", 4, &sub("sub_2", "active", "price_pro"))).await;
    assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active));
}

#[tokio::test]
async fn what_a_running_subscription_blocks_is_applied_when_it_ends() {
    let fixture = Fixture::new().await;
    let ending = with(sub("sub_1", "active", "price_pro"), &json!({ "cancel_at_period_end": true }));
    let _ = fixture.send(&created("e1", 1, &ending)).await;
    // A second person checks out for the same tenant. Only the session names the tenant.
    let session = json!({ "metadata": { "tenant_id": "acme" }, "subscription": "sub_2" });
    let second = |status: &str| subscription("sub_2", "cus_2", status, "price_basic");
    for event in [
        created("e2", 2, &second("active")),
        checkout("e3", 2, "cus_2", &session),
        updated("e4", 3, &second("past_due"), &json!({ "status": "active" })),
    ] {
        assert!(matches!(fixture.send(&event).await, EventOutcome::Quarantined { .. }), "{event}");
    }
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));
    assert_eq!(fixture.quarantined(), 3);
    let outcome = fixture.send(&deleted("e5", 9, &ending)).await;
    assert!(matches!(outcome, EventOutcome::Applied { .. }), "{outcome:?}");
    assert_eq!(fixture.acme().await, plan("basic", TenantStatus::PastDue));
    assert_eq!(fixture.quarantined(), 0);
}

#[tokio::test]
async fn an_event_of_the_quarantine_is_listed_and_replayed() {
    let fixture = Fixture::new().await;
    let unknown = subscription("sub_1", "cus_1", "active", "price_pro");
    let _ = fixture.send(&created("e1", 1, &unknown)).await;
    let catalog = Catalog::from_toml(&format!("fallback = \"free\"\n{PLANS}")).unwrap();
    let events = StripeEvents::new(Mode::Test);
    let mut tx = fixture.store.begin().await.unwrap();
    let listed = tx.quarantined(10).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.event.as_str()).collect::<Vec<_>>(), ["e1"]);
    let again = replay(&mut *tx, BillingContext::new(&events, &catalog, &*fixture.clock), ("e1", None))
        .await
        .unwrap();
    assert!(matches!(again, Some(EventOutcome::Quarantined { .. })), "{again:?}");
    // An operator links the customer.
    assert_eq!(tx.link_customer("cus_1", &acme(), Timestamp::from_seconds(START)).await.unwrap(), acme());
    let again = replay(&mut *tx, BillingContext::new(&events, &catalog, &*fixture.clock), ("e1", None))
        .await
        .unwrap();
    assert!(matches!(again, Some(EventOutcome::Applied { .. })), "{again:?}");
    assert_eq!(
        replay(&mut *tx, BillingContext::new(&events, &catalog, &*fixture.clock), ("e1", None))
            .await
            .unwrap(),
        None
    );
    tx.commit().await.unwrap();
    assert_eq!((fixture.acme().await, fixture.quarantined()), (plan("pro", TenantStatus::Active), 0));
}

#[tokio::test]
async fn a_price_that_is_added_later_counts_after_a_recomputation() {
    let fixture = Fixture::new().await;
    let _ = fixture.send(&created("e1", 1, &sub("sub_1", "active", "price_new"))).await;
    assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active));
    let grown = PLANS.replace("\"price_pro\"", "\"price_pro\", \"price_new\"");
    let catalog = Catalog::from_toml(&format!("fallback = \"free\"\n{grown}")).unwrap();
    for changed in [true, false] {
        let mut tx = fixture.store.begin().await.unwrap();
        let events = StripeEvents::new(Mode::Test);
        let tenant = recompute(&mut *tx, BillingContext::new(&events, &catalog, &*fixture.clock), &acme())
            .await
            .unwrap();
        assert_eq!(tenant.is_some(), changed);
        tx.commit().await.unwrap();
        assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));
    }
    assert_eq!(fixture.subscription("sub_1").unwrap().plan(), Some("pro"));
    assert_eq!(fixture.audit("billing.recompute").len(), 1);
}

#[tokio::test]
async fn a_status_that_an_operator_lifts_follows_the_subscription_again() {
    let fixture = Fixture::new().await;
    let held = fixture.tenant("acme").await.with_status(TenantStatus::Suspended).unwrap();
    fixture.store.update(&held).await.unwrap();
    let _ = fixture.send(&created("e1", 1, &sub("sub_1", "past_due", "price_pro"))).await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Suspended));
    let lifted = fixture.tenant("acme").await.with_status(TenantStatus::Active).unwrap();
    fixture.store.update(&lifted).await.unwrap();
    // The same state again is enough.
    let _ = fixture.send(&updated("e2", 2, &sub("sub_1", "past_due", "price_pro"), &json!({}))).await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::PastDue));
}

#[tokio::test]
async fn the_end_counts_for_the_tenant_that_is_stored() {
    for names in ["globex", "vanished"] {
        let fixture = Fixture::new().await;
        let _ = fixture.send(&created("e1", 1, &sub("sub_1", "active", "price_pro"))).await;
        let stamped_otherwise = stamped(subscription("sub_1", "cus_1", "active", "price_pro"), names);
        let _ = fixture.send(&deleted("e2", 2, &stamped_otherwise)).await;
        assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active), "{names}");
    }
}

#[tokio::test]
async fn ids_of_another_account_are_other_ids() {
    let fixture = Fixture::new().await;
    let webhook = fixture.webhook.clone().accounts(Accounts::Connected);
    let fixture = Fixture { webhook, ..fixture };
    let _ = fixture.send(&created("e1", 1, &sub("sub_1", "active", "price_pro"))).await;
    let of_account = |mut event: Value| {
        event["account"] = json!("acct_1");
        event
    };
    // The same ids, without a stamp and with the stamp of another tenant.
    let unstamped = subscription("sub_1", "cus_1", "active", "price_pro");
    for (n, object) in [&unstamped, &stamped(unstamped.clone(), "nobody")].into_iter().enumerate() {
        let outcome = fixture.send(&of_account(deleted(&format!("x{n}"), 2, object))).await;
        assert!(matches!(outcome, EventOutcome::Quarantined { .. }), "{outcome:?}");
        assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));
    }
    let own = stamped(subscription("sub_2", "cus_2", "active", "price_basic"), "acme");
    let own = of_account(created("e2", 3, &own));
    let _ = fixture.send(&own).await;
    let ids: Vec<String> =
        fixture.store.billing_subscriptions().unwrap().iter().map(|one| one.id().to_owned()).collect();
    assert_eq!(ids, ["acct_1/sub_2", "sub_1"]);
    let _ = fixture.send(&deleted("e3", 4, &sub("sub_1", "active", "price_pro"))).await;
    assert_eq!(fixture.acme().await, plan("basic", TenantStatus::Active));
}

#[tokio::test]
async fn a_tenant_that_is_being_deleted_keeps_its_plan_and_the_payer_is_reported() {
    let fixture = Fixture::new().await;
    let _ = fixture.send(&created("e1", 1, &sub("sub_1", "active", "price_pro"))).await;
    let gone = fixture.tenant("acme").await.with_status(TenantStatus::Deactivated).unwrap();
    let gone = fixture.store.update(&gone).await.unwrap().with_status(TenantStatus::Deleting).unwrap();
    fixture.store.update(&gone).await.unwrap();
    let _ = fixture.send(&updated("e2", 2, &sub("sub_1", "active", "price_basic"), &json!({}))).await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Deleting));
    let said = fixture.audit("billing.subscription").last().unwrap().details()["attention"].clone();
    assert_eq!(said, "the tenant is being deleted and still pays: cancel sub_1");
}

#[tokio::test]
async fn a_live_event_from_the_far_future_outdates_nothing() {
    let fixture = Fixture::live().await;
    let live = |mut event: Value| {
        event["livemode"] = json!(true);
        event
    };
    let _ = fixture.send(&live(created("e1", 1, &sub("sub_1", "active", "price_pro")))).await;
    let ten_years = 10 * 365 * 24 * 60 * 60;
    let ahead = live(updated("e2", ten_years, &sub("sub_1", "unpaid", "price_pro"), &json!({})));
    assert!(matches!(fixture.send(&ahead).await, EventOutcome::Quarantined { .. }));
    let next = live(updated("e3", 2, &sub("sub_1", "past_due", "price_pro"), &json!({})));
    assert!(matches!(fixture.send(&next).await, EventOutcome::Applied { .. }));
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::PastDue));
    assert_eq!(fixture.clock.now().seconds(), START);
}

#[tokio::test]
async fn what_is_unclear_is_listed_with_the_time_since_when() {
    let fixture = Fixture::new().await;
    let state = |price: &str| sub("sub_1", "active", price);
    let items = |price: &str| json!({ "items": state(price)["items"] });
    send_all(
        &fixture,
        &[
            created("e1", 0, &state("price_pro")),
            updated("e2", 5, &state("price_basic"), &items("price_pro")),
            updated("e3", 5, &state("price_pro"), &items("price_basic")),
        ],
    )
    .await;
    let mut tx = fixture.store.begin().await.unwrap();
    let unclear = tx.unclear_subscriptions(10).await.unwrap();
    let listed: Vec<_> = unclear.iter().map(|one| (one.id(), one.as_of().created.seconds())).collect();
    assert_eq!(listed, [("sub_1", START + 5)]);
    drop(tx);
    let _ = fixture.send(&updated("e4", 6, &state("price_basic"), &items("price_pro"))).await;
    let mut tx = fixture.store.begin().await.unwrap();
    assert!(tx.unclear_subscriptions(10).await.unwrap().is_empty());
}

/// One second: created as A, changed to B, and back to A, in every order.
#[tokio::test]
async fn a_change_and_back_in_the_second_of_the_creation_ends_right() {
    let state = |price: &str| sub("sub_1", "active", price);
    let items = |price: &str| json!({ "items": state(price)["items"] });
    let events = [
        created("e1", 0, &state("price_pro")),
        updated("e2", 0, &state("price_basic"), &items("price_pro")),
        updated("e3", 0, &state("price_pro"), &items("price_basic")),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let fixture = Fixture::new().await;
        send_all(&fixture, &order.map(|at: usize| events[at].clone())).await;
        assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active), "{order:?}");
        assert!(!fixture.subscription("sub_1").unwrap().needs_refresh(), "{order:?}");
    }
}

/// At a renewal the stored period ends before the event of the next one arrives, and a delivery can take days.
#[tokio::test]
async fn a_period_that_has_ended_closes_nothing() {
    let fixture = Fixture::new().await;
    let _ = fixture.send(&created("e1", 0, &sub_of("acme", "active", "price_pro"))).await;
    fixture.clock.advance_seconds(60 * 24 * 60 * 60);
    assert!(fixture.subscription("sub_1").unwrap().period_end().unwrap() < fixture.clock.now());
    assert_eq!(fixture.webhook.recompute(&acme()).await.unwrap(), None);
    assert_eq!(fixture.webhook.apply_due(10).await.unwrap(), []);
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
}

/// A change that waits for its payment is in `pending_update`. The items are still the old ones.
#[tokio::test]
async fn a_pending_update_changes_no_plan() {
    let fixture = Fixture::new().await;
    let basic = sub_of("acme", "active", "price_basic");
    let _ = fixture.send(&created("e1", 0, &basic)).await;
    let pending =
        json!({ "expires_at": START + 82_800, "subscription_items": [{ "price": { "id": "price_pro" } }] });
    let waiting = with(basic.clone(), &json!({ "pending_update": pending }));
    let _ = fixture.send(&updated("e2", 5, &waiting, &json!({ "pending_update": null }))).await;
    assert_eq!(fixture.acme().await.0, "basic");
    let _ = fixture.send(&updated("e3", 9, &sub_of("acme", "active", "price_pro"), &json!({}))).await;
    assert_eq!(fixture.acme().await.0, "pro");
}

fn sub_of(tenant: &str, status: &str, price: &str) -> Value {
    stamped(subscription("sub_1", "cus_1", status, price), tenant)
}
