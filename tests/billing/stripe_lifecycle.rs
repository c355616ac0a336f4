//! A Stripe event changes the plan and status of its own tenant, and never of another tenant.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeEvents, StripeWebhook, sign};
use tenancy::billing::{BillingContext, BillingStore, EventOutcome, Provider, Subscription, process};
use tenancy::clock::Timestamp;
use tenancy::context::Actor;
use tenancy::plan::Catalog;
use tenancy::tenant::{NewTenant, Slug, StatusSource, Tenant, TenantId, TenantStatus, TenantStore};
use tenancy::{ErrorKind, Result};

use crate::stripe_fixture::{
    Fixture, SECRET, START, checkout, created, deleted, event, item, stamped, subscription, updated, with,
};

fn sub(status: &str, price: &str) -> Value {
    stamped(subscription("sub_1", "cus_1", status, price), "acme")
}

fn plan(plan: &str, status: TenantStatus) -> (String, TenantStatus) {
    (plan.to_owned(), status)
}

/// Sends an event and asserts its outcome.
async fn expect(fixture: &Fixture, event: &Value, receipt: &str) {
    let got = fixture.send(event).await;
    assert_eq!(got.as_str(), receipt, "{got:?} for {event}");
}

#[tokio::test]
async fn a_subscription_decides_plan_and_status() {
    use TenantStatus::{Active, PastDue, Suspended, Trialing};
    let fixture = Fixture::new().await;
    expect(&fixture, &created("e1", 1, &sub("incomplete", "price_pro")), "applied").await;
    assert_eq!(fixture.acme().await, plan("free", Active), "nothing is paid yet");
    for (second, status, receipt, expected) in [
        (2, "trialing", "applied", plan("pro", Trialing)),
        (3, "active", "applied", plan("pro", Active)),
        (4, "past_due", "applied", plan("pro", PastDue)),
        (5, "unpaid", "applied", plan("pro", Suspended)),
        (6, "active", "applied", plan("pro", Active)),
        (7, "paused", "applied", plan("pro", Suspended)),
        (8, "past_due", "applied", plan("pro", PastDue)),
        (9, "brand_new_word", "needs-refresh", plan("pro", PastDue)),
        (10, "active", "applied", plan("pro", Active)),
        (11, "active", "unchanged", plan("pro", Active)),
    ] {
        expect(
            &fixture,
            &updated(&format!("e{second}"), second, &sub(status, "price_pro"), &json!({})),
            receipt,
        )
        .await;
        assert_eq!(fixture.acme().await, expected, "{status}");
    }
    expect(&fixture, &updated("e12", 12, &sub("active", "price_basic"), &json!({})), "applied").await;
    assert_eq!(fixture.acme().await, plan("basic", Active));
    expect(&fixture, &deleted("e13", 13, &sub("active", "price_basic")), "applied").await;
    assert_eq!(fixture.acme().await, plan("free", Active), "the fallback of the catalog");

    let changes = fixture.audit("billing.subscription");
    assert_eq!(changes.len(), 11, "one a change, one for the word that is not known");
    let last = changes.last().unwrap();
    assert_eq!(last.actor(), &Actor::system("stripe"));
    assert_eq!(last.occurred(), Timestamp::from_seconds(START));
    let details: Vec<_> = last.details().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        details,
        [
            ("event", "e13"),
            ("event_kind", "customer.subscription.deleted"),
            ("from_plan", "basic"),
            ("from_status", "active"),
            ("subscription_status", "canceled"),
            ("to_plan", "free"),
            ("to_status", "active"),
        ]
    );
    assert!(fixture.store.billing_audit().unwrap().iter().all(|event| event.tenant().to_string() == "acme"));
}

#[tokio::test]
async fn without_a_fallback_the_end_deactivates_and_a_new_one_opens_again() {
    let fixture = Fixture::without_fallback().await;
    expect(&fixture, &created("e1", 1, &sub("active", "price_pro")), "applied").await;
    expect(&fixture, &deleted("e2", 2, &sub("active", "price_pro")), "applied").await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Deactivated));
    expect(&fixture, &updated("e3", 3, &sub("active", "price_pro"), &json!({})), "stale").await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Deactivated), "what ended stays ended");
    let again = stamped(subscription("sub_2", "cus_1", "active", "price_basic"), "acme");
    expect(&fixture, &created("e4", 4, &again), "applied").await;
    assert_eq!(fixture.acme().await, plan("basic", TenantStatus::Active));
}

