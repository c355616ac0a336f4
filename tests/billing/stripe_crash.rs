//! The program dies after any request to Stripe, or the database is an old one: nothing is lost, nothing is bought twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use tenancy::Result;
use tenancy::billing::stripe::{
    ApiRequest, Cancellation, Checkout, Mode, SigningSecrets, StripeApi, StripeBilling, StripeClient,
    StripeWebhook,
};
use tenancy::billing::{BillingStore, Subscription};
use tenancy::plan::Catalog;
use tenancy::scope::Dialect;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore};
use tenancy::testing::{FakeStripe, FakeStripeOptions, Fault};
use tokio::sync::Notify;

use crate::common::{CATALOG, TestBackend};

const ORIGIN: &str = "https://app.example.com";

/// A client that stops for ever after it has sent a number of requests: Stripe has done the last one, and the program
/// does not learn it.
#[derive(Debug)]
struct DyingClient {
    client: StripeClient,
    left: AtomicUsize,
    dead: Notify,
}

#[async_trait]
impl StripeApi for DyingClient {
    async fn send(&self, request: &ApiRequest) -> Result<Value> {
        let sent = self.client.send(request).await;
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.dead.notify_one();
            std::future::pending::<()>().await;
        }
        sent
    }
}

struct Shop<DB: TestBackend> {
    pool: sqlx::Pool<DB>,
    stripe: FakeStripe,
    store: Arc<SqlStore<DB>>,
    webhook: StripeWebhook,
    client: StripeClient,
}

impl<DB: TestBackend> Shop<DB> {
    async fn new(pool: sqlx::Pool<DB>) -> Self {
        let stripe = FakeStripe::start(FakeStripeOptions::new()).await.unwrap();
        let client = StripeClient::with_url("sk_test_shop", stripe.url()).unwrap();
        for plan in ["pro", "enterprise"] {
            let product =
                ApiRequest::post("/v1/products", json!({ "name": plan }), format!("product-{plan}"));
            let product = client.send(&product).await.unwrap();
            let price = json!({
                "product": product["id"], "currency": "eur", "unit_amount": 1000,
                "recurring": { "interval": "month" }, "lookup_key": format!("price_by_key_{plan}"),
                "metadata": { "tenancy_plan": plan },
            });
            client.send(&ApiRequest::post("/v1/prices", price, format!("price-{plan}"))).await.unwrap();
        }
        let store = Arc::new(SqlStore::new(pool.clone()));
        store.migrate().await.unwrap();
        for name in ["acme", "globex"] {
            let tenant = NewTenant::new(Slug::parse(name).unwrap(), name, "free")
                .id(id(name))
                .status(TenantStatus::Active);
            store.insert(tenant).await.unwrap();
        }
        let webhook = webhook(&store);
        Self { pool, stripe, store, webhook, client }
    }

    /// Billing that sends every request.
    fn billing(&self) -> StripeBilling {
        StripeBilling::new(self.webhook.clone(), Arc::new(self.client.clone()), [ORIGIN]).unwrap()
    }

    /// Runs `action` until `left` requests were sent. `false` if it needs no more than that.
    async fn dies_after<F: AsyncFnOnce(StripeBilling)>(&self, left: usize, action: F) -> bool {
        let dying =
            Arc::new(DyingClient { client: self.client.clone(), left: left.into(), dead: Notify::new() });
        let billing = StripeBilling::new(self.webhook.clone(), dying.clone(), [ORIGIN]).unwrap();
        tokio::select! {
            () = action(billing) => false,
            () = dying.dead.notified() => true,
        }
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let list = self.client.send(&ApiRequest::get(path, json!({ "limit": 100 }))).await.unwrap();
        list["data"].as_array().unwrap().clone()
    }

    /// Pays a checkout on its page.
    async fn pay(&self, url: &str) {
        let answer = post_form(url, "action=card").await;
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    }

    async fn plan(&self, name: &str) -> (String, TenantStatus) {
        let tenant = self.store.by_id(&id(name)).await.unwrap().unwrap();
        (tenant.plan().to_owned(), tenant.status())
    }

