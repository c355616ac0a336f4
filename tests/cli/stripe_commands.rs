//! `tenancy stripe` lists, replays and discards events that could not be applied, and repairs what was missed.

use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::sync::Arc;

use serde_json::{Value, json};
use tenancy::billing::EventOutcome;
use tenancy::billing::stripe::{
    ApiRequest, Mode, SigningSecrets, StripeApi, StripeClient, StripeWebhook, sign,
};
use tenancy::cli::Program;
use tenancy::clock::{Clock, ManualClock, SystemClock, Timestamp};
use tenancy::placement::Provision;
use tenancy::plan::Catalog;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Slug, TenantStatus, TenantStore};
use tenancy::testing::{FakeStripe, FakeStripeOptions};

use crate::cli::{database, tenancy, write};
use crate::common::{CATALOG, Cleanup, TestBackend};
use crate::on_every_database;

const SECRET: &str = "whsec_cli";
const DAY: i64 = 24 * 60 * 60;

struct World<DB: TestBackend> {
    store: Arc<SqlStore<DB>>,
    url: String,
    dir: tempfile::TempDir,
    _cleanup: Cleanup,
}

impl<DB: TestBackend + Provision> World<DB> {
    async fn new() -> Self {
        let (pool, url, cleanup) = database::<DB>().await;
        let store = Arc::new(SqlStore::new(pool));
        store.migrate().await.unwrap();
        for slug in ["acme", "globex"] {
            store.insert(NewTenant::active(slug, "free").unwrap()).await.unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "plans.toml", CATALOG);
        Self { store, url, dir, _cleanup: cleanup }
    }

    async fn tenant(&self, slug: &str) -> (String, TenantStatus) {
        let tenant = self.store.by_slug(&Slug::parse(slug).unwrap()).await.unwrap().unwrap();
        (tenant.plan().to_owned(), tenant.status())
    }

    /// An endpoint whose clock is three days late, so that an event of yesterday goes to the quarantine.
    async fn quarantine(&self, slug: &str, event: &str) {
        let now = SystemClock.now().seconds();
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(now - 3 * DAY)));
        let webhook = StripeWebhook::new(
            SigningSecrets::new([SECRET]).unwrap(),
            Mode::Live,
            self.store.clone(),
            Catalog::from_toml(CATALOG).unwrap(),
            self.store.clone(),
        )
        .with_clock(clock.clone());
        let tenant = self.store.by_slug(&Slug::parse(slug).unwrap()).await.unwrap().unwrap();
        let body = json!({
            "id": event, "object": "event", "api_version": "2026-10-28.endive", "created": now - DAY,
            "type": "customer.subscription.created", "livemode": true, "pending_webhooks": 1,
            "request": { "id": null },
            "data": { "object": {
                "id": format!("sub_{slug}"), "object": "subscription", "customer": format!("cus_{slug}"),
                "status": "active", "cancel_at": null, "cancel_at_period_end": false, "created": now - DAY,
                "metadata": { "tenant_id": tenant.id() },
                "items": { "object": "list", "has_more": false, "data": [{
                    "id": "si_1", "current_period_end": now + 29 * DAY, "quantity": 1,
                    "price": { "id": "price_pro", "object": "price", "lookup_key": null },
                }] },
            } },
        })
        .to_string();
        let signature = sign(SECRET, body.as_bytes(), clock.now());
        let outcome = webhook.receive(body.as_bytes(), &[signature.as_bytes()]).await.unwrap();
        assert!(matches!(outcome, EventOutcome::Quarantined { .. }), "{outcome:?}");
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        tenancy(&[&["stripe", "quarantine"], args, &["--url", &self.url]].concat(), self.dir.path())
    }

    fn listed(&self) -> Vec<String> {
        let (code, out, err) = self.run(&["list", "--json"]);
        assert_eq!(code, 0, "{err}");
        out.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].as_str().unwrap().to_owned())
            .collect()
    }
}

const REPLAY: [&str; 3] = ["replay", "--catalog", "plans.toml"];

