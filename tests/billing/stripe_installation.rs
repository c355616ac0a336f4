//! Two installations on one Stripe account have tenants with the same ids; neither uses the stamps of the other.

use std::sync::Arc;

use serde_json::{Value, json};
use tenancy::ErrorKind;
use tenancy::billing::EventOutcome;
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeEvents, StripeWebhook, sign};
use tenancy::clock::{Clock, ManualClock, Timestamp};
use tenancy::plan::Catalog;
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore};

use crate::common::CATALOG;
use crate::stripe_fixture::{
    SECRET, START, checkout, created, event, references, subscription, updated, with,
};

const OTHER: EventOutcome =
    EventOutcome::Ignored { reason: "the metadata carries the stamp of another installation" };

/// One installation: tenants 7 and 8 are active on `free`.
struct Installation {
    store: Arc<MemoryStore>,
    webhook: StripeWebhook,
    clock: Arc<ManualClock>,
}

impl Installation {
    async fn new(name: Option<&str>) -> Self {
        let store = Arc::new(MemoryStore::new());
        for (slug, id) in [("acme", 7), ("globex", 8)] {
            let tenant = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free")
                .id(TenantId::from_int(id).unwrap())
                .status(TenantStatus::Active);
            let _ = store.insert(tenant).await.unwrap();
        }
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START)));
        let catalog = Arc::new(Catalog::from_toml(CATALOG).unwrap());
        let secrets = SigningSecrets::new([SECRET]).unwrap();
        let mut webhook = StripeWebhook::new(secrets, Mode::Test, store.clone(), catalog, store.clone())
            .with_clock(clock.clone());
        if let Some(name) = name {
            webhook = webhook.installation(name).unwrap();
        }
        Self { store, webhook, clock }
    }

    async fn send(&self, event: &Value) -> EventOutcome {
        let body = event.to_string();
        let signature = sign(SECRET, body.as_bytes(), self.clock.now());
        self.webhook.receive(body.as_bytes(), &[signature.as_bytes()]).await.unwrap()
    }

    async fn plan(&self) -> String {
        let tenant = self.store.by_id(&TenantId::from_int(7).unwrap()).await.unwrap().unwrap();
        tenant.plan().to_owned()
    }

    fn quarantined(&self) -> usize {
        self.store.billing_quarantine().unwrap().len()
    }
}

fn stamp(installation: Option<&str>) -> Value {
    let mut metadata = json!({ "tenant_id": "7" });
    if let Some(name) = installation {
        metadata["tenancy_installation"] = json!(name);
    }
    json!({ "metadata": metadata })
}

fn bought(id: &str, installation: Option<&str>) -> Value {
    let n = id.trim_start_matches(char::is_alphabetic);
    let object = subscription(&format!("sub_{n}"), &format!("cus_{n}"), "active", "price_pro");
    created(id, 1, &with(object, &stamp(installation)))
}

/// `I96`: tenant 7 of one installation is not tenant 7 of the other.
#[tokio::test]
async fn a_purchase_belongs_to_the_installation_that_stamped_it() {
    let eu = Installation::new(Some("eu")).await;
    let us = Installation::new(Some("us")).await;
    let purchase = bought("e1", Some("eu"));
    assert_eq!(us.send(&purchase).await, OTHER);
    assert_eq!(eu.send(&purchase).await.as_str(), "applied");
    assert_eq!((eu.plan().await.as_str(), us.plan().await.as_str()), ("pro", "free"));
    for (n, stamped) in [None, Some("us"), Some("EU"), Some("eu ")].into_iter().enumerate() {
        assert_eq!(eu.send(&bought(&format!("x{}", n + 2), stamped)).await, OTHER, "{stamped:?}");
    }
    let session = checkout("c9", 1, "cus_9", &stamp(Some("us")));
    assert_eq!(eu.send(&session).await, OTHER);
    let invoice = json!({ "id": "in_1", "customer": "cus_9", "subscription": "sub_9", "amount_paid": 5,
                          "lines": { "data": [stamp(Some("us"))] } });
    assert_eq!(eu.send(&event("i9", 1, "invoice.paid", &invoice)).await, OTHER);
    // The name alone, without a tenant id, is a stamp of the other installation too.
    let object = subscription("sub_9", "cus_9", "active", "price_pro");
    let object = with(object, &json!({ "metadata": { "tenancy_installation": "us" } }));
    assert_eq!(eu.send(&created("n9", 1, &object)).await, OTHER);
    assert_eq!((eu.quarantined(), us.quarantined()), (0, 0), "another installation's events are not kept");
}