#[tokio::test]
async fn an_event_counts_once_however_often_it_comes() {
    let fixture = Fixture::new().await;
    let event = created("e1", 1, &sub("active", "price_pro"));
    expect(&fixture, &event, "applied").await;
    let version = fixture.tenant("acme").await.version();
    for _ in 0..3 {
        expect(&fixture, &event, "duplicate").await;
    }
    // Two events for one change, as Stripe sometimes sends them.
    expect(&fixture, &created("e2", 1, &sub("active", "price_pro")), "unchanged").await;
    assert_eq!(fixture.tenant("acme").await.version(), version);
    assert_eq!(fixture.audit("billing.subscription").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deliveries_at_the_same_time_are_one_after_the_other() {
    let fixture = Arc::new(Fixture::new().await);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let fixture = fixture.clone();
            tokio::spawn(
                async move { fixture.try_send(&created("e1", 1, &sub("active", "price_pro"))).await },
            )
        })
        .collect();
    let mut applied = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(receipt) => applied += usize::from(receipt.as_str() == "applied"),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    assert_eq!(applied, 1);
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));
    assert_eq!(fixture.tenant("acme").await.version(), 2);
}

#[tokio::test]
async fn an_event_of_an_unknown_tenant_waits_for_the_link() {
    let fixture = Fixture::new().await;
    let unstamped = subscription("sub_1", "cus_1", "active", "price_pro");
    let invoice = json!({ "id": "in_1", "customer": "cus_1", "amount_paid": 900, "currency": "eur" });
    expect(&fixture, &event("e1", 1, "invoice.paid", &invoice), "quarantined").await;
    expect(&fixture, &updated("e3", 3, &unstamped, &json!({ "status": "incomplete" })), "quarantined").await;
    expect(&fixture, &created("e2", 2, &with(unstamped, &json!({ "status": "incomplete" }))), "quarantined")
        .await;
    let other = subscription("sub_9", "cus_9", "active", "price_pro");
    expect(&fixture, &created("e9", 2, &other), "quarantined").await;
    assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active));
    assert_eq!(fixture.quarantined(), 4);
    expect(&fixture, &event("e1", 1, "invoice.paid", &invoice), "duplicate").await;

    let session = json!({ "subscription": "sub_1", "client_reference_id": "acme" });
    expect(&fixture, &checkout("e4", 4, "cus_1", &session), "applied").await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));
    assert_eq!(fixture.quarantined(), 1, "the other customer's event stays");
    assert_eq!(fixture.audit("billing.payment_succeeded").len(), 1);
    assert_eq!(fixture.audit("billing.link").len(), 1);
}

#[tokio::test]
async fn a_link_answers_with_the_tenant_as_the_freed_events_left_it() {
    let fixture = Fixture::new().await;
    let seats = |n| {
        with(
            subscription("sub_1", "cus_1", "active", "price_pro"),
            &json!({ "items": { "data": [item("price_pro", n)] } }),
        )
    };
    let had = |n| json!({ "items": { "data": [item("price_pro", n)] } });
    for event in [
        created("e1", 1, &seats(1)),
        updated("e2", 5, &seats(2), &had(1)),
        updated("e3", 5, &seats(1), &had(2)),
    ] {
        expect(&fixture, &event, "quarantined").await;
    }
    let receipt =
        fixture.send(&checkout("e4", 6, "cus_1", &json!({ "metadata": { "tenant_id": "acme" } }))).await;
    let EventOutcome::Applied { tenant } = receipt else { panic!("{receipt:?}") };
    assert_eq!(*tenant, fixture.tenant("acme").await, "a cache that is told this is not behind");
    assert!(fixture.subscription("sub_1").unwrap().needs_refresh());
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_is_unknown_whatever_names_it() {
    let fixture = Fixture::new().await;
    for (n, tenant) in ["nobody", "*", "", "acme' OR 1=1 --", "ACME"].into_iter().enumerate() {
        let object = stamped(subscription("sub_7", "cus_7", "active", "price_pro"), tenant);
        expect(&fixture, &created(&format!("s{n}"), 1, &object), "quarantined").await;
        let session = json!({ "client_reference_id": tenant });
        expect(&fixture, &checkout(&format!("c{n}"), 1, "cus_7", &session), "quarantined").await;
    }
    let link = json!({ "client_reference_id": "acme", "payment_link": "plink_1" });
    expect(&fixture, &checkout("e9", 1, "cus_7", &link), "quarantined").await;
    assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active));
}

