//! Every type of event that is only recorded: its audit event, its tenant, and that it changes no plan and no status.

use proptest::prelude::*;
use serde_json::{Value, json};
use tenancy::ErrorKind;
use tenancy::billing::EventOutcome;
use tenancy::billing::stripe::UnverifiedWebhook;
use tenancy::tenant::TenantStatus;

use crate::stripe_fixture::{Fixture, checkout, created, event, references, stamped, subscription, with};
use crate::stripe_translate::json_value;

/// The type, an object of the customer `cus`, the action of the audit event, and one of its details.
type Recorded = (&'static str, fn(&str) -> Value, &'static str, (&'static str, &'static str));

fn invoice(customer: &str) -> Value {
    json!({ "id": "in_1", "object": "invoice", "customer": customer, "amount_due": 900, "amount_paid": 900,
        "currency": "eur", "attempt_count": 2, "billing_reason": "subscription_cycle",
        "last_finalization_error": { "code": "customer_tax_location_invalid" } })
}

/// A session whose customer is known, as in a second purchase.
fn session(customer: &str) -> Value {
    json!({ "id": "cs_1", "object": "checkout.session", "mode": "subscription", "payment_status": "unpaid",
        "customer": customer })
}

fn dispute(customer: &str) -> Value {
    json!({ "id": "dp_1", "object": "dispute", "amount": 900, "status": "needs_response", "reason": "fraudulent",
        "charge": { "id": "ch_1", "object": "charge", "customer": customer } })
}

fn schedule(customer: &str) -> Value {
    json!({ "id": "sub_sched_1", "object": "subscription_schedule", "customer": customer, "status": "active",
        "subscription": null, "phases": [{ "items": [{ "price": "price_basic" }] }] })
}

const RECORDED: &[Recorded] = &[
    ("invoice.paid", invoice, "billing.payment_succeeded", ("amount", "900")),
    ("invoice.payment_succeeded", invoice, "billing.payment_succeeded", ("currency", "eur")),
    ("invoice.payment_failed", invoice, "billing.payment_failed", ("attempt", "2")),
    ("invoice.payment_action_required", invoice, "billing.payment_action_required", ("amount", "900")),
    ("invoice.payment_attempt_required", invoice, "billing.payment_attempt_required", ("attempt", "2")),
    ("invoice.marked_uncollectible", invoice, "billing.invoice_uncollectible", ("currency", "eur")),
    ("invoice.overdue", invoice, "billing.invoice_overdue", ("billing_reason", "subscription_cycle")),
    ("invoice.overpaid", invoice, "billing.invoice_overpaid", ("amount", "900")),
    (
        "invoice.finalization_failed",
        invoice,
        "billing.invoice_finalization_failed",
        ("error", "customer_tax_location_invalid"),
    ),
    ("invoice.upcoming", invoice, "billing.invoice_upcoming", ("amount", "900")),
    (
        "invoice_payment.paid",
        |customer| json!({ "id": "inpay_1", "amount_paid": 900, "invoice": { "id": "in_1", "customer": customer } }),
        "billing.invoice_payment_paid",
        ("invoice", "in_1"),
    ),
    (
        "checkout.session.async_payment_failed",
        session,
        "billing.checkout_payment_failed",
        ("payment_status", "unpaid"),
    ),
    ("checkout.session.expired", session, "billing.checkout_expired", ("mode", "subscription")),
    (
        "charge.refunded",
        |customer| json!({ "id": "ch_1", "object": "charge", "customer": customer, "amount_refunded": 900, "refunded": true }),
        "billing.charge_refunded",
        ("refunded", "true"),
    ),
    ("charge.dispute.created", dispute, "billing.dispute", ("charge", "ch_1")),
    ("charge.dispute.closed", dispute, "billing.dispute", ("event_kind", "charge.dispute.closed")),
    ("charge.dispute.updated", dispute, "billing.dispute", ("status", "needs_response")),
    ("charge.dispute.funds_withdrawn", dispute, "billing.dispute", ("amount", "900")),
    ("charge.dispute.funds_reinstated", dispute, "billing.dispute", ("reason", "fraudulent")),
    (
        "radar.early_fraud_warning.created",
        |customer| json!({ "id": "issfr_1", "fraud_type": "misc", "charge": { "id": "ch_1", "customer": customer } }),
        "billing.early_fraud_warning",
        ("fraud_type", "misc"),
    ),
    (
        "entitlements.active_entitlement_summary.updated",
        |customer| {
            json!({ "object": "entitlements.active_entitlement_summary", "customer": customer,
            "entitlements": { "object": "list", "has_more": true,
                "data": [{ "lookup_key": "sso" }, { "lookup_key": "seats" }] } })
        },
        "billing.entitlements",
        ("features", "sso,seats"),
    ),
    ("subscription_schedule.created", schedule, "billing.subscription_schedule", ("status", "active")),
    ("subscription_schedule.updated", schedule, "billing.subscription_schedule", ("status", "active")),
    ("subscription_schedule.released", schedule, "billing.subscription_schedule", ("status", "active")),
    ("subscription_schedule.canceled", schedule, "billing.subscription_schedule", ("status", "active")),
    (
        "billing.alert.triggered",
        |customer| {
            json!({ "object": "billing.alert_triggered", "customer": customer, "value": 500,
            "alert": { "id": "alrt_1", "title": "Much" } })
        },
        "billing.alert",
        ("value", "500"),
    ),
];