async fn an_event_of_the_quarantine_is_replayed_or_discarded<DB: TestBackend + Provision>() {
    let world = World::<DB>::new().await;
    assert_eq!(world.run(&["list"]), (0, "0 events\n".to_owned(), String::new()));
    world.quarantine("acme", "evt_a").await;
    world.quarantine("globex", "evt_b").await;
    let (code, out, _) = world.run(&["list"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((code, lines.len()), (0, 4), "{out}");
    assert!(lines[1].contains("Z evt_a ") && lines[1].contains("cus_acme"), "{out}");
    assert!(lines[1].ends_with("the event is dated more than a day ahead"), "{out}");
    let (_, out, err) = world.run(&["list", "--json", "--limit", "1"]);
    let event: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&event["event"], &event["type"]), (&json!("evt_a"), &json!("customer.subscription.created")));
    assert_eq!((&event["subscription"], &event["body"]), (&json!("sub_acme"), &Value::Null));
    assert!(err.contains("there can be more events"), "{err}");

    // In the other mode it stays, and nothing changes.
    let (code, out, _) = world.run(&["replay", "evt_a", "--catalog", "plans.toml", "--mode", "test"]);
    assert!(code == 1 && out.starts_with("evt_a: ignored: "), "{out}");
    assert!(out.ends_with("1 replayed: 1 stay in the quarantine, 0 failed\n"), "{out}");
    assert_eq!((world.listed().len(), world.tenant("acme").await.0.as_str()), (2, "free"));

    let (code, out, err) = world.run(&[&REPLAY[..], &["evt_a", "--json"]].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let replayed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&replayed["outcome"], &replayed["slug"]), (&json!("applied"), &json!("acme")));
    assert_eq!(world.tenant("acme").await, ("pro".to_owned(), TenantStatus::Active));
    assert_eq!(world.tenant("globex").await, ("free".to_owned(), TenantStatus::Active));
    assert_eq!(world.listed(), ["evt_b"]);
    let (code, out, _) = world.run(&[&REPLAY[..], &["evt_a"]].concat());
    assert!(code == 2 && out.contains("evt_a: failed: the quarantine has no such event\n"), "{out}");

    // Without a terminal nobody can be asked.
    let (code, out, err) = world.run(&["discard", "evt_b"]);
    assert!(code == 2 && out.is_empty() && err.contains("confirm it by `--yes`"), "{err}");
    assert_eq!(world.listed(), ["evt_b"]);
    let (code, out, _) = world.run(&["discard", "evt_b", "--yes", "--json"]);
    let removed: Value = serde_json::from_str(&out).unwrap();
    let body: Value = serde_json::from_str(removed["body"].as_str().unwrap()).unwrap();
    assert_eq!((code, &body["id"]), (0, &json!("evt_b")));
    assert_eq!((world.listed().len(), world.tenant("globex").await.0.as_str()), (0, "free"));
    let (code, _, err) = world.run(&["discard", "evt_b", "--yes"]);
    assert!(code == 2 && err.contains("evt_b: the quarantine has no such event"), "{err}");
}

async fn all_events_of_the_quarantine_are_replayed<DB: TestBackend + Provision>() {
    let world = World::<DB>::new().await;
    world.quarantine("acme", "evt_a").await;
    world.quarantine("globex", "evt_b").await;
    let policy = ["--all", "--policy", "deactivate-unpaid", "--past-due-grace", "7"];
    let (code, out, err) = world.run(&[&REPLAY[..], &policy].concat());
    let wanted = "evt_a: applied, acme is on pro, active\nevt_b: applied, globex is on pro, active\n\
                  2 replayed: 0 stay in the quarantine, 0 failed\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, wanted, ""));
    assert!(world.listed().is_empty());
    let (code, _, err) = world.run(&["replay", "evt_a"]);
    assert!(code == 2 && err.contains("--catalog"), "{err}");
    let (code, _, err) = world.run(&REPLAY);
    assert!(code == 2 && err.contains("<EVENT>"), "{err}");
}

/// A program of the application passes the settings of its endpoint, and an event is applied as there.
async fn a_program_of_the_application_replays_with_its_own_settings<DB: TestBackend + Provision>() {
    let world = World::<DB>::new().await;
    world.quarantine("acme", "evt_a").await;
    let replay = |program: Program| {
        let catalog = Catalog::from_toml(CATALOG).unwrap();
        let arguments = ["shop", "stripe", "quarantine", "replay", "--all", "--url", &world.url];
        program.catalog(catalog).run_from(arguments)
    };
    // The event lacks the stamp of this installation, so its tenant is not known.
    let installation = |webhook: StripeWebhook| webhook.installation("eu");
    assert_eq!(replay(Program::new().stripe_webhook(installation)), ExitCode::from(1));
    assert_eq!((world.listed().len(), world.tenant("acme").await.0.as_str()), (1, "free"));
    assert_eq!(replay(Program::new()), ExitCode::SUCCESS);
    assert_eq!((world.listed().len(), world.tenant("acme").await.0.as_str()), (0, "pro"));
}