#[tokio::test]
async fn an_event_without_any_stamp_still_waits_for_its_link() {
    let eu = Installation::new(Some("eu")).await;
    let object = subscription("sub_1", "cus_1", "active", "price_pro");
    assert_eq!(eu.send(&created("e1", 1, &object)).await.as_str(), "quarantined");
    assert_eq!(eu.send(&checkout("e2", 2, "cus_1", &stamp(Some("eu")))).await.as_str(), "applied");
    assert_eq!(eu.plan().await, "pro");
    assert_eq!(eu.quarantined(), 0);
}

#[tokio::test]
async fn a_stored_customer_or_subscription_outranks_the_stamp() {
    let before = Installation::new(None).await;
    assert_eq!(before.send(&bought("e1", None)).await.as_str(), "applied");
    // From now on the installation has a name. The subscriptions from before carry no name.
    let clock = before.clock.clone();
    let catalog = Arc::new(Catalog::from_toml(CATALOG).unwrap());
    let store = before.store.clone();
    let webhook = StripeWebhook::new(
        SigningSecrets::new([SECRET]).unwrap(),
        Mode::Test,
        store.clone(),
        catalog,
        store.clone(),
    )
    .with_clock(clock.clone())
    .installation("eu")
    .unwrap();
    let eu = Installation { store, webhook, clock };
    let changed = with(subscription("sub_1", "cus_1", "past_due", "price_pro"), &stamp(None));
    assert_eq!(
        eu.send(&updated("e2", 2, &changed, &json!({ "status": "active" }))).await.as_str(),
        "applied"
    );
    let second = with(subscription("sub_2", "cus_1", "active", "price_pro"), &stamp(None));
    assert_eq!(eu.send(&created("e3", 3, &second)).await.as_str(), "applied", "by its customer");
    // What is malformed is kept, whoever stamped it.
    let malformed = with(changed, &json!({ "status": 7 }));
    assert_eq!(eu.send(&created("e4", 4, &malformed)).await.as_str(), "quarantined");
    assert_eq!(eu.quarantined(), 1);
}

#[tokio::test]
async fn a_contradiction_of_what_is_stored_is_kept_whoever_stamped_it() {
    let eu = Installation::new(Some("eu")).await;
    assert_eq!(eu.send(&bought("e1", Some("eu"))).await.as_str(), "applied");
    let metadata = json!({ "metadata": { "tenant_id": "8", "tenancy_installation": "eu" } });
    assert_eq!(eu.send(&checkout("e2", 2, "cus_2", &metadata)).await.as_str(), "applied");
    let moved = with(subscription("sub_1", "cus_2", "unpaid", "price_pro"), &stamp(Some("us")));
    assert_eq!(eu.send(&updated("e3", 3, &moved, &json!({}))).await.as_str(), "quarantined");
    assert_eq!((eu.quarantined(), eu.plan().await.as_str()), (1, "pro"));
}

#[tokio::test]
async fn an_ignored_event_counts_again_once_its_customer_is_known() {
    let eu = Installation::new(Some("eu")).await;
    let foreign = bought("e1", None);
    assert_eq!(eu.send(&foreign).await, OTHER);
    assert_eq!(eu.send(&checkout("e2", 2, "cus_1", &stamp(Some("eu")))).await.as_str(), "applied");
    assert_eq!(eu.send(&foreign).await.as_str(), "applied", "it was not recorded as processed");
}

#[tokio::test]
async fn a_signed_reference_outranks_the_stamp_of_another_installation() {
    let mut eu = Installation::new(Some("eu")).await;
    eu.webhook = eu.webhook.checkout_references(references());
    assert_eq!(eu.send(&bought("e1", Some("eu"))).await.as_str(), "applied");
    let signed = with(stamp(Some("us")), &json!({ "client_reference_id": "7" }));
    let second = eu.send(&checkout("e2", 2, "cus_2", &signed)).await;
    assert_eq!(second.as_str(), "quarantined", "the tenant has a live subscription of another customer");
    assert_eq!(eu.quarantined(), 1);
}

#[test]
fn a_name_is_plain() {
    for name in ["eu", "eu-1_b", &"a".repeat(64)] {
        assert!(StripeEvents::new(Mode::Test).installation(name).is_ok());
    }
    for name in ["", " ", "eu west", "é", "a,b", &"a".repeat(65)] {
        let error = StripeEvents::new(Mode::Test).installation(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{name}");
    }
}