/// `I96`: an event of acme's customer names globex in the metadata that only the application writes.
#[tokio::test]
async fn a_contradiction_never_moves_a_customer() {
    let fixture = Fixture::new().await;
    expect(&fixture, &created("e1", 1, &sub("active", "price_pro")), "applied").await;
    let before = fixture.acme().await;
    let hijack = |status| stamped(subscription("sub_1", "cus_1", status, "price_basic"), "globex");
    for (n, event) in [
        updated("x1", 2, &hijack("unpaid"), &json!({})),
        created("x3", 4, &stamped(subscription("sub_2", "cus_1", "active", "price_basic"), "globex")),
        updated(
            "x4",
            5,
            &stamped(subscription("sub_1", "cus_2", "unpaid", "price_pro"), "globex"),
            &json!({}),
        ),
        checkout("x5", 6, "cus_1", &json!({ "metadata": { "tenant_id": "globex" } })),
        checkout("x6", 7, "cus_1", &json!({ "client_reference_id": "globex" })),
        checkout(
            "x7",
            8,
            "cus_3",
            &json!({ "client_reference_id": "globex", "metadata": { "tenant_id": "acme" } }),
        ),
        updated(
            "x8",
            9,
            &stamped(subscription("sub_1", "cus_1", "unpaid", "price_pro"), "nobody"),
            &json!({}),
        ),
    ]
    .iter()
    .enumerate()
    {
        expect(&fixture, event, "quarantined").await;
        assert_eq!(fixture.acme().await, before, "{event}");
        assert_eq!(fixture.quarantined(), n + 1);
    }
    // The end of a subscription counts for the tenant that it is stored for, whatever its metadata says now.
    expect(&fixture, &deleted("x2", 9, &hijack("active")), "applied").await;
    assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active));
    // A reference from a visitor that names no tenant is no contradiction.
    expect(&fixture, &checkout("x9", 9, "cus_1", &json!({ "client_reference_id": "user-7" })), "unchanged")
        .await;
}

