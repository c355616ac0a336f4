//! What an operator does beside the webhook, and events that fail again and again.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{Sqlite, SqlitePool};
use tenancy::ErrorKind;
use tenancy::billing::EventOutcome;
use tenancy::billing::stripe::{Accounts, Mode, SigningSecrets, StripeWebhook, sign};
use tenancy::clock::{Clock, ManualClock, Timestamp};
use tenancy::plan::Catalog;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, TenantId, TenantStore};

use crate::common::{Cleanup, TestBackend};
use crate::stripe_fixture::{
    Fixture, PLANS, SECRET, START, created, deleted, event, stamped, subscription, updated,
};

const DAY: i64 = 24 * 60 * 60;

/// A webhook of two tenants on SQLite.
struct Endpoint {
    pool: SqlitePool,
    store: Arc<SqlStore<Sqlite>>,
    clock: Arc<ManualClock>,
    webhook: StripeWebhook,
    _cleanup: Cleanup,
}

impl Endpoint {
    async fn new(mode: Mode, accounts: Accounts) -> Self {
        let (pool, cleanup) = Sqlite::fresh(2).await;
        let store = Arc::new(SqlStore::new(pool.clone()));
        store.migrate().await.unwrap();
        for name in ["acme", "globex"] {
            store
                .insert(NewTenant::active(name, "free").unwrap().id(TenantId::parse(name).unwrap()))
                .await
                .unwrap();
        }
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START)));
        let catalog = Catalog::from_toml(&format!("fallback = \"free\"\n{PLANS}")).unwrap();
        let secrets = SigningSecrets::new([SECRET]).unwrap();
        let webhook = StripeWebhook::new(secrets, mode, store.clone(), catalog, store.clone())
            .with_clock(clock.clone())
            .accounts(accounts);
        Self { pool, store, clock, webhook, _cleanup: cleanup }
    }

    async fn send(&self, event: &Value) -> tenancy::Result<EventOutcome> {
        let body = event.to_string();
        let signature = sign(SECRET, body.as_bytes(), self.clock.now());
        self.webhook.receive(body.as_bytes(), &[signature.as_bytes()]).await
    }

    /// The database rejects this subscription.
    async fn fail_for(&self, subscription: &str) {
        let fault = format!(
            "CREATE TRIGGER fault BEFORE INSERT ON tenancy_subscriptions WHEN new.id = '{subscription}' \
             BEGIN SELECT raise(abort, 'a fault'); END"
        );
        Sqlite::raw(&self.pool, &fault).await.unwrap();
    }
}

/// The database rejects one subscription whenever it comes. After five failures its event is set apart, the events after
/// it were applied meanwhile, and once the fault is gone it is replayed.
#[tokio::test]
async fn an_event_that_always_fails_is_set_apart_and_replayed() {
    let endpoint = Endpoint::new(Mode::Test, Accounts::Own).await;
    let Endpoint { pool, store, webhook, .. } = &endpoint;
    let send = async |event: &Value| endpoint.send(event).await;
    endpoint.fail_for("sub_1").await;
    let bad = created("e1", 1, &stamped(subscription("sub_1", "cus_1", "active", "price_pro"), "acme"));
    for attempt in 1..5 {
        let error = send(&bad).await.unwrap_err();
        assert!(!error.is_transient(), "{attempt}: {error}");
    }
    let good = created("e2", 1, &stamped(subscription("sub_2", "cus_2", "active", "price_basic"), "globex"));
    assert!(matches!(send(&good).await.unwrap(), EventOutcome::Applied { .. }));
    assert!(matches!(send(&bad).await.unwrap(), EventOutcome::Quarantined { .. }));
    assert_eq!(send(&bad).await.unwrap(), EventOutcome::Duplicate);
    let plans = async || {
        let mut plans = Vec::new();
        for name in ["acme", "globex"] {
            plans
                .push(store.by_id(&TenantId::parse(name).unwrap()).await.unwrap().unwrap().plan().to_owned());
        }
        plans
    };
    assert_eq!(plans().await, ["free", "basic"]);
    assert_eq!(webhook.quarantined(10).await.unwrap()[0].event, "e1");
    // While the fault is there, a replay changes nothing.
    webhook.replay("e1", None).await.unwrap_err();
    assert_eq!(webhook.quarantined(10).await.unwrap().len(), 1);
    Sqlite::raw(pool, "DROP TRIGGER fault").await.unwrap();
    assert!(matches!(webhook.replay("e1", None).await.unwrap(), Some(EventOutcome::Applied { .. })));
    assert_eq!(plans().await, ["pro", "basic"]);
    assert!(webhook.quarantined(10).await.unwrap().is_empty());
}

