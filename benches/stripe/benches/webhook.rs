//! Compares a Stripe event, verified and translated, with the bare computation of its signature, the bare parsing of its
//! JSON, and async-stripe's verification and parsing.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use stripe_webhook::Webhook;
use tenancy::billing::Provider as _;
use tenancy::billing::stripe::{
    ApiRequest, Mode, SigningSecrets, StripeApi as _, StripeClient, StripeEvents, sign,
};
use tenancy::clock::{Clock as _, SystemClock};
use tenancy::testing::{FakeStripe, FakeStripeOptions};

const SECRET: &str = "whsec_one";

/// A change of a subscription, complete as Stripe sends it.
async fn body() -> String {
    let fake = FakeStripe::start(FakeStripeOptions::new()).await.unwrap();
    let client = StripeClient::with_url("sk_test_bench", fake.url()).unwrap();
    let post = async |path: &str, parameters: Value| {
        client.send(&ApiRequest::post(path, parameters, format!("bench{path}"))).await.unwrap()
    };
    let product = post("/v1/products", json!({ "name": "Pro" })).await;
    let price = json!({
        "product": product["id"], "currency": "eur", "unit_amount": 2_900, "recurring": { "interval": "month" },
    });
    let price = post("/v1/prices", price).await;
    let customer = json!({ "payment_method": "pm_card_visa",
        "invoice_settings": { "default_payment_method": "pm_card_visa" } });
    let customer = post("/v1/customers", customer).await;
    let subscription = json!({
        "customer": customer["id"], "items": [{ "price": price["id"] }],
        "metadata": { "tenant_id": "018f3f5e-3a5a-7c3e-9d0a-000000000001" },
    });
    post("/v1/subscriptions", subscription).await;
    let updated = json!({ "type": "customer.subscription.updated" });
    let events = client.send(&ApiRequest::get("/v1/events", updated)).await.unwrap();
    serde_json::to_string_pretty(&events["data"][0]).unwrap()
}

fn webhook(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let body = runtime.block_on(body());
    println!("{} bytes", body.len());
    let now = SystemClock.now();
    let header = sign(SECRET, body.as_bytes(), now);
    let secrets = SigningSecrets::new([SECRET]).unwrap();
    let events = StripeEvents::new(Mode::Test);
    let signature = |body: &[u8]| {
        let mut code = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        code.update(format!("{}.", now.seconds()).as_bytes());
        code.update(body);
        code.finalize()
    };
    let mut group = c.benchmark_group("stripe_event");
    group.bench_function("hmac", |b| b.iter(|| signature(black_box(body.as_bytes()))));
    group.bench_function("hmac_and_json", |b| {
        b.iter(|| {
            let code = signature(black_box(body.as_bytes()));
            (code, serde_json::from_slice::<Value>(black_box(body.as_bytes())).unwrap())
        });
    });
    group.bench_function("verify_and_translate", |b| {
        b.iter(|| {
            secrets.verify(black_box(body.as_bytes()), &[header.as_bytes()], now).unwrap();
            events.read(black_box(body.as_bytes())).unwrap()
        });
    });
    let theirs = |body: &str| Webhook::construct_event_with_timestamp(body, &header, SECRET, now.seconds());
    if let Err(error) = theirs(&body) {
        println!("async-stripe does not parse the event: {error}");
    }
    group.bench_function("async_stripe", |b| b.iter(|| theirs(black_box(&body)).is_ok()));
    group.finish();
}

criterion_group!(benches, webhook);
criterion_main!(benches);