/// `I96`: of all fields that could name a tenant, only those that the application alone fills are read.
#[tokio::test]
async fn a_field_other_than_the_metadata_names_no_tenant() {
    for (own, other) in [("acme", "globex"), ("globex", "acme")] {
        let fixture = Fixture::new().await;
        let named = json!({ "tenant_id": other, "tenant": other, "client_reference_id": other,
                            "description": other, "customer_email": format!("ada@{other}.example") });
        let decoyed = |id: &str, object: Value| {
            let object = with(object, &named);
            let mut event = with(created(id, 1, &object), &named);
            event["metadata"] = json!({ "tenant_id": other });
            event["data"]["tenant_id"] = json!(other);
            event["data"]["metadata"] = json!({ "tenant_id": other });
            event["data"]["previous_attributes"] = json!({ "metadata": { "tenant_id": other } });
            event
        };
        let live = |customer: &str| subscription(&format!("sub_{customer}"), customer, "active", "price_pro");
        expect(&fixture, &decoyed("e1", live("cus_nobody")), "quarantined").await;
        assert_eq!(fixture.tenant(own).await.plan(), "free", "it was stamped by nobody");
        let event = decoyed("e2", stamped(live("cus_own"), own));
        expect(&fixture, &event, "applied").await;
        assert_eq!(fixture.tenant(own).await.plan(), "pro");
        assert_eq!((fixture.tenant(other).await.plan(), fixture.tenant(other).await.version()), ("free", 1));

        // An attacker who changes the body without the endpoint's secret changes nothing either.
        let body = created("e3", 1, &stamped(live("cus_own"), own)).to_string();
        let signature = sign(SECRET, body.as_bytes(), Timestamp::from_seconds(START));
        let moved = body.replace(&format!("\"tenant_id\":\"{own}\""), &format!("\"tenant_id\":\"{other}\""));
        assert_ne!(moved, body);
        let error = fixture.webhook.receive(moved.as_bytes(), &[signature.as_bytes()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SignatureInvalid);
        assert_eq!(fixture.tenant(other).await.version(), 1);
    }
}

/// `I96`: a visitor brings the reference of another tenant to the checkout.
#[tokio::test]
async fn an_outsider_cannot_attach_its_subscription_to_a_paying_tenant() {
    let fixture = Fixture::new().await;
    expect(&fixture, &created("e1", 1, &sub("active", "price_pro")), "applied").await;
    let session = json!({ "client_reference_id": "acme", "subscription": "sub_2" });
    expect(&fixture, &checkout("e2", 2, "cus_2", &session), "quarantined").await;
    let outsider = subscription("sub_2", "cus_2", "unpaid", "price_basic");
    expect(&fixture, &created("e3", 3, &outsider), "quarantined").await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));
}

#[tokio::test]
async fn billing_never_lifts_what_an_operator_set() {
    let fixture = Fixture::new().await;
    expect(&fixture, &created("e1", 1, &sub("active", "price_basic")), "applied").await;
    let held = fixture.tenant("acme").await.with_status(TenantStatus::Suspended).unwrap();
    let _ = fixture.store.update(&held).await.unwrap();
    expect(&fixture, &updated("e2", 2, &sub("active", "price_pro"), &json!({})), "applied").await;
    assert_eq!(
        fixture.acme().await,
        plan("pro", TenantStatus::Suspended),
        "the plan follows, the status waits"
    );
    expect(&fixture, &updated("e3", 3, &sub("past_due", "price_pro"), &json!({})), "unchanged").await;
    expect(&fixture, &deleted("e4", 4, &sub("active", "price_pro")), "applied").await;
    let acme = fixture.tenant("acme").await;
    assert_eq!((acme.plan(), acme.status()), ("free", TenantStatus::Suspended));
    assert_eq!(acme.status_set_by(), StatusSource::Operator);
    let said = fixture.audit("billing.subscription").last().unwrap().details()["attention"].clone();
    assert_eq!(said, "billing may not set the tenant to active");
}

#[tokio::test]
async fn of_two_subscriptions_the_live_one_counts() {
    let fixture = Fixture::new().await;
    let old = |status: &str| stamped(subscription("sub_old", "cus_1", status, "price_basic"), "acme");
    let new = |status: &str| with(sub(status, "price_pro"), &json!({ "created": START }));
    expect(&fixture, &created("e1", 1, &old("active")), "applied").await;
    expect(&fixture, &created("e2", 2, &new("incomplete")), "unchanged").await;
    assert_eq!(fixture.acme().await, plan("basic", TenantStatus::Active));
    expect(&fixture, &updated("e3", 3, &new("active"), &json!({})), "applied").await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active), "of two paid ones the later");
    let said = &fixture.audit("billing.subscription").last().unwrap().details()["attention"].clone();
    assert!(said.contains("sub_1") && said.contains("sub_old"), "{said}");
    expect(&fixture, &updated("e4", 4, &old("past_due"), &json!({})), "unchanged").await;
    expect(&fixture, &deleted("e5", 5, &old("active")), "unchanged").await;
    assert_eq!(
        fixture.acme().await,
        plan("pro", TenantStatus::Active),
        "the end of the old one ends nothing"
    );
    expect(&fixture, &deleted("e6", 6, &new("active")), "applied").await;
    assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active));
}

