//! The fake Stripe: Stripe's official SDK drives it, and a webhook with two tenants applies what it delivers.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeEvents, StripeWebhook};
use tenancy::billing::{Fact, Provider};
use tenancy::plan::Catalog;
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore};
use tenancy::testing::{FakeStripe, FakeStripeOptions, Fault, FinalFailure};
use tenancy::web::StripeWebhookService;
use tower::ServiceExt;

const SECRET: &str = "whsec_fake_stripe";
const THIN_SECRET: &str = "whsec_fake_stripe_thin";
const PRELUDE: &str = include_str!("fake_stripe/prelude.mjs");
const OBJECTS: &str = include_str!("fake_stripe/objects.mjs");
const CLOCK: &str = include_str!("fake_stripe/clock.mjs");
const METERS: &str = include_str!("fake_stripe/meters.mjs");
const DELIVERIES: &str = include_str!("fake_stripe/deliveries.mjs");
const FAULTS: &str = include_str!("fake_stripe/faults.mjs");

/// Runs a script with the SDK in node, and returns its result.
async fn drive(script: &str, input: Value) -> Value {
    let program = format!("{PRELUDE}\n{script}\nprocess.stdout.write(JSON.stringify(result));\n");
    tokio::task::spawn_blocking(move || {
        let directory =
            std::env::var("TEST_STRIPE_SDK").expect("run scripts/test; TEST_STRIPE_SDK is not set");
        let mut node = Command::new("node")
            .args(["--input-type=module", "--eval", &program])
            .env("TEST_STRIPE_SDK", directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node starts; install Node.js 20 or later");
        node.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        let output = node.wait_with_output().unwrap();
        assert!(output.status.success(), "the script failed\n{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    })
    .await
    .unwrap()
}

/// Asserts that the crate reads every event, and returns their types.
fn read_all(events: &Value) -> BTreeSet<String> {
    let reader = StripeEvents::new(Mode::Test);
    let mut kinds = BTreeSet::new();
    for event in events.as_array().unwrap() {
        let read = reader.read(event.to_string().as_bytes()).unwrap();
        assert!(!matches!(read.fact, Fact::Unreadable { .. }), "{event}");
        kinds.insert(read.kind);
    }
    kinds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_sdk_reads_complete_objects_and_its_errors() {
    let stripe = FakeStripe::start(FakeStripeOptions::new()).await.unwrap();
    let result = drive(OBJECTS, json!({ "url": stripe.url() })).await;
    assert!(result["shapes"].as_u64().unwrap() >= 25, "{}", result["shapes"]);
    stripe.dispute(result["charge"].as_str().unwrap()).unwrap();
    assert_eq!(stripe.dispute("ch_absent").unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let events = drive(
        "result.events = await all(stripe.events.list({ limit: 100 }));",
        json!({ "url": stripe.url() }),
    )
    .await;
    let kinds = read_all(&events["events"]);
    for kind in [
        "charge.dispute.created",
        "charge.refunded",
        "charge.succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.completed",
        "checkout.session.expired",
        "customer.created",
        "customer.deleted",
        "customer.subscription.created",
        "customer.subscription.deleted",
        "customer.subscription.paused",
        "customer.subscription.resumed",
        "customer.subscription.updated",
        "customer.updated",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_failed",
        "invoice.payment_succeeded",
        "payment_intent.succeeded",
    ] {
        assert!(kinds.contains(kind), "{kind} was not emitted: {kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_clock_ages_a_subscription_to_its_end() {
    for (option, last) in [
        (FinalFailure::Cancel, "canceled"),
        (FinalFailure::Unpaid, "unpaid"),
        (FinalFailure::PastDue, "past_due"),
    ] {
        let stripe = FakeStripe::start(FakeStripeOptions::new().after_final_failure(option)).await.unwrap();
        let result = drive(CLOCK, json!({ "url": stripe.url(), "final": last })).await;
        let kinds = read_all(&result["events"]);
        for kind in [
            "customer.subscription.trial_will_end",
            "invoice.payment_action_required",
            "invoice.voided",
            "payment_intent.payment_failed",
        ] {
            assert!(kinds.contains(kind), "{kind} was not emitted: {kinds:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meters_sum_the_usage_of_each_customer() {
    let stripe = FakeStripe::start(FakeStripeOptions::new()).await.unwrap();
    let result = drive(METERS, json!({ "url": stripe.url() })).await;
    assert!(read_all(&result["events"]).contains("billing.meter.created"));
}

/// What an endpoint received: the body and the signature.
type Received = Arc<Mutex<Vec<(String, String)>>>;

/// Serves an endpoint that answers 503 to its first deliveries and records the others. Returns its URL.
async fn endpoint(failures: usize, webhook: Option<StripeWebhook>) -> (String, Received) {
    let received = Received::default();
    let left = Arc::new(Mutex::new(failures));
    let record = received.clone();
    let handler = async move |headers: HeaderMap, body: Bytes| {
        let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
        {
            let mut left = left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return 503;
            }
        }
        record.lock().unwrap().push((String::from_utf8(body.to_vec()).unwrap(), signature.clone()));
        let Some(webhook) = webhook.clone() else { return 200 };
        let request = axum::http::Request::post("/").header("stripe-signature", signature);
        let request = request.body(axum::body::Body::from(body)).unwrap();
        StripeWebhookService::new(webhook).oneshot(request).await.unwrap().status().as_u16()
    };
    let handler = async move |headers: HeaderMap, body: Bytes| {
        axum::http::StatusCode::from_u16(handler(headers, body).await).unwrap()
    };
    let router = axum::Router::new().route("/webhooks/stripe", axum::routing::post(handler));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/webhooks/stripe", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, received)
}

/// An application with the tenants acme and globex on the plan `free`.
async fn application() -> (Arc<MemoryStore>, StripeWebhook) {
    let store = Arc::new(MemoryStore::new());
    for name in ["acme", "globex"] {
        let tenant = NewTenant::new(Slug::parse(name).unwrap(), name, "free")
            .id(TenantId::parse(name).unwrap())
            .status(TenantStatus::Active);
        let _ = store.insert(tenant).await.unwrap();
    }
    let catalog = Catalog::from_toml(
        "version = 1\nfallback = \"free\"\n[plans.free]\n[plans.basic]\nprices = [\"basic\"]\n[plans.pro]\nprices = [\"pro\"]\n",
    );
    let secrets = SigningSecrets::new([SECRET]).unwrap();
    let webhook =
        StripeWebhook::new(secrets, Mode::Test, store.clone(), Arc::new(catalog.unwrap()), store.clone());
    (store, webhook)
}

async fn states(store: &MemoryStore) -> Vec<(String, TenantStatus)> {
    let mut states = Vec::new();
    for name in ["acme", "globex"] {
        let tenant = store.by_id(&TenantId::parse(name).unwrap()).await.unwrap().unwrap();
        states.push((tenant.plan().to_owned(), tenant.status()));
    }
    states
}

fn expected(acme: (&str, TenantStatus), globex: (&str, TenantStatus)) -> Vec<(String, TenantStatus)> {
    [acme, globex].map(|(plan, status)| (plan.to_owned(), status)).into()
}

async fn two_tenants(options: FakeStripeOptions, failures: usize) {
    use TenantStatus::{Active, PastDue};
    let (store, webhook) = application().await;
    let stripe = FakeStripe::start(options).await.unwrap();
    let (url, received) = endpoint(failures, Some(webhook)).await;
    let (thin_url, thin) = endpoint(failures, None).await;
    stripe.webhook(&url, SECRET);
    stripe.thin_webhook(&thin_url, THIN_SECRET);
    let phase = async |name: &str, before: &Value| {
        let mut input = before.clone();
        input["url"] = stripe.url().into();
        input["phase"] = name.into();
        let result = drive(DELIVERIES, input).await;
        stripe.settle().await.unwrap();
        result
    };
    let bought = phase("buy", &json!({})).await;
    assert_eq!(states(&store).await, expected(("basic", Active), ("basic", Active)));
    let changed = phase("change", &bought).await;
    assert_eq!(changed["states"], json!({ "acme": "active", "globex": "past_due" }));
    assert_eq!(states(&store).await, expected(("pro", Active), ("basic", PastDue)));
    let recovered = phase("recover", &bought).await;
    assert_eq!(recovered["states"], json!({ "acme": "canceled", "globex": "active" }));
    assert_eq!(states(&store).await, expected(("free", Active), ("basic", Active)));
    assert_eq!(store.billing_quarantine().unwrap().len(), 0);
    read_all(&recovered["events"]);

    let deliveries = |received: &Received, secret: &str| -> Vec<Value> {
        let received = received.lock().unwrap();
        let delivery = |(body, signature): &(String, String)| json!({ "body": body, "signature": signature, "secret": secret });
        received.iter().map(delivery).collect()
    };
    let snapshots = deliveries(&received, SECRET);
    let ids: BTreeSet<String> = snapshots
        .iter()
        .map(|one| serde_json::from_str::<Value>(one["body"].as_str().unwrap()).unwrap()["id"].to_string())
        .collect();
    let count = recovered["events"].as_array().unwrap().len();
    assert!(count > 60, "only {count} events");
    assert_eq!(ids.len(), count, "every event arrived");
    let checked = phase("verify", &json!({ "deliveries": snapshots })).await;
    assert_eq!((&checked["verified"], &checked["undelivered"]), (&json!(snapshots.len()), &json!(0)));
    let thin = deliveries(&thin, THIN_SECRET);
    assert!(thin.len() >= count);
    let checked = phase("verify", &json!({ "deliveries": thin, "thin": true })).await;
    assert_eq!(checked["verified"], json!(thin.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_follow_what_is_delivered_in_order() {
    two_tenants(FakeStripeOptions::new(), 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_follow_what_is_delivered_twice_late_and_in_another_order() {
    for seed in [1, 7, 42] {
        let hostile = FakeStripeOptions::new().duplicates(1).reorder(seed).delay(Duration::from_millis(20));
        two_tenants(hostile.attempts(20, Duration::from_millis(5)), 12).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_faults_happen_before_or_after_the_effect() {
    let stripe = FakeStripe::start(FakeStripeOptions::new()).await.unwrap();
    let (url, received) = endpoint(1, None).await;
    stripe.fail_next("/v1/customers", Fault::BeforeEffect, 1);
    stripe.fail_next("/v1/products", Fault::AfterEffect, 1);
    let result = drive(FAULTS, json!({ "url": stripe.url(), "endpoint": url })).await;
    stripe.settle().await.unwrap();
    let received = received.lock().unwrap();
    let [(body, signature)] = &received[..] else { panic!("{received:?}") };
    let event: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&event["type"], &event["data"]["object"]["name"]),
        (&json!("customer.created"), &json!("globex"))
    );
    let secrets = SigningSecrets::new([result["secret"].as_str().unwrap()]).unwrap();
    let now = tenancy::clock::Clock::now(&tenancy::clock::SystemClock);
    secrets.verify(body.as_bytes(), &[signature.as_bytes()], now).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_always_fails_is_given_up() {
    let options = FakeStripeOptions::new().attempts(3, Duration::from_millis(1));
    let stripe = FakeStripe::start(options).await.unwrap();
    let (url, received) = endpoint(usize::MAX, None).await;
    stripe.webhook(&url, SECRET);
    let script = "await stripe.customers.create({});";
    drive(script, json!({ "url": stripe.url() })).await;
    stripe.settle().await.unwrap();
    assert!(received.lock().unwrap().is_empty());
    let script = "result.left = (await stripe.events.list({ delivery_success: false })).data.map((event) => event.type);";
    let left = drive(script, json!({ "url": stripe.url() })).await;
    assert_eq!(left["left"], json!(["customer.created"]));
}
