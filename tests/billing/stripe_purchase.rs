//! Checkouts, the portal, and changes of a subscription: what is sent to Stripe, for which customer.

use std::sync::Arc;

use serde_json::{Value, json};
use tenancy::billing::stripe::{Cancellation, Checkout, Proration, StripeBilling};
use tenancy::billing::{BillingStore, EventOutcome};
use tenancy::tenant::{TenantId, TenantStatus, TenantStore};
use tenancy::{Error, ErrorKind};

use crate::scripted_api::{ScriptedApi, missing};
use crate::stripe_fixture::{Fixture, checkout, created, references, stamped, subscription, with};

const ORIGIN: &str = "https://app.example.com";
const DONE: &str = "https://app.example.com/done?session={CHECKOUT_SESSION_ID}";

fn id(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

async fn selling() -> (Fixture, ScriptedApi, StripeBilling) {
    let mut fixture = Fixture::new().await;
    let api = ScriptedApi::default();
    let billing = StripeBilling::new(fixture.webhook.clone(), Arc::new(api.clone()), [ORIGIN]).unwrap();
    fixture.webhook = billing.webhook().clone();
    for (price, key) in [("price_pro", "pro_monthly"), ("price_other", "other")] {
        api.put(
            &format!("/v1/prices/{price}"),
            &json!({ "id": price, "lookup_key": key, "product": "prod_1" }),
        );
    }
    api.put("/v1/customers", &json!({ "id": "cus_new" }));
    session(&api, "cs_1");
    (fixture, api, billing)
}

fn session(api: &ScriptedApi, id: &str) {
    let session = json!({ "id": id, "url": format!("https://checkout.test/{id}"), "status": "open" });
    api.put("/v1/checkout/sessions", &session);
    api.put(&format!("/v1/checkout/sessions/{id}"), &session);
    api.put(&format!("/v1/checkout/sessions/{id}/expire"), &with(session, &json!({ "status": "expired" })));
}

fn pro() -> Checkout {
    Checkout::new("pro_monthly", DONE, "https://app.example.com/billing")
}

async fn customers(fixture: &Fixture, tenant: &str) -> Vec<String> {
    fixture.store.begin().await.unwrap().customers(&id(tenant)).await.unwrap()
}

#[tokio::test]
async fn the_customer_is_stored_before_the_checkout_is_created() {
    let (fixture, api, billing) = selling().await;
    let created = billing.checkout(&id("acme"), &pro().quantity(3).trial_days(14)).await.unwrap();
    assert_eq!((created.id.as_str(), created.url.as_str()), ("cs_1", "https://checkout.test/cs_1"));
    let sent = api.sent();
    let paths: Vec<&str> = sent.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/v1/prices", "/v1/customers", "/v1/checkout/sessions"]);
    let stamp = json!({ "tenant_id": "acme" });
    assert_eq!(sent[1].parameters, json!({ "name": "acme", "metadata": stamp }));
    assert_eq!(sent[1].idempotency_key.as_deref(), Some("tenancy-customer--acme-1"));
    assert_eq!(
        sent[2].parameters,
        json!({
            "mode": "subscription", "customer": "cus_new",
            "client_reference_id": references().reference(&id("acme")),
            "metadata": stamp, "subscription_data": { "metadata": stamp, "trial_period_days": 14 },
            "line_items": [{ "price": "price_pro", "quantity": 3 }],
            "success_url": DONE, "cancel_url": "https://app.example.com/billing",
        })
    );
    assert!(sent[2].idempotency_key.as_deref().unwrap().starts_with("tenancy-"));
    assert_eq!(customers(&fixture, "acme").await, ["cus_new"]);
    assert!(customers(&fixture, "globex").await.is_empty());
    assert_eq!(fixture.audit("billing.link").len(), 1);
    // Nothing was bought yet.
    assert_eq!(fixture.acme().await, ("free".to_owned(), TenantStatus::Active));
}

#[tokio::test]
async fn only_the_newest_checkout_can_be_paid() {
    let (fixture, api, billing) = selling().await;
    let _ = billing.checkout(&id("acme"), &pro()).await.unwrap();
    session(&api, "cs_2");
    api.take_paths();
    let _ = billing.checkout(&id("acme"), &pro()).await.unwrap();
    assert_eq!(
        api.take_paths(),
        ["Get /v1/prices", "Post /v1/checkout/sessions/cs_1/expire", "Post /v1/checkout/sessions"],
    );
    let mut tx = fixture.store.begin().await.unwrap();
    assert_eq!(tx.open_checkouts(&id("acme")).await.unwrap(), ["cs_2"]);
    drop(tx);
    // A checkout that was paid meanwhile cannot be expired: the tenant has what it paid for, and no second one.
    api.put("/v1/checkout/sessions/cs_2", &json!({ "id": "cs_2", "status": "complete" }));
    api.subscription(&subscription("sub_1", "cus_new", "active", "price_pro"));
    api.next(|_| None);
    api.next(|request| {
        assert_eq!(request.path, "/v1/checkout/sessions/cs_2/expire");
        Some(Err(Error::new(ErrorKind::BillingRejected, "only open sessions can be expired")))
    });
    let error = billing.checkout(&id("acme"), &pro()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
    assert!(error.to_string().contains("portal"), "{error}");
    let error = billing.checkout(&id("acme"), &pro()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn two_checkouts_at_once_leave_one_open() {
    let (fixture, api, billing) = selling().await;
    let _ = billing.checkout(&id("acme"), &pro()).await.unwrap();
    // While the second one is created, a third one is stored.
    session(&api, "cs_2");
    let store = fixture.store.clone();
    for _ in 0..2 {
        api.next(|_| None);
    }
    api.next(move |request| {
        assert_eq!(request.path, "/v1/checkout/sessions");
        let save = async {
            let mut tx = store.begin().await.unwrap();
            let now = tenancy::clock::Timestamp::from_seconds(1);
            tx.save_checkout("cs_3", &id("acme"), now).await.unwrap();
            tx.commit().await.unwrap();
        };
        futures_util::FutureExt::now_or_never(save).unwrap();
        None
    });
    session(&api, "cs_3");
    session(&api, "cs_2");
    let newest = billing.checkout(&id("acme"), &pro()).await.unwrap();
    assert_eq!(newest.id, "cs_2");
    assert_eq!(fixture.store.begin().await.unwrap().open_checkouts(&id("acme")).await.unwrap(), ["cs_2"]);
    assert!(api.take_paths().contains(&"Post /v1/checkout/sessions/cs_3/expire".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_sold_is_rejected_before_stripe_changes_anything() {
    let (fixture, api, billing) = selling().await;
    let rejected = async |tenant: &str, checkout: &Checkout| {
        let error = billing.checkout(&id(tenant), checkout).await.unwrap_err();
        let posts = api.take_paths().into_iter().filter(|path| path.starts_with("Post")).count();
        assert_eq!(posts, 0, "{error}");
        error.kind()
    };
    assert_eq!(rejected("nobody", &pro()).await, ErrorKind::TenantUnknown);
    let elsewhere = Checkout::new("pro_monthly", "https://evil.test/", DONE);
    assert_eq!(rejected("acme", &elsewhere).await, ErrorKind::InvalidInput);
    let elsewhere = Checkout::new("pro_monthly", DONE, "https://evil.test/");
    assert_eq!(rejected("acme", &elsewhere).await, ErrorKind::InvalidInput);
    assert_eq!(rejected("acme", &Checkout::new("price_other", DONE, DONE)).await, ErrorKind::UnknownPlan);
    assert_eq!(rejected("acme", &Checkout::new("no_such_key", DONE, DONE)).await, ErrorKind::NotFound);
    api.put("/v1/prices/price_live", &json!({ "id": "price_live", "lookup_key": "live", "livemode": true }));
    assert_eq!(rejected("acme", &Checkout::new("live", DONE, DONE)).await, ErrorKind::Misconfigured);
    let _ = fixture
        .send(&created("evt_1", 0, &stamped(subscription("sub_1", "cus_1", "unpaid", "price_pro"), "acme")))
        .await;
    assert_eq!(rejected("acme", &pro()).await, ErrorKind::Conflict);
    let acme = fixture.tenant("acme").await;
    fixture.store.update(&acme.with_status(TenantStatus::Deactivated).unwrap()).await.unwrap();
    let acme = fixture.tenant("acme").await;
    fixture.store.update(&acme.with_status(TenantStatus::Deleting).unwrap()).await.unwrap();
    assert_eq!(rejected("acme", &pro()).await, ErrorKind::IllegalTransition);
    assert_eq!(billing.portal(&id("acme"), ORIGIN).await.unwrap_err().kind(), ErrorKind::IllegalTransition);
}

#[tokio::test]
async fn a_deleted_customer_is_replaced() {
    let (fixture, api, billing) = selling().await;
    let _ = billing.checkout(&id("acme"), &pro()).await.unwrap();
    fixture.clock.advance_seconds(60);
    api.take_paths();
    api.put("/v1/customers", &json!({ "id": "cus_next" }));
    session(&api, "cs_2");
    for _ in 0..2 {
        api.next(|_| None);
    }
    api.next(|request| {
        assert_eq!(request.parameters["customer"], "cus_new");
        Some(Err(missing()))
    });
    let _ = billing.checkout(&id("acme"), &pro()).await.unwrap();
    let sent = api.sent();
    assert_eq!(sent[sent.len() - 2].idempotency_key.as_deref(), Some("tenancy-customer--acme-1-cus_new"));
    assert_eq!(sent[sent.len() - 1].parameters["customer"], "cus_next");
    assert_eq!(customers(&fixture, "acme").await, ["cus_next", "cus_new"]);
}

#[tokio::test]
async fn the_portal_is_of_the_stored_customer() {
    let (fixture, api, billing) = selling().await;
    assert_eq!(billing.portal(&id("acme"), ORIGIN).await.unwrap_err().kind(), ErrorKind::NotFound);
    for (tenant, customer) in [("acme", "cus_a"), ("globex", "cus_g")] {
        let sub = stamped(subscription(&format!("sub_{tenant}"), customer, "active", "price_pro"), tenant);
        let _ = fixture.send(&created(&format!("evt_{tenant}"), 0, &sub)).await;
    }
    api.put("/v1/billing_portal/sessions", &json!({ "id": "bps_1", "url": "https://portal.test/1" }));
    for (tenant, customer) in [("acme", "cus_a"), ("globex", "cus_g")] {
        assert_eq!(billing.portal(&id(tenant), ORIGIN).await.unwrap(), "https://portal.test/1");
        let sent = api.sent();
        assert_eq!(sent.last().unwrap().parameters, json!({ "customer": customer, "return_url": ORIGIN }));
    }
    assert_eq!(
        billing.portal(&id("acme"), "https://evil.test/").await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[tokio::test]
async fn a_checkout_that_this_program_created_links_without_a_signature() {
    let (fixture, api, billing) = selling().await;
    let _ = billing.checkout(&id("acme"), &pro()).await.unwrap();
    // Somebody else pays with acme's id in a checkout that was not created here.
    let mut foreign = checkout("evt_1", 0, "cus_thief", &json!({ "id": "cs_foreign" }));
    foreign["data"]["object"]["client_reference_id"] = json!("acme");
    assert!(matches!(fixture.send(&foreign).await, EventOutcome::Quarantined { .. }));
    // The stored one is acme's, whatever reference it has, also if its customer is not stored.
    let own = checkout("evt_2", 1, "cus_2", &json!({ "id": "cs_1" }));
    assert!(matches!(fixture.send(&own).await, EventOutcome::Applied { .. }));
    assert!(customers(&fixture, "acme").await.contains(&"cus_2".to_owned()));
    assert!(fixture.store.begin().await.unwrap().open_checkouts(&id("acme")).await.unwrap().is_empty());
    // It is not globex's, even if its metadata says so.
    session(&api, "cs_4");
    let _ = billing.checkout(&id("acme"), &pro()).await.unwrap();
    let contradiction =
        checkout("evt_3", 2, "cus_3", &json!({ "id": "cs_4", "metadata": { "tenant_id": "globex" } }));
    assert!(matches!(fixture.send(&contradiction).await, EventOutcome::Quarantined { .. }));
    assert!(customers(&fixture, "globex").await.is_empty());
}

#[tokio::test]
async fn a_changed_subscription_is_applied_from_the_response() {
    let (fixture, api, billing) = selling().await;
    let before = subscription("sub_1", "cus_1", "active", "price_pro");
    let _ = fixture.send(&created("evt_1", 0, &stamped(before.clone(), "acme"))).await;
    let put = |over: &Value| api.subscription(&with(before.clone(), over));
    put(&json!({}));
    let tenant = billing.change_seats(&id("acme"), 7, Proration::InvoiceNow).await.unwrap();
    assert_eq!(tenant.plan(), "pro");
    let sent = api.sent().pop().unwrap();
    let wanted =
        json!({ "items": [{ "id": "si_1", "quantity": 7 }], "proration_behavior": "always_invoice" });
    assert_eq!((sent.path.as_str(), &sent.parameters), ("/v1/subscriptions/sub_1", &wanted));

    put(&json!({ "cancel_at_period_end": true }));
    let _ = billing.cancel(&id("acme"), Cancellation::AtPeriodEnd).await.unwrap();
    assert_eq!(api.sent().pop().unwrap().parameters, json!({ "cancel_at_period_end": true }));
    assert!(fixture.subscription("sub_1").unwrap().cancel_at().is_some());
    put(&json!({}));
    let _ = billing.resume(&id("acme")).await.unwrap();
    assert_eq!(api.sent().pop().unwrap().parameters, json!({ "cancel_at_period_end": false }));
    assert!(fixture.subscription("sub_1").unwrap().cancel_at().is_none());
    // Flexible billing has a date instead.
    put(&json!({ "cancel_at": 1_800_000_000 }));
    let _ = billing.sync_now(&id("acme")).await.unwrap();
    put(&json!({}));
    let _ = billing.resume(&id("acme")).await.unwrap();
    assert_eq!(api.sent().pop().unwrap().parameters, json!({ "cancel_at": "" }));

    put(&json!({ "status": "paused" }));
    assert_eq!(billing.sync_now(&id("acme")).await.unwrap().status(), TenantStatus::Suspended);
    api.put("/v1/subscriptions/sub_1/resume", &with(before.clone(), &json!({ "livemode": false })));
    assert_eq!(billing.resume(&id("acme")).await.unwrap().status(), TenantStatus::Active);

    put(&json!({ "status": "canceled" }));
    let tenant = billing.cancel(&id("acme"), Cancellation::Now).await.unwrap();
    assert_eq!((tenant.plan(), tenant.status()), ("free", TenantStatus::Active));
    assert_eq!(format!("{:?}", api.sent().pop().unwrap().method), "Delete");
    let error = billing.cancel(&id("acme"), Cancellation::Now).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(fixture.tenant("globex").await.version(), 1);
}