    async fn subscriptions(&self, name: &str) -> Vec<Subscription> {
        self.store.begin().await.unwrap().subscriptions(&id(name)).await.unwrap()
    }
}

fn webhook<DB: TestBackend>(store: &Arc<SqlStore<DB>>) -> StripeWebhook {
    let catalog = Catalog::from_toml(CATALOG).unwrap();
    let secrets = SigningSecrets::new(["whsec_shop"]).unwrap();
    StripeWebhook::new(secrets, Mode::Test, store.clone(), catalog, store.clone())
}

fn id(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn pro() -> Checkout {
    Checkout::new("price_by_key_pro", format!("{ORIGIN}/done"), ORIGIN)
}

/// Posts a form, and returns the response as text.
async fn post_form(url: &str, form: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn a_checkout_that_dies_after_any_request_is_created_again<DB: TestBackend>() {
    for left in 1.. {
        let (pool, _cleanup) = DB::fresh(4).await;
        let shop = Shop::new(pool).await;
        let died = shop
            .dies_after(left, async |billing| {
                let _ = billing.checkout(&id("acme"), &pro()).await.unwrap();
            })
            .await;
        let session = shop.billing().checkout(&id("acme"), &pro()).await.unwrap();
        assert_eq!(shop.list("/v1/customers").await.len(), 1, "after {left} requests: one customer");
        shop.pay(&session.url).await;
        let tenant = shop.billing().sync_now(&id("acme")).await.unwrap();
        assert_eq!(tenant.plan(), "pro", "after {left} requests");
        assert_eq!(shop.subscriptions("acme").await.len(), 1);
        assert_eq!(shop.plan("globex").await, ("free".to_owned(), TenantStatus::Active));
        // A session of the first try may be open at Stripe. If it is paid too, that is visible.
        let found = shop.billing().reconcile().await.unwrap();
        assert!(found.unknown.is_empty() && found.missing.is_empty(), "{found:?}");
        if !died {
            assert!(left > 3, "only {left} requests");
            return;
        }
    }
}

async fn a_change_that_dies_after_its_request_is_read_later<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(4).await;
    let shop = Shop::new(pool).await;
    let session = shop.billing().checkout(&id("acme"), &pro()).await.unwrap();
    shop.pay(&session.url).await;
    let _ = shop.billing().sync_now(&id("acme")).await.unwrap();
    let died = shop
        .dies_after(1, async |billing| {
            let _ = billing.cancel(&id("acme"), Cancellation::Now).await.unwrap();
        })
        .await;
    assert!(died);
    assert_eq!(shop.plan("acme").await.0, "pro", "Stripe has ended it, and the database does not know yet");
    let found = shop.billing().reconcile().await.unwrap();
    assert_eq!(shop.plan("acme").await, ("free".to_owned(), TenantStatus::Active));
    assert_eq!(found.changed.len(), 1);
    assert_eq!(shop.plan("globex").await, ("free".to_owned(), TenantStatus::Active));
}

async fn a_lost_reply_does_not_repeat_the_effect<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(4).await;
    let shop = Shop::new(pool).await;
    for path in ["/v1/customers", "/v1/checkout/sessions"] {
        shop.stripe.fail_next(path, Fault::AfterEffect, 1);
    }
    let session = shop.billing().checkout(&id("acme"), &pro()).await.unwrap();
    assert_eq!(shop.list("/v1/customers").await.len(), 1);
    assert_eq!(shop.list("/v1/checkout/sessions").await.len(), 1);
    shop.pay(&session.url).await;
    // Stripe is down for all attempts of a request: the error says so, and nothing changed.
    shop.stripe.fail_next("/v1/subscriptions", Fault::BeforeEffect, 3);
    let error = shop.billing().sync_now(&id("acme")).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(shop.plan("acme").await.0, "free");
    assert_eq!(shop.billing().sync_now(&id("acme")).await.unwrap().plan(), "pro");
}