/// acme pays for `pro` as `cus_1`, globex for `basic` as `cus_2`.
async fn two_payers() -> Fixture {
    let fixture = Fixture::new().await;
    let acme = stamped(subscription("sub_1", "cus_1", "active", "price_pro"), "acme");
    let globex = stamped(subscription("sub_2", "cus_2", "past_due", "price_basic"), "globex");
    let _ = fixture.send(&created("evt_acme", 0, &acme)).await;
    let _ = fixture.send(&created("evt_globex", 0, &globex)).await;
    fixture
}

/// Asserts that both tenants are as [`two_payers`] left them.
async fn unchanged(fixture: &Fixture, context: &str) {
    for (name, plan, status) in
        [("acme", "pro", TenantStatus::Active), ("globex", "basic", TenantStatus::PastDue)]
    {
        let tenant = fixture.tenant(name).await;
        assert_eq!((tenant.plan(), tenant.status(), tenant.version()), (plan, status, 2), "{context}");
    }
    for id in ["sub_1", "sub_2"] {
        assert!(!fixture.subscription(id).unwrap().needs_refresh());
    }
}

#[tokio::test]
async fn each_type_is_recorded_for_its_own_tenant_and_changes_nothing() {
    for (kind, object, action, (detail, value)) in RECORDED {
        let fixture = two_payers().await;
        for (customer, tenant, before) in [("cus_1", "acme", 0), ("cus_2", "globex", 1)] {
            let mut object = object(customer);
            if object.get("id").is_some_and(|id| id == "in_1") && tenant == "globex" {
                object["id"] = json!("in_2");
            }
            let sent = event(&format!("evt_{tenant}_1"), 1, kind, &object);
            assert_eq!(fixture.send(&sent).await, EventOutcome::Unchanged, "{kind}");
            assert_eq!(fixture.send(&sent).await, EventOutcome::Duplicate, "{kind}");
            let records = fixture.audit(action);
            assert_eq!(records.len(), before + 1, "{kind}");
            assert_eq!(records[before].tenant().to_string(), tenant, "{kind}");
            assert_eq!(records[before].details()[*detail], *value, "{kind}");
            assert_eq!(records[before].details()["event_kind"], *kind);
            unchanged(&fixture, kind).await;
        }
        assert_eq!(fixture.quarantined(), 0, "{kind}");
    }
}