#[tokio::test]
async fn a_price_that_is_not_in_the_catalog_changes_no_plan() {
    let fixture = Fixture::new().await;
    expect(&fixture, &created("e1", 1, &sub("active", "price_pro")), "applied").await;
    expect(&fixture, &updated("e2", 2, &sub("active", "price_of_sales"), &json!({})), "unchanged").await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));
    let said = fixture.audit("billing.subscription").last().unwrap().details()["attention"].clone();
    assert!(said.contains("`price_of_sales`"), "{said}");
    expect(&fixture, &deleted("e3", 3, &sub("active", "price_of_sales")), "applied").await;
    assert_eq!(
        fixture.acme().await,
        plan("free", TenantStatus::Active),
        "it was the one that bought the plan"
    );

    // A subscription that never paid for a plan removes none, and does not override one that did.
    let fixture = Fixture::new().await;
    let extra = |status: &str| stamped(subscription("sub_2", "cus_1", status, "price_mug"), "acme");
    expect(&fixture, &created("e1", 1, &sub("active", "price_pro")), "applied").await;
    expect(&fixture, &created("e2", 2, &extra("unpaid")), "unchanged").await;
    expect(&fixture, &deleted("e3", 3, &extra("active")), "unchanged").await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));
}

#[tokio::test]
async fn exactly_one_plan_is_bought() {
    let fixture = Fixture::new().await;
    let items = |prices: &[&str]| {
        let items: Vec<Value> = prices.iter().map(|price| item(price, 1)).collect();
        with(sub("active", ""), &json!({ "items": { "data": items } }))
    };
    expect(&fixture, &created("e1", 1, &items(&["price_seat", "price_pro"])), "applied").await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active), "an extra item is no plan");
    expect(&fixture, &updated("e2", 2, &items(&["price_basic", "price_pro"]), &json!({})), "unchanged").await;
    let said = fixture.audit("billing.subscription").last().unwrap().details()["attention"].clone();
    assert_eq!(said, "the subscription buys several plans: basic, pro");
    let mut keyed = sub("active", "price_new");
    keyed["items"]["data"][0]["price"]["lookup_key"] = json!("pro_by_key");
    expect(&fixture, &updated("e3", 3, &keyed, &json!({})), "unchanged").await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active), "by the price's lookup key");
}

/// A price names its plan in four ways. The first that there is decides.
#[tokio::test]
async fn the_plan_of_a_price_is_found_by_id_key_metadata_and_product() {
    let pro = Ok("pro");
    for (field, price, expected) in [
        ("price", json!({ "id": "price_new", "product": "prod_pro" }), pro),
        ("price", json!({ "id": "price_new", "product": { "id": "prod_pro" } }), pro),
        ("plan", json!({ "id": "price_new", "product": "prod_pro" }), pro),
        ("plan", json!({ "id": "price_new", "metadata": { "tenancy_plan": "pro" } }), pro),
        ("price", json!({ "id": "price_new", "metadata": { "tenancy_plan": "pro" } }), pro),
        (
            "price",
            json!({ "id": "price_new", "product": "prod_pro", "metadata": { "tenancy_plan": "basic" } }),
            Ok("basic"),
        ),
        (
            "price",
            json!({ "id": "price_new", "lookup_key": "pro_by_key", "metadata": { "tenancy_plan": "basic" } }),
            pro,
        ),
        (
            "price",
            json!({ "id": "price_basic", "lookup_key": "pro_by_key", "product": "prod_pro" }),
            Ok("basic"),
        ),
        ("price", json!("price_pro"), pro),
        ("price", json!({ "id": "price_new", "product": "prod_new" }), Err("price_new")),
        // A name that is misspelt leaves the plan as it is, and says so.
        (
            "price",
            json!({ "id": "price_new", "product": "prod_pro", "metadata": { "tenancy_plan": "por" } }),
            Err("price_new"),
        ),
    ] {
        let fixture = Fixture::new().await;
        let items = json!({ "items": { "data": [{ "id": "si_1", "quantity": 1, field: price }] } });
        let bought = created("e1", 1, &with(sub("active", ""), &items));
        match expected {
            Ok(key) => {
                expect(&fixture, &bought, "applied").await;
                assert_eq!(fixture.acme().await, plan(key, TenantStatus::Active), "{items}");
            }
            Err(price) => {
                let _ = fixture.send(&bought).await;
                assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active), "{items}");
                let said =
                    fixture.audit("billing.subscription").last().unwrap().details()["attention"].clone();
                assert_eq!(said, format!("no plan has the price `{price}`; add it to a plan's prices"));
            }
        }
    }
}

