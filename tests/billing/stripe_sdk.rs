//! Stripe's official SDKs and this crate accept each other's signatures and reject the same forgeries.

#[path = "../fixture/stripe_sdk/ask.rs"]
mod ask;

use ask::{ask_the_python_sdk, ask_the_sdk};
use serde_json::{Value, json};
use tenancy::billing::stripe::{SigningSecrets, sign};
use tenancy::clock::{Clock, SystemClock};

const SECRET: &str = "whsec_between_two";
fn bodies() -> Vec<String> {
    let mut bodies: Vec<String> = [
        "{}",
        "{\"id\":\"evt_1\",\"object\":\"event\"}",
        "{\r\n  \"object\": \"event\"\r\n}\r\n",
        "{\"name\":\"Zoë, 株式会社, 🦀\"}",
        "{\"text\":\"quote \\\" backslash \\\\ slash \\/ tab \\t\"}",
        " { \"spaces\" : [ 1 , 2 ] } ",
        "{\"number\":1.0e3,\"big\":12345678901234567890}",
    ]
    .map(str::to_owned)
    .into();
    bodies.extend((0..25).map(|n| json!({ "n": n, "fill": "ab.,=".repeat(n * n * 20) }).to_string()));
    bodies
}

#[test]
fn node_and_we_accept_what_the_other_signed() {
    each_accepts_what_the_other_signed(ask_the_sdk);
}

#[test]
fn python_and_we_accept_what_the_other_signed() {
    each_accepts_what_the_other_signed(ask_the_python_sdk);
}

fn each_accepts_what_the_other_signed(ask: fn(&Value) -> Value) {
    let now = SystemClock.now();
    let bodies = bodies();
    assert!(bodies.len() >= 32);
    let to_sign: Vec<Value> =
        bodies.iter().map(|body| json!({ "body": body, "time": now.seconds() })).collect();
    let good: Vec<Value> = bodies
        .iter()
        .map(|body| json!({ "body": body, "header": sign(SECRET, body.as_bytes(), now) }))
        .collect();
    let tampered: Vec<Value> = bodies
        .iter()
        .map(|body| json!({ "body": format!("{body} "), "header": sign(SECRET, body.as_bytes(), now) }))
        .collect();
    let to_verify = [good, tampered].concat();
    let answer = ask(&json!({
        "secret": SECRET,
        "sign": to_sign,
        "verify": to_verify,
    }));

    let accepted: Vec<bool> =
        answer["accepted"].as_array().unwrap().iter().map(|yes| yes.as_bool().unwrap()).collect();
    assert_eq!(accepted.len(), 2 * bodies.len());
    assert!(accepted[..bodies.len()].iter().all(|yes| *yes), "the SDK refuses ours: {accepted:?}");
    assert!(accepted[bodies.len()..].iter().all(|yes| !*yes), "the SDK accepts a changed body: {accepted:?}");

    let secrets = SigningSecrets::new([SECRET]).unwrap();
    let signed = answer["signed"].as_array().unwrap();
    assert_eq!(signed.len(), bodies.len());
    for (body, header) in bodies.iter().zip(signed) {
        let header = header.as_str().unwrap();
        assert_eq!(header, sign(SECRET, body.as_bytes(), now), "the two sign alike, to the byte");
        secrets.verify(body.as_bytes(), &[header.as_bytes()], now).unwrap();
        let changed = format!("{body} ");
        assert!(secrets.verify(changed.as_bytes(), &[header.as_bytes()], now).is_err());
    }
}