/// Runs `tenancy stripe reconcile` with these variables.
fn reconcile(url: &str, dir: &Path, variables: &[(&str, &str)], more: &[&str]) -> (i32, String, String) {
    let args = ["stripe", "reconcile", "--catalog", "plans.toml", "--url", url];
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_tenancy"))
        .args(args)
        .args(more)
        .env_remove("STRIPE_SECRET_KEY")
        .envs(variables.iter().copied())
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

async fn what_stripe_has_and_the_database_lacks_is_repaired<DB: TestBackend + Provision>() {
    let world = World::<DB>::new().await;
    let fake = FakeStripe::start(FakeStripeOptions::new()).await.unwrap();
    let client = StripeClient::with_url("sk_test_cli", fake.url()).unwrap();
    let post = async |path: &str, parameters: Value| {
        let key = format!("{path}-{parameters}").chars().take(200).collect::<String>();
        client.send(&ApiRequest::post(path, parameters, key)).await.unwrap()
    };
    let product = post("/v1/products", json!({ "name": "pro" })).await;
    let price = json!({
        "product": product["id"], "currency": "eur", "unit_amount": 1000,
        "recurring": { "interval": "month" }, "lookup_key": "price_pro",
    });
    let price = post("/v1/prices", price).await;
    // A subscription of acme, and one of a customer that no tenant is known for. No event was delivered.
    let acme = self::id(&world, "acme").await;
    for metadata in [json!({ "tenant_id": acme }), json!({ "shop": "other" })] {
        let customer = post("/v1/customers", json!({ "name": "a", "metadata": metadata })).await;
        let customer = customer["id"].as_str().unwrap();
        let card = post("/v1/payment_methods/pm_card_visa/attach", json!({ "customer": customer })).await;
        let subscription = json!({
            "customer": customer, "items": [{ "price": price["id"] }], "metadata": metadata,
            "default_payment_method": card["id"],
        });
        post("/v1/subscriptions", subscription).await;
    }
    let (dir, url) = (world.dir.path(), fake.url().to_owned());
    let variables = [("STRIPE_SECRET_KEY", "sk_test_cli"), ("STRIPE_API_URL", url.as_str())];
    let run = |more: &[&str]| reconcile(&world.url, dir, &variables, more);
    let (code, out, err) = run(&["--json"]);
    let found: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    assert_eq!(found["subscriptions"], 2, "{found}");
    assert_eq!(found["changed"], json!([acme]), "{found}");
    assert!(found["missed_events"].as_u64().unwrap() > 0, "{found}");
    // The subscription of no tenant is left for a person.
    assert_eq!(code, 1, "{found}");
    assert_eq!(world.tenant("acme").await, ("pro".to_owned(), TenantStatus::Active));
    assert_eq!(world.tenant("globex").await, ("free".to_owned(), TenantStatus::Active));
    let (code, out, _) = run(&[]);
    assert!(out.ends_with("2 subscriptions: 0 tenants changed\n"), "{code} {out}");
    assert!(out.contains("events of 30 days: 0 were missed, 0 quarantined\n"), "{out}");
    drop(fake);
    let (code, out, err) = run(&[]);
    assert!(code == 2 && out.is_empty() && err.contains("run the command again"), "{err}");
    assert!(!err.contains("sk_test_cli"), "{err}");
}

async fn id<DB: TestBackend + Provision>(world: &World<DB>, slug: &str) -> String {
    let tenant = world.store.by_slug(&Slug::parse(slug).unwrap()).await.unwrap().unwrap();
    tenant.id().to_string()
}

/// The key comes from the environment only, and no message contains it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_wrong_key_is_an_error_without_the_key() {
    let world = World::<sqlx::Sqlite>::new().await;
    let run =
        |variables: &[(&str, &str)], more: &[&str]| reconcile(&world.url, world.dir.path(), variables, more);
    let (code, _, err) = run(&[], &[]);
    assert_eq!(
        (code, err.as_str()),
        (2, "tenancy: set STRIPE_SECRET_KEY to the secret key of your Stripe account\n")
    );
    let (code, out, err) = run(&[("STRIPE_SECRET_KEY", "hunter2")], &[]);
    assert!(code == 2 && err.starts_with("tenancy: STRIPE_SECRET_KEY: "), "{err}");
    assert!(!err.contains("hunter2") && out.is_empty(), "{err}");
    let (code, _, err) = run(&[], &["--secret-key", "sk_test_1"]);
    assert!(code == 2 && err.contains("unexpected argument '--secret-key'"), "{err}");
}

on_every_database!(
    an_event_of_the_quarantine_is_replayed_or_discarded,
    all_events_of_the_quarantine_are_replayed,
    a_program_of_the_application_replays_with_its_own_settings,
    what_stripe_has_and_the_database_lacks_is_repaired,
);