/// Copies a database that nobody uses, as a backup does, and returns the URL of the copy.
async fn back_up<DB: TestBackend>(url: &str) -> String {
    let (place, options) = url.split_once('?').map_or((url, String::new()), |(a, b)| (a, format!("?{b}")));
    let copy = format!("{place}_backup{options}");
    if DB::DIALECT == Dialect::Postgres {
        let name = |url: &str| url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
        let server = sqlx::PgPool::connect(&std::env::var("TEST_POSTGRES_URL").unwrap()).await.unwrap();
        let create = format!("CREATE DATABASE \"{}\" TEMPLATE \"{}\"", name(&copy), name(url));
        sqlx::Postgres::raw(&server, &create).await.unwrap();
    } else {
        let path = |url: &str| url.strip_prefix("sqlite:").unwrap().to_owned();
        std::fs::copy(path(url), path(&copy)).unwrap();
    }
    copy
}

async fn open<DB: TestBackend>(url: &str) -> sqlx::Pool<DB> {
    let url = if DB::DIALECT == Dialect::Postgres { url.to_owned() } else { format!("{url}?mode=rwc") };
    sqlx::pool::PoolOptions::<DB>::new().max_connections(4).connect(&url).await.unwrap()
}

async fn a_restored_backup_is_reconciled<DB: TestBackend>() {
    let (url, _cleanup) = DB::fresh_url().await;
    let mut shop = Shop::<DB>::new(open(&url).await).await;
    let session = shop.billing().checkout(&id("acme"), &pro()).await.unwrap();
    shop.pay(&session.url).await;
    shop.billing().reconcile().await.unwrap();
    assert_eq!(shop.plan("acme").await.0, "pro");
    shop.pool.close().await;
    let backup = back_up::<DB>(&url).await;

    // After the backup acme changes its plan and globex buys one. Stripe's events were delivered.
    let use_database = |shop: &mut Shop<DB>, pool: sqlx::Pool<DB>| {
        shop.pool = pool.clone();
        shop.store = Arc::new(SqlStore::new(pool));
        shop.webhook = webhook(&shop.store);
    };
    use_database(&mut shop, open(&url).await);
    let old = shop.subscriptions("acme").await.remove(0);
    let session = shop.billing().checkout(&id("globex"), &pro()).await.unwrap();
    shop.pay(&session.url).await;
    let _ = shop.billing().cancel(&id("acme"), Cancellation::Now).await.unwrap();
    let enterprise = Checkout::new("price_by_key_enterprise", ORIGIN, ORIGIN).quantity(3);
    let session = shop.billing().checkout(&id("acme"), &enterprise).await.unwrap();
    shop.pay(&session.url).await;
    shop.billing().reconcile().await.unwrap();
    let present = [shop.plan("acme").await, shop.plan("globex").await];
    let plans = [("enterprise".to_owned(), TenantStatus::Active), ("pro".to_owned(), TenantStatus::Active)];
    assert_eq!(present, plans);
    let seats = |all: &[Subscription]| {
        let mut all: Vec<_> =
            all.iter().map(|one| (one.id().to_owned(), one.status().clone(), one.seats())).collect();
        all.sort();
        all
    };
    let (acme, globex) = (shop.subscriptions("acme").await, shop.subscriptions("globex").await);
    assert_eq!(acme.len(), 2);
    shop.pool.close().await;

    // The backup is restored. Stripe sends nothing again.
    use_database(&mut shop, open(&backup).await);
    assert_eq!(shop.plan("acme").await.0, "pro");
    assert_eq!(shop.plan("globex").await.0, "free");
    assert_eq!(shop.subscriptions("acme").await[0].id(), old.id());
    let found = shop.billing().reconcile().await.unwrap();
    assert!(found.missed_events > 4 && found.unknown.is_empty() && found.missing.is_empty(), "{found:?}");
    assert_eq!([shop.plan("acme").await, shop.plan("globex").await], present);
    assert_eq!(seats(&shop.subscriptions("acme").await), seats(&acme));
    assert_eq!(seats(&shop.subscriptions("globex").await), seats(&globex));
    let again = shop.billing().reconcile().await.unwrap();
    assert_eq!((again.missed_events, again.changed.len(), again.quarantined), (0, 0, 0));
    shop.pool.close().await;
}

on_every_database!(
    a_checkout_that_dies_after_any_request_is_created_again,
    a_change_that_dies_after_its_request_is_read_later,
    a_lost_reply_does_not_repeat_the_effect,
    a_restored_backup_is_reconciled,
);