#[tokio::test]
async fn an_object_without_a_customer_is_ignored_by_name() {
    for (kind, object, reason) in [
        ("charge.dispute.created", json!({ "id": "dp_1", "charge": "ch_1" }), "read it by its charge"),
        (
            "radar.early_fraud_warning.created",
            json!({ "id": "issfr_1", "charge": "ch_1" }),
            "read it by its charge",
        ),
        ("charge.refunded", json!({ "id": "ch_1", "customer": null }), "payment intent"),
        ("invoice_payment.paid", json!({ "id": "inpay_1", "invoice": "in_1" }), "read it by its invoice"),
        ("billing.alert.triggered", json!({ "alert": { "id": "alrt_1" } }), "by its id"),
        ("subscription_schedule.expiring", json!({ "id": "sub_sched_1" }), "by its subscription"),
        ("entitlements.active_entitlement_summary.updated", json!({}), "names no customer"),
        ("checkout.session.expired", json!({ "id": "cs_1", "mode": "payment" }), "neither a customer"),
        ("invoice.upcoming", json!({}), "neither a customer"),
        ("customer.updated", json!({ "id": "cus_1", "object": "customer" }), "details change neither"),
    ] {
        let fixture = two_payers().await;
        let before = fixture.store.billing_audit().unwrap().len();
        let outcome = fixture.send(&event("evt_1", 1, kind, &object)).await;
        assert!(
            matches!(&outcome, EventOutcome::Ignored { reason: given } if given.contains(reason)),
            "{outcome:?}"
        );
        assert_eq!(fixture.store.billing_audit().unwrap().len(), before, "{kind}");
        assert_eq!(fixture.quarantined(), 0);
        unchanged(&fixture, kind).await;
    }
}

/// Only what a purchase can wait for goes to the quarantine; nothing links a customer.
#[tokio::test]
async fn an_unknown_customer_is_not_linked_by_a_record() {
    for (kind, object, action, _) in RECORDED {
        let fixture = Fixture::new().await;
        let object = with(object("cus_9"), &json!({ "metadata": { "tenant_id": "acme" } }));
        let outcome = fixture.send(&event("evt_1", 1, kind, &object)).await.as_str();
        let is_checkout = kind.starts_with("checkout.");
        let expected = match kind.split_once('.').unwrap().0 {
            "invoice" => "quarantined",
            // The stamp names the tenant, but the session sold nothing.
            "checkout" => "unchanged",
            _ => "ignored",
        };
        assert_eq!(outcome, expected, "{kind}");
        assert_eq!(fixture.audit(action).len(), usize::from(is_checkout), "{kind}");
        assert!(fixture.audit("billing.link").is_empty(), "{kind}");
        fixture.acme().await;
    }
}

#[tokio::test]
async fn a_recorded_invoice_waits_for_the_link_of_its_customer() {
    let fixture = Fixture::new().await;
    let sent = event("evt_1", 0, "invoice.payment_action_required", &invoice("cus_1"));
    assert_eq!(fixture.send(&sent).await.as_str(), "quarantined");
    let _ = fixture.send(&checkout("evt_2", 1, "cus_1", &json!({ "client_reference_id": "acme" }))).await;
    let records = fixture.audit("billing.payment_action_required");
    assert_eq!((records.len(), fixture.quarantined()), (1, 0));
    assert_eq!(records[0].tenant().to_string(), "acme");
    fixture.acme().await;
}

#[tokio::test]
async fn a_payment_is_recorded_once_though_two_events_report_it() {
    let fixture = two_payers().await;
    let unpaid = with(invoice("cus_1"), &json!({ "id": "in_3", "amount_paid": 0 }));
    for (n, (kind, object)) in [
        ("invoice.payment_succeeded", invoice("cus_1")),
        ("invoice.paid", invoice("cus_1")),
        ("invoice.paid", invoice("cus_1")),
        ("invoice.paid", unpaid.clone()),
        ("invoice.payment_succeeded", unpaid),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(fixture.send(&event(&format!("evt_{n}"), 1, kind, object)).await.as_str(), "unchanged");
    }
    let amounts: Vec<String> = fixture
        .audit("billing.payment_succeeded")
        .iter()
        .map(|one| one.details()["amount"].clone())
        .collect();
    assert_eq!(amounts, ["900", "0"]);
    // Each failed attempt counts.
    for n in 5..8 {
        let _ =
            fixture.send(&event(&format!("evt_{n}"), 1, "invoice.payment_failed", &invoice("cus_1"))).await;
    }
    assert_eq!(fixture.audit("billing.payment_failed").len(), 3);
    unchanged(&fixture, "payments").await;
}

