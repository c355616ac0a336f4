//! Compares a Stripe event of 4 KB, verified and translated, with the bare computation of its signature and the bare
//! parsing of its JSON.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tenancy::billing::Provider as _;
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeEvents, sign};
use tenancy::clock::Timestamp;

const SECRET: &str = "whsec_one";
const NOW: i64 = 1_790_000_000;

/// A change of a subscription, with as many items as make 4 KB.
fn body() -> Vec<u8> {
    let price = |n: usize| {
        json!({
            "id": format!("price_{n:024}"), "object": "price", "active": true, "billing_scheme": "per_unit", "created": NOW,
            "currency": "eur", "custom_unit_amount": null, "livemode": false, "lookup_key": null, "metadata": {},
            "nickname": null, "product": format!("prod_{n:014}"), "type": "recurring", "unit_amount": 4900,
            "recurring": { "interval": "month", "interval_count": 1, "meter": null, "usage_type": "licensed" },
        })
    };
    let item = |n: usize| {
        json!({
            "id": format!("si_{n:014}"), "object": "subscription_item", "created": NOW, "metadata": {}, "quantity": 1,
            "current_period_end": NOW + 2_592_000, "current_period_start": NOW, "price": price(n),
        })
    };
    let items: Vec<Value> = (0..5).map(item).collect();
    let event = json!({
        "id": "evt_1", "object": "event", "api_version": "2026-10-28.endive", "created": NOW, "livemode": true,
        "type": "customer.subscription.updated", "pending_webhooks": 1, "request": { "id": null, "idempotency_key": null },
        "data": {
            "object": {
                "id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active", "created": NOW,
                "cancel_at": null, "cancel_at_period_end": false, "currency": "eur", "default_payment_method": "pm_1",
                "metadata": { "tenant_id": "018f3f5e-3a5a-7c3e-9d0a-000000000001" }, "trial_end": null,
                "items": { "object": "list", "has_more": false, "data": items, "url": "/v1/subscription_items" },
            },
            "previous_attributes": { "status": "past_due" },
        },
    });
    serde_json::to_vec_pretty(&event).unwrap()
}

fn webhook(c: &mut Criterion) {
    let body = body();
    assert!((3_600..4_600).contains(&body.len()), "{} bytes", body.len());
    let now = Timestamp::from_seconds(NOW);
    let header = sign(SECRET, &body, now);
    let secrets = SigningSecrets::new([SECRET]).unwrap();
    let events = StripeEvents::new(Mode::Live);
    let signature = |body: &[u8]| {
        let mut code = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        code.update(format!("{NOW}.").as_bytes());
        code.update(body);
        code.finalize()
    };
    let mut group = c.benchmark_group("stripe_event_of_4_kb");
    group.bench_function("hmac", |b| b.iter(|| signature(black_box(&body))));
    group.bench_function("hmac_and_json", |b| {
        b.iter(|| (signature(black_box(&body)), serde_json::from_slice::<Value>(black_box(&body)).unwrap()));
    });
    group.bench_function("verify_and_translate", |b| {
        b.iter(|| {
            secrets.verify(black_box(&body), &[header.as_bytes()], now).unwrap();
            events.read(black_box(&body)).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, webhook);
criterion_main!(benches);