#[tokio::test]
async fn payments_are_news_and_no_access() {
    let fixture = Fixture::new().await;
    expect(&fixture, &created("e1", 1, &sub("unpaid", "price_pro")), "applied").await;
    let invoice = json!({ "id": "in_1", "customer": "cus_1", "amount_paid": 900, "amount_due": 900,
                          "currency": "eur", "attempt_count": 2 });
    expect(&fixture, &event("e2", 2, "invoice.paid", &invoice), "unchanged").await;
    expect(&fixture, &event("e3", 3, "invoice.payment_failed", &invoice), "unchanged").await;
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Suspended));
    let failed = &fixture.audit("billing.payment_failed")[0];
    assert_eq!(failed.about().unwrap().id, "in_1");
    assert_eq!((failed.details()["amount"].as_str(), failed.details()["attempt"].as_str()), ("900", "2"));
}

#[tokio::test]
async fn every_api_version_leads_to_the_same_tenant() {
    let base = json!({ "id": "sub_1", "status": "active", "metadata": { "tenant_id": "acme" } });
    for shape in [
        json!({ "customer": "cus_1", "plan": { "id": "price_pro" }, "quantity": 1 }),
        json!({ "customer": "cus_1", "current_period_end": START,
                "items": { "data": [{ "plan": { "id": "price_pro" } }] } }),
        json!({ "customer": { "id": "cus_1" }, "items": { "data": [item("price_pro", 1)] } }),
        json!({ "customer": null, "customer_account": "acct_1", "items": { "data": [item("price_pro", 1)] } }),
    ] {
        let fixture = Fixture::new().await;
        expect(&fixture, &created("e1", 1, &with(base.clone(), &shape)), "applied").await;
        assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active), "{shape}");
    }
}

#[tokio::test]
async fn both_forms_of_a_cancellation_are_read() {
    let fixture = Fixture::new().await;
    let period_end = Timestamp::from_seconds(START + 2_592_000);
    for (second, over, expected) in [
        (1, json!({ "cancel_at": START + 77 }), Some(Timestamp::from_seconds(START + 77))),
        (2, json!({ "cancel_at": null }), None),
        (3, json!({ "cancel_at_period_end": true }), Some(period_end)),
    ] {
        let object = with(sub("active", "price_pro"), &over);
        let _ = fixture.send(&updated(&format!("e{second}"), second, &object, &json!({}))).await;
        let stored = fixture.subscription("sub_1").unwrap();
        assert_eq!(stored.cancel_at(), expected, "{over}");
        assert_eq!(stored.period_end(), Some(period_end));
        let back = Subscription::from_json(stored.tenant().clone(), &stored.to_json()).unwrap();
        assert_eq!(back, stored, "stored and read back");
        assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active), "active until then");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_and_what_cannot_be_trusted_is_not() {
    let fixture = Fixture::new().await;
    expect(&fixture, &created("e1", 1, &json!({ "id": "sub_1", "customer": "cus_1" })), "quarantined").await;
    assert_eq!(fixture.store.billing_quarantine().unwrap()[0].reason, "the subscription has no status");

    let good = created("e2", 2, &sub("active", "price_pro")).to_string();
    let signature = sign("whsec_other", good.as_bytes(), Timestamp::from_seconds(START));
    let error = fixture.webhook.receive(good.as_bytes(), &[signature.as_bytes()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SignatureInvalid);
    let long = vec![b' '; (1 << 20) + 1];
    let signature = sign(SECRET, &long, Timestamp::from_seconds(START));
    let error = fixture.webhook.receive(&long, &[signature.as_bytes()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let live = with(created("e3", 3, &sub("active", "price_pro")), &json!({ "livemode": true }));
    expect(&fixture, &live, "ignored").await;
    assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active));
    assert_eq!(fixture.quarantined(), 1);
}

/// A tenant store without tenants that records the versions it is notified of.
#[derive(Debug, Default)]
struct Notified(Mutex<Vec<u64>>);

#[async_trait]
impl TenantStore for Notified {
    async fn by_id(&self, _: &TenantId) -> Result<Option<Arc<Tenant>>> {
        Ok(None)
    }
    async fn by_slug(&self, _: &Slug) -> Result<Option<Arc<Tenant>>> {
        Ok(None)
    }
    async fn list(&self, _: Option<&TenantId>, _: u16) -> Result<Vec<Arc<Tenant>>> {
        Ok(Vec::new())
    }
    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        Ok(Arc::new(tenant.into_tenant()))
    }
    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        Ok(Arc::new(tenant.clone()))
    }
    async fn committed(&self, tenant: &Arc<Tenant>) {
        self.0.lock().unwrap().push(tenant.version());
    }
}

