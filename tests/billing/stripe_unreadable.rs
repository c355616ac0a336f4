//! A signed body that is not an event is kept once, and answered as received; an unsigned one is not kept.

use std::sync::Arc;

use tenancy::billing::stripe::{Mode, SigningSecrets, StripeWebhook, sign};
use tenancy::billing::{BillingStore, EventOutcome};
use tenancy::clock::{Clock, ManualClock, Timestamp};
use tenancy::plan::Catalog;
use tenancy::store::{MemoryStore, SqlStore};
use tenancy::tenant::TenantStore;
use tenancy::{ErrorKind, Result};

use crate::common::{CATALOG, TestBackend};

const SECRET: &str = "whsec_unreadable";
const GOOD: &str = r#"{"id":"evt_1","object":"event","type":"customer.created","created":1700000000,"livemode":false,"data":{"object":{}}}"#;

struct Endpoint {
    webhook: StripeWebhook,
    clock: Arc<ManualClock>,
}

impl Endpoint {
    fn new<S: BillingStore + TenantStore + 'static>(store: Arc<S>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_700_000_000)));
        let catalog = Arc::new(Catalog::from_toml(CATALOG).unwrap());
        let webhook = StripeWebhook::new(
            SigningSecrets::new([SECRET]).unwrap(),
            Mode::Test,
            store.clone(),
            catalog,
            store,
        )
        .with_clock(clock.clone());
        Self { webhook, clock }
    }

    async fn signed(&self, secret: &str, body: &[u8]) -> Result<EventOutcome> {
        let signature = sign(secret, body, self.clock.now());
        self.webhook.receive(body, &[signature.as_bytes()]).await
    }
}

/// Bodies that Stripe never sends, each with the reason that the quarantine names.
fn bodies() -> Vec<(Vec<u8>, &'static str)> {
    let change = |from: &str, to: &str| {
        let changed = GOOD.replacen(from, to, 1);
        assert_ne!(changed, GOOD);
        changed.into_bytes()
    };
    let object = "the body is not a JSON object";
    let json = "the body is not JSON";
    let field = "a field of the event is repeated or has another type";
    vec![
        (Vec::new(), object),
        (b"payload=%7B%7D".to_vec(), object),
        (GOOD.as_bytes()[..40].to_vec(), json),
        ([GOOD.as_bytes(), b"x"].concat(), json),
        (change("evt_1", "\\ud800"), json),
        ("[".repeat(100_000).into_bytes(), object),
        ("{\"a\":".repeat(16_000).into_bytes(), json),
        ([b"\xEF\xBB\xBF", GOOD.as_bytes()].concat(), "the body begins with a byte order mark"),
        (
            change("evt_1", "evt_\u{e9}").iter().map(|b| if *b == 0xC3 { 0xFF } else { *b }).collect(),
            "the body is not UTF-8",
        ),
        (b"\xFF\xFE{\0}\0".to_vec(), "the body is not UTF-8"),
        (b"null".to_vec(), object),
        (b"[]".to_vec(), object),
        (br#"["event","evt_1","customer.created",1700000000,false,null,null,{}]"#.to_vec(), object),
        (change("{", "{\"id\":\"evt_0\","), field),
        (change("{", "{\"type\":null,"), field),
        (change("\"evt_1\"", "7"), field),
        (change("false", "\"false\""), field),
        (change("{\"object\":{}}", "[]"), field),
        (b"{}".to_vec(), "its `object` is not `event`"),
        (change("\"event\"", "\"list\""), "its `object` is not `event`"),
        (change("\"id\":\"evt_1\",", ""), "it has no id"),
        (change("evt_1", ""), "it has no id"),
        (change("\"type\":\"customer.created\",", ""), "it has no type"),
        (change("\"created\":1700000000,", ""), "it has no date"),
        (change("1700000000", "\"today\""), "it has no date"),
        (change("\"livemode\":false,", ""), "it has no `livemode`"),
    ]
}

#[tokio::test]
async fn a_signed_body_that_is_no_event_is_kept_once() {
    let store = Arc::new(MemoryStore::new());
    let endpoint = Endpoint::new(store.clone());
    let bodies = bodies();
    assert!(bodies.len() >= 26);
    for (n, (body, named)) in bodies.iter().enumerate() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]);
        let outcome = endpoint.signed(SECRET, body).await.unwrap();
        assert_eq!(outcome, EventOutcome::Quarantined { reason: named }, "{shown}");
        let again = endpoint.signed(SECRET, body).await.unwrap();
        assert_eq!(again, EventOutcome::Duplicate, "{shown}");
        let kept = store.billing_quarantine().unwrap();
        assert_eq!(kept.len(), n + 1);
        let row = kept.iter().find(|row| row.raw == *body).unwrap();
        assert_eq!(row.reason, *named);
        assert!(row.event.starts_with("sha256:") && row.event.len() == 7 + 64, "{}", row.event);
        assert_eq!((&row.customer, &row.subscription, &row.account), (&None, &None, &None));
        assert_eq!((row.created, row.received), (endpoint.clock.now(), endpoint.clock.now()));
    }
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert!(store.billing_quarantine().unwrap().iter().any(|row| row.event == empty));
}

#[tokio::test]
async fn an_unsigned_body_is_never_kept() {
    let store = Arc::new(MemoryStore::new());
    let endpoint = Endpoint::new(store.clone());
    for (body, _) in bodies() {
        let error = endpoint.signed("whsec_other", &body).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SignatureInvalid);
        let error = endpoint.webhook.receive(&body, &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SignatureInvalid);
    }
    let thin = br#"{"id":"evt_1","object":"v2.core.event","type":"v1.customer.subscription.updated"}"#;
    assert_eq!(endpoint.signed(SECRET, thin).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    let long = vec![b' '; (1 << 20) + 1];
    assert_eq!(endpoint.signed(SECRET, &long).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(store.billing_quarantine().unwrap(), []);
}

/// Bytes that are not UTF-8 reach the tables too.
async fn every_store_keeps_the_bytes<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(2).await;
    let store = SqlStore::new(pool.clone());
    store.migrate().await.unwrap();
    let endpoint = Endpoint::new(Arc::new(store));
    for (body, named) in bodies() {
        let outcome = endpoint.signed(SECRET, &body).await.unwrap();
        assert_eq!(outcome, EventOutcome::Quarantined { reason: named });
        assert_eq!(endpoint.signed(SECRET, &body).await.unwrap(), EventOutcome::Duplicate);
    }
    let rows = DB::number(&pool, "SELECT count(*) FROM tenancy_billing_quarantine").await;
    assert_eq!(rows, i64::try_from(bodies().len()).unwrap());
    let whole = "SELECT count(*) FROM tenancy_billing_quarantine WHERE length(raw) = 100000";
    assert_eq!(DB::number(&pool, whole).await, 1);
}

on_every_database!(every_store_keeps_the_bytes);