#[tokio::test]
async fn a_late_payment_links_as_a_paid_checkout_does() {
    let session = |over: Value| {
        let mut event = checkout("evt_1", 1, "cus_1", &with(json!({ "client_reference_id": "acme" }), &over));
        event["type"] = json!("checkout.session.async_payment_succeeded");
        event
    };
    let fixture = Fixture::new().await;
    let unpaid = json!({ "client_reference_id": "acme", "payment_status": "unpaid" });
    assert_eq!(fixture.send(&checkout("evt_0", 0, "cus_1", &unpaid)).await.as_str(), "ignored");
    let bought = subscription("sub_1", "cus_1", "active", "price_pro");
    assert_eq!(fixture.send(&created("evt_2", 0, &bought)).await.as_str(), "quarantined");
    assert_eq!(fixture.acme().await, ("free".to_owned(), TenantStatus::Active));
    assert_eq!(fixture.send(&session(json!({}))).await.as_str(), "applied");
    assert_eq!(fixture.acme().await, ("pro".to_owned(), TenantStatus::Active));
    for over in
        [json!({ "mode": "payment" }), json!({ "mode": "setup" }), json!({ "payment_status": "unpaid" })]
    {
        let fixture = Fixture::new().await;
        assert_eq!(fixture.send(&session(over)).await.as_str(), "ignored");
        assert!(fixture.audit("billing.link").is_empty());
    }
}

#[tokio::test]
async fn a_signed_reference_names_the_tenant_of_an_expired_checkout() {
    let acme = tenancy::tenant::TenantId::parse("acme").unwrap();
    for (reference, recorded) in [(references().reference(&acme), 1), ("acme".to_owned(), 0)] {
        let fixture = Fixture::new().await;
        let object = json!({ "id": "cs_1", "mode": "subscription", "customer": null, "client_reference_id": reference });
        let _ = fixture.send(&event("evt_1", 0, "checkout.session.expired", &object)).await;
        assert_eq!(fixture.audit("billing.checkout_expired").len(), recorded);
        fixture.acme().await;
    }
}

#[tokio::test]
async fn without_a_signature_the_outcome_is_the_same() {
    let (signed, unsigned) = (two_payers().await, two_payers().await);
    let webhook = UnverifiedWebhook::new(unsigned.webhook.clone());
    let long = vec![b' '; (1 << 20) + 1];
    assert_eq!(webhook.receive(&long).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    for (n, (kind, object, action, _)) in RECORDED.iter().enumerate() {
        let event = event(&format!("evt_{n}"), 1, kind, &object("cus_1"));
        let outcome = webhook.receive(event.to_string().as_bytes()).await.unwrap();
        assert_eq!(outcome, signed.send(&event).await, "{kind}");
        assert_eq!(unsigned.audit(action).len(), signed.audit(action).len());
        let unsigned = unsigned.webhook.receive(event.to_string().as_bytes(), &[]).await;
        assert_eq!(unsigned.unwrap_err().kind(), ErrorKind::SignatureInvalid);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever such an event contains, plan, status, version, links and subscriptions stay.
    #[test]
    fn no_recorded_event_changes_a_plan_or_a_status(
        noise in json_value(),
        at in 0..RECORDED.len(),
        customer in prop_oneof![Just("cus_1"), Just("cus_2"), Just("cus_9")],
        status in prop_oneof![Just("active"), Just("canceled"), Just("unpaid"), Just("paid")],
        tenant in prop_oneof![Just("acme"), Just("globex"), Just("nobody")],
    ) {
        let (kind, object, ..) = RECORDED[at];
        let mut object = object(customer);
        if let Value::Object(noise) = noise {
            object.as_object_mut().unwrap().extend(noise);
        }
        let object = with(object, &json!({ "status": status, "metadata": { "tenant_id": tenant } }));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let fixture = two_payers().await;
            let subscriptions = fixture.store.billing_subscriptions().unwrap();
            let _ = fixture.send(&event("evt_1", 1, kind, &object)).await;
            unchanged(&fixture, kind).await;
            assert_eq!(fixture.store.billing_subscriptions().unwrap(), subscriptions, "{kind}");
        });
    }
}