#[tokio::test]
async fn a_cache_is_notified_of_committed_changes_only() {
    let fixture = Fixture::new().await;
    let catalog =
        Catalog::from_toml("version = 1\n[features]\n[plans.pro]\nprices = [\"price_pro\"]\nfeatures = {}");
    let told = Arc::new(Notified::default());
    let webhook = StripeWebhook::new(
        SigningSecrets::new([SECRET]).unwrap(),
        Mode::Test,
        fixture.store.clone(),
        Arc::new(catalog.unwrap()),
        told.clone(),
    )
    .with_clock(fixture.clock.clone());
    for event in [
        created("e1", 1, &sub("active", "price_pro")),
        created("e1", 1, &sub("active", "price_pro")),
        updated("e2", 2, &sub("active", "price_pro"), &json!({})),
        updated("e3", 3, &sub("past_due", "price_pro"), &json!({})),
    ] {
        let body = event.to_string();
        let signature = sign(SECRET, body.as_bytes(), Timestamp::from_seconds(START));
        let receipt = webhook.receive(body.as_bytes(), &[signature.as_bytes()]).await.unwrap();
        assert!(!matches!(receipt, EventOutcome::Quarantined { .. }));
    }
    assert_eq!(*told.0.lock().unwrap(), [2, 3]);
}

#[tokio::test]
async fn what_is_not_committed_did_not_happen() {
    let fixture = Fixture::new().await;
    let events = StripeEvents::new(Mode::Test);
    let catalog =
        Catalog::from_toml("version = 1\n[features]\n[plans.pro]\nprices = [\"price_pro\"]\nfeatures = {}")
            .unwrap();
    let raw = created("e1", 1, &sub("active", "price_pro")).to_string();
    let event = events.read(raw.as_bytes()).unwrap();

    let mut dropped = fixture.store.begin().await.unwrap();
    let receipt = process(&mut *dropped, BillingContext::new(&events, &catalog, &*fixture.clock), &event)
        .await
        .unwrap();
    assert_eq!(receipt.as_str(), "applied");
    drop(dropped);
    assert_eq!(fixture.acme().await, plan("free", TenantStatus::Active));
    assert!(fixture.subscription("sub_1").is_none());
    assert!(fixture.store.billing_audit().unwrap().is_empty());

    let (mut first, mut second) =
        (fixture.store.begin().await.unwrap(), fixture.store.begin().await.unwrap());
    for tx in [&mut first, &mut second] {
        let receipt = process(&mut **tx, BillingContext::new(&events, &catalog, &*fixture.clock), &event)
            .await
            .unwrap();
        assert_eq!(receipt.as_str(), "applied", "the event that was not committed was not seen");
    }
    first.commit().await.unwrap();
    assert_eq!(second.commit().await.unwrap_err().kind(), ErrorKind::Retryable);
    assert_eq!(fixture.acme().await, plan("pro", TenantStatus::Active));
    assert_eq!(fixture.tenant("acme").await.version(), 2);
    assert_eq!(fixture.audit("billing.subscription").len(), 1);
}