/// Ids of a connected account are other ids, in the quarantine too: there a link finds the event by its customer.
#[tokio::test]
async fn an_event_of_a_connected_account_is_set_apart_with_the_ids_of_its_account() {
    let endpoint = Endpoint::new(Mode::Test, Accounts::Connected).await;
    endpoint.fail_for("acct_1/sub_1").await;
    // The owner of a connected account names no tenant in its metadata, so the customer is linked already.
    let link = "INSERT INTO tenancy_customers (id, tenant_id) VALUES ('acct_1/cus_1', 'acme')";
    Sqlite::raw(&endpoint.pool, link).await.unwrap();
    let mut bad = created("e1", 1, &subscription("sub_1", "cus_1", "active", "price_pro"));
    bad["account"] = json!("acct_1");
    for attempt in 1..5 {
        let error = endpoint.send(&bad).await.unwrap_err();
        assert!(!error.is_transient(), "{attempt}: {error}");
    }
    assert!(matches!(endpoint.send(&bad).await.unwrap(), EventOutcome::Quarantined { .. }));
    let apart = endpoint.webhook.quarantined(10).await.unwrap().remove(0);
    assert_eq!((&*apart.event, apart.account.as_deref()), ("e1", Some("acct_1")));
    assert_eq!(apart.customer.as_deref(), Some("acct_1/cus_1"));
    assert_eq!(apart.subscription.as_deref(), Some("acct_1/sub_1"));
}

/// A replay that ignores the event does not lose it.
#[tokio::test]
async fn an_event_that_a_replay_ignores_stays_in_the_quarantine() {
    let endpoint = Endpoint::new(Mode::Live, Accounts::Own).await;
    let charge = json!({ "id": "ch_1", "object": "charge", "customer": "cus_1", "amount_refunded": 100, "currency": "eur" });
    let mut ahead = event("e1", 2 * DAY, "charge.refunded", &charge);
    ahead["livemode"] = json!(true);
    assert!(matches!(endpoint.send(&ahead).await.unwrap(), EventOutcome::Quarantined { .. }));
    endpoint.clock.advance_seconds(3 * DAY);
    for _ in 0..2 {
        let replayed = endpoint.webhook.replay("e1", None).await.unwrap();
        assert!(matches!(replayed, Some(EventOutcome::Ignored { .. })), "{replayed:?}");
        assert_eq!(endpoint.webhook.quarantined(10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_quarantine_is_listed_replayed_and_discarded() {
    let fixture = Fixture::new().await;
    for (n, customer) in ["cus_1", "cus_2"].into_iter().enumerate() {
        let unknown = subscription(&format!("sub_{n}"), customer, "active", "price_pro");
        let _ = fixture.send(&created(&format!("e{n}"), 1, &unknown)).await;
    }
    let webhook = &fixture.webhook;
    let listed: Vec<String> =
        webhook.quarantined(10).await.unwrap().into_iter().map(|one| one.event).collect();
    assert_eq!(listed, ["e0", "e1"]);
    assert_eq!(webhook.quarantined(1).await.unwrap().len(), 1);
    assert!(matches!(webhook.replay("e0", None).await.unwrap(), Some(EventOutcome::Quarantined { .. })));
    assert_eq!(webhook.replay("e0", Some("acct_1")).await.unwrap(), None);
    assert_eq!(webhook.discard("e0", None).await.unwrap().unwrap().event, "e0");
    assert_eq!(webhook.discard("e0", None).await.unwrap(), None);
    assert_eq!(webhook.quarantined(10).await.unwrap().len(), 1);
    let unknown = webhook.recompute(&TenantId::parse("nobody").unwrap()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::TenantUnknown);
}

#[tokio::test]
async fn the_ids_of_old_events_are_forgotten_and_an_old_event_still_changes_nothing() {
    let fixture = Fixture::new().await;
    let object = stamped(subscription("sub_1", "cus_1", "active", "price_pro"), "acme");
    let events =
        [created("e1", 1, &object), updated("e2", 2, &object, &json!({})), deleted("e3", 3, &object)];
    for event in &events {
        let _ = fixture.send(event).await;
    }
    let after = (fixture.acme().await, fixture.subscription("sub_1"));
    for (days, forgotten) in [(39_i64, 0), (2, 3), (0, 0)] {
        fixture.clock.advance_seconds(days * DAY);
        assert_eq!(fixture.webhook.forget_old_events().await.unwrap(), forgotten, "{days}");
    }
    for event in &events {
        let _ = fixture.send(event).await;
        assert_eq!((fixture.acme().await, fixture.subscription("sub_1")), after, "{event}");
    }
}

/// A list of prices that was cut off is not taken for the whole: nothing is removed, and the subscription is marked.
#[tokio::test]
async fn a_list_that_was_cut_off_takes_no_plan_away() {
    let fixture = Fixture::new().await;
    let whole = stamped(subscription("sub_1", "cus_1", "active", "price_pro"), "acme");
    let _ = fixture.send(&created("e1", 1, &whole)).await;
    let mut cut = stamped(subscription("sub_1", "cus_1", "active", "price_seat"), "acme");
    cut["items"]["has_more"] = json!(true);
    assert_eq!(fixture.send(&updated("e2", 2, &cut, &json!({}))).await, EventOutcome::NeedsRefresh);
    assert_eq!(fixture.acme().await.0, "pro");
    assert_eq!(fixture.webhook.unclear_subscriptions(10).await.unwrap().len(), 1);
    let _ = fixture.send(&updated("e3", 3, &whole, &json!({}))).await;
    assert!(fixture.webhook.unclear_subscriptions(10).await.unwrap().is_empty());
}
