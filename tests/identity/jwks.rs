//! Remote keys are fetched once for concurrent requests and rarely for unknown keys; a token needs its key.

use std::net::TcpListener as StdListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tenancy::ErrorKind;
use tenancy::clock::ManualClock;
use tenancy::resolve::{JwtSource, RemoteJwks, SourceOutcome};
use tenancy::tenant::TenantId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::tokens::{
    AUDIENCE, ED25519, ISSUER, P256, P256_PUBLIC, SECRETS, builder, claims, clock, judged, jwk, outcome,
    private, read, signed, token,
};

const INVALID: &str = "credential-invalid";
const UNAVAILABLE: &str = "store-unavailable";
const LARGEST: usize = 64 * 1024;

/// The response to each request.
#[derive(Debug, Clone)]
enum Say {
    /// A status, header lines, and a body.
    This(u16, String, String),
    /// Chunks without an end.
    Endless,
    /// No response on an open connection.
    Silence,
    NoHttp,
}

/// An issuer that publishes keys on loopback.
struct Publisher {
    url: String,
    say: Arc<Mutex<Say>>,
    asked: Arc<AtomicUsize>,
    /// A response needs a permit.
    open: Arc<Semaphore>,
}

impl Publisher {
    async fn new(say: Say) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let open = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let publisher = Self { url, say: Arc::new(Mutex::new(say)), asked: Arc::default(), open };
        let (say, asked, open) = (publisher.say.clone(), publisher.asked.clone(), publisher.open.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (say, asked, open) = (say.clone(), asked.clone(), open.clone());
                tokio::spawn(async move { answer(stream, &say, &asked, &open).await });
            }
        });
        publisher
    }

    async fn of(keys: &[Value]) -> Self {
        Self::new(publishes(keys)).await
    }

    fn now_says(&self, say: Say) {
        *self.say.lock().unwrap() = say;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A source with this issuer's keys, the key set, and its clock.
    fn source(&self) -> (JwtSource, RemoteJwks, Arc<ManualClock>) {
        let clock = clock();
        let keys = RemoteJwks::plain_on_loopback(&self.url).unwrap().with_clock(clock.clone());
        let source = builder().with_clock(clock.clone()).remote_jwks(&keys).build().unwrap();
        (source, keys, clock)
    }
}

async fn answer(mut stream: TcpStream, say: &Mutex<Say>, asked: &AtomicUsize, open: &Semaphore) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let _permit = open.acquire().await.unwrap();
    let say = say.lock().unwrap().clone();
    let _ = match say {
        Say::This(status, lines, body) => {
            let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{lines}\r\n{body}");
            stream.write_all(head.as_bytes()).await
        }
        Say::Endless => {
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            while sent.is_ok() {
                sent = stream.write_all(format!("1000\r\n{}\r\n", " ".repeat(0x1000)).as_bytes()).await;
            }
            sent
        }
        Say::Silence => stream.read_u8().await.map(drop),
        Say::NoHttp => stream.write_all(b"\0\x01\x02 no HTTP at all\r\n\r\n").await,
    };
}

fn body(status: u16, body: &str) -> Say {
    Say::This(status, format!("Content-Length: {}\r\n", body.len()), body.to_owned())
}

fn publishes(keys: &[Value]) -> Say {
    body(200, &json!({ "keys": keys }).to_string())
}

fn named(kid: &str, algorithm: Algorithm, pem: &str) -> Value {
    let mut jwk = jwk(algorithm, pem);
    jwk["kid"] = json!(kid);
    jwk
}

fn first() -> Value {
    named("1", Algorithm::ES256, P256)
}

fn second() -> Value {
    named("2", Algorithm::EdDSA, ED25519)
}

fn by_first(tenant: &TenantId) -> String {
    token(Algorithm::ES256, Some("1"), &claims(tenant), &private(P256))
}

fn by_second(tenant: &TenantId) -> String {
    token(Algorithm::EdDSA, Some("2"), &claims(tenant), &private(ED25519))
}

fn ada(tenant: &TenantId) -> String {
    format!("user:ada of {tenant}")
}

/// The outcome of a token after all pending work.
async fn settled(source: &JwtSource, token: &str) -> String {
    let mut signal = read(source, token);
    while let SourceOutcome::Pending(later) = signal {
        signal = later.await;
    }
    outcome(signal)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn the_first_token_fetches_and_the_next_ones_wait_for_nothing() {
    let publisher = Publisher::of(&[first(), second()]).await;
    let (source, ..) = publisher.source();
    let (acme, globex) = (TenantId::random(), TenantId::random());
    assert_eq!(publisher.asked(), 0);
    assert_eq!(judged(&source, &by_first(&acme)), "pending");
    assert_eq!(settled(&source, &by_first(&acme)).await, ada(&acme));
    for tenant in [&acme, &globex] {
        assert_eq!(judged(&source, &by_first(tenant)), ada(tenant));
        assert_eq!(judged(&source, &by_second(tenant)), ada(tenant));
    }
    let swapped = token(Algorithm::ES256, Some("2"), &claims(&acme), &private(P256));
    assert_eq!(judged(&source, &swapped), INVALID);
    assert_eq!(publisher.asked(), 1);
}

#[tokio::test]
async fn a_herd_fetches_once() {
    let publisher = Publisher::of(&[first()]).await;
    publisher.open.forget_permits(Semaphore::MAX_PERMITS);
    let (source, ..) = publisher.source();
    let tenant = TenantId::random();
    let good = by_first(&tenant);
    let waiting: Vec<_> = (0..100)
        .map(|_| match read(&source, &good) {
            SourceOutcome::Pending(later) => later,
            other => panic!("{other:?}"),
        })
        .collect();
    until("the issuer is asked", || publisher.asked() == 1).await;
    publisher.open.add_permits(1000);
    for signal in join_all(waiting).await {
        assert_eq!(outcome(signal), ada(&tenant));
    }
    assert_eq!(publisher.asked(), 1);
}

#[tokio::test]
async fn a_dropped_request_does_not_end_the_fetch_for_the_others() {
    let publisher = Publisher::of(&[first()]).await;
    let (source, ..) = publisher.source();
    let tenant = TenantId::random();
    drop(read(&source, &by_first(&tenant)));
    until("the keys are there", || judged(&source, &by_first(&tenant)) == ada(&tenant)).await;
    assert_eq!(publisher.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_at_once_and_made_up_ones_once_a_minute() {
    let publisher = Publisher::of(&[first()]).await;
    let (source, keys, clock) = publisher.source();
    keys.load().await.unwrap();
    let tenant = TenantId::random();
    assert_eq!(judged(&source, &by_first(&tenant)), ada(&tenant));

    publisher.now_says(publishes(&[second()]));
    assert_eq!(settled(&source, &by_second(&tenant)).await, ada(&tenant), "rotation");
    assert_eq!(judged(&source, &by_second(&tenant)), ada(&tenant));
    assert_eq!(publisher.asked(), 2);

    // A withdrawn key and an unknown key: both tokens are rejected at once, without a request.
    for _ in 0..50 {
        assert_eq!(judged(&source, &by_first(&tenant)), INVALID, "withdrawn");
        let made_up = token(Algorithm::EdDSA, Some("3"), &claims(&tenant), &private(ED25519));
        assert_eq!(judged(&source, &made_up), INVALID);
    }
    clock.advance_seconds(59);
    assert_eq!(judged(&source, &by_first(&tenant)), INVALID);
    assert_eq!(publisher.asked(), 2);
    clock.advance_seconds(1);
    let herd: Vec<_> = (0..50).map(|n| (n, by_unknown(&tenant, n))).collect();
    let outcomes = join_all(herd.iter().map(|(_, token)| settled(&source, token))).await;
    assert!(outcomes.iter().all(|outcome| outcome == INVALID), "{outcomes:?}");
    assert_eq!(publisher.asked(), 3);
    assert_eq!(judged(&source, &by_second(&tenant)), ada(&tenant));
}

fn by_unknown(tenant: &TenantId, n: usize) -> String {
    token(Algorithm::ES256, Some(&format!("unknown-{n}")), &claims(tenant), &private(P256))
}

#[tokio::test]
async fn no_token_has_keys_fetched_that_could_not_be_good() {
    let publisher = Publisher::of(&[first()]).await;
    let (source, ..) = publisher.source();
    let tenant = TenantId::random();
    let changed = |name: &str, value: Value| {
        let mut claims = claims(&tenant);
        claims[name] = value;
        token(Algorithm::ES256, Some("1"), &claims, &private(P256))
    };
    let mut hopeless = vec![
        changed("exp", json!(1)),
        changed("aud", json!("other")),
        changed("iss", json!("https://evil.example")),
        changed("sub", json!("")),
        changed("tenant_id", json!("*")),
        changed("padding", json!("x".repeat(9000))),
        "a.b.c".to_owned(),
    ];
    for hmac in SECRETS {
        // I52: a public key is no shared secret.
        let secret = EncodingKey::from_secret(P256_PUBLIC.as_bytes()).unwrap();
        hopeless.push(token(hmac, Some("1"), &claims(&tenant), &secret));
    }
    for token in &hopeless {
        assert_eq!(judged(&source, token), INVALID);
    }
    assert_eq!(publisher.asked(), 0);
}

#[tokio::test]
async fn no_request_goes_to_a_key_url_in_a_token() {
    let attacker = StdListener::bind("127.0.0.1:0").unwrap();
    attacker.set_nonblocking(true).unwrap();
    let theirs = format!("http://{}/keys", attacker.local_addr().unwrap());
    let publisher = Publisher::of(&[first()]).await;
    let (source, ..) = publisher.source();
    let tenant = TenantId::random();
    let header = json!({
        "alg": "EdDSA", "kid": "2", "jku": theirs, "x5u": theirs,
        "jwk": jwk(Algorithm::EdDSA, ED25519), "x5c": ["AAAA"],
    });
    let forged = signed(Algorithm::EdDSA, &header, &claims(&tenant), &private(ED25519));
    assert_eq!(settled(&source, &forged).await, INVALID, "I66");
    // The issuer's own key together with such a header: the header is not read.
    let header = json!({ "alg": "ES256", "kid": "1", "jku": theirs, "x5u": theirs });
    let good = signed(Algorithm::ES256, &header, &claims(&tenant), &private(P256));
    assert_eq!(settled(&source, &good).await, ada(&tenant), "I66");
    assert_eq!(attacker.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "I66");
    assert!(publisher.asked() > 0);
}

#[tokio::test]
async fn old_keys_serve_while_new_ones_are_fetched() {
    let publisher = Publisher::of(&[first()]).await;
    let (source, keys, clock) = publisher.source();
    keys.load().await.unwrap();
    let tenant = TenantId::random();
    clock.advance_seconds(299);
    assert_eq!(judged(&source, &by_first(&tenant)), ada(&tenant));
    assert_eq!(publisher.asked(), 1);

    publisher.now_says(publishes(&[second()]));
    clock.advance_seconds(1);
    assert_eq!(judged(&source, &by_first(&tenant)), ada(&tenant), "nobody waits");
    until("the key was exchanged", || judged(&source, &by_second(&tenant)) == ada(&tenant)).await;
    assert_eq!(publisher.asked(), 2);
    assert_eq!(settled(&source, &by_first(&tenant)).await, INVALID, "withdrawn");
}

#[tokio::test]
async fn while_the_issuer_is_down_keys_serve_for_a_time_and_then_no_more() {
    let publisher = Publisher::of(&[first()]).await;
    let (source, keys, clock) = publisher.source();
    keys.load().await.unwrap();
    let (acme, globex) = (TenantId::random(), TenantId::random());
    publisher.now_says(body(500, "down"));
    clock.advance_seconds(300 + 3599);
    for tenant in [&acme, &globex] {
        assert_eq!(judged(&source, &by_first(tenant)), ada(tenant), "I73");
    }
    until("the issuer was asked", || publisher.asked() == 2).await;
    // A failed request is not repeated for every token.
    for _ in 0..50 {
        assert_eq!(judged(&source, &by_first(&acme)), ada(&acme));
    }
    clock.advance_seconds(1);
    for tenant in [&acme, &globex] {
        assert_eq!(settled(&source, &by_first(tenant)).await, UNAVAILABLE, "I73");
    }
    assert_eq!(publisher.asked(), 2);
    clock.advance_seconds(5);
    assert_eq!(settled(&source, &by_first(&acme)).await, UNAVAILABLE, "I73");
    assert_eq!(publisher.asked(), 3);
    // A malformed token is rejected as before.
    assert_eq!(settled(&source, "a.b.c").await, INVALID);

    publisher.now_says(publishes(&[first()]));
    clock.advance_seconds(5);
    assert_eq!(settled(&source, &by_first(&acme)).await, ada(&acme));
    assert_eq!(judged(&source, &by_first(&globex)), ada(&globex));
    assert_eq!(publisher.asked(), 4);
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_key_alive() {
    let publisher = Publisher::of(&[first()]).await;
    let (source, keys, clock) = publisher.source();
    keys.load().await.unwrap();
    let tenant = TenantId::random();
    publisher.now_says(body(500, ""));
    clock.advance_seconds(-1);
    assert_eq!(settled(&source, &by_first(&tenant)).await, UNAVAILABLE);
    assert_eq!(publisher.asked(), 2);
}

#[tokio::test]
async fn without_keys_a_program_does_not_start_and_no_token_is_let_in() {
    let other = Publisher::of(&[first()]).await;
    let sized = |size: usize| {
        let keys = json!({ "keys": [first()] }).to_string();
        format!("{keys}{}", " ".repeat(size - keys.len()))
    };
    let elsewhere = |status| {
        Say::This(status, format!("Location: {}\r\nContent-Length: 0\r\n", other.url), String::new())
    };
    let bad = [
        ("down", body(500, &json!({ "keys": [first()] }).to_string())),
        ("not there", body(404, &json!({ "keys": [first()] }).to_string())),
        ("created", body(201, &json!({ "keys": [first()] }).to_string())),
        ("empty", body(200, "")),
        ("garbage", body(200, "<html>")),
        ("a key alone", body(200, &first().to_string())),
        ("no key", publishes(&[])),
        ("no public key", publishes(&[json!({"kty": "oct", "k": "A".repeat(43), "alg": "HS256"})])),
        ("too large", body(200, &sized(LARGEST + 1))),
        ("endless", Say::Endless),
        ("cut off", Say::This(200, "Content-Length: 100000\r\n".to_owned(), sized(1000))),
        ("silent", Say::Silence),
        ("no HTTP", Say::NoHttp),
        ("moved", elsewhere(301)),
        ("found", elsewhere(302)),
        ("kept", elsewhere(307)),
        ("moved for good", elsewhere(308)),
    ];
    let tenant = TenantId::random();
    for (row, say) in bad {
        let publisher = Publisher::new(say).await;
        let quick = RemoteJwks::plain_on_loopback(&publisher.url).unwrap();
        let timeout = if row == "silent" { Duration::from_millis(50) } else { Duration::from_secs(30) };
        let quick = quick.timeout(timeout).with_clock(clock());
        let error = quick.load().await.expect_err(row);
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "I73 {row}");
        assert!(error.to_string().contains(&publisher.url), "I73 {row}: {error}");
        let large = error.to_string().contains("64 KiB");
        assert_eq!(large, ["too large", "endless"].contains(&row), "{row}: {error}");

        let source = builder().remote_jwks(&quick).build().unwrap();
        let outcome = settled(&source, &by_first(&tenant)).await;
        // An issuer that publishes no key has withdrawn all keys.
        let expected = if ["no key", "no public key"].contains(&row) { INVALID } else { UNAVAILABLE };
        assert_eq!(outcome, expected, "I73 {row}");
    }
    assert_eq!(other.asked(), 0, "a redirect is not followed");

    let most = Publisher::new(body(200, &sized(LARGEST))).await;
    most.source().1.load().await.expect("64 KiB are not too much");
}

#[tokio::test]
async fn an_unreachable_issuer_is_unavailable() {
    let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let keys = RemoteJwks::plain_on_loopback(&format!("http://{port}/keys")).unwrap();
    assert_eq!(keys.load().await.unwrap_err().kind(), ErrorKind::StoreUnavailable, "I73");
}

#[tokio::test]
async fn a_failed_fetch_leaves_the_keys_that_were_there() {
    let publisher = Publisher::of(&[first()]).await;
    let (source, keys, _) = publisher.source();
    keys.load().await.unwrap();
    let tenant = TenantId::random();
    for say in [body(500, ""), body(200, "{"), Say::NoHttp] {
        publisher.now_says(say);
        keys.load().await.unwrap_err();
        assert_eq!(judged(&source, &by_first(&tenant)), ada(&tenant));
    }
    // An empty key set withdraws all keys.
    publisher.now_says(publishes(&[]));
    keys.load().await.unwrap_err();
    assert_eq!(settled(&source, &by_first(&tenant)).await, INVALID);
}

#[test]
fn a_key_url_that_is_not_secure_is_rejected() {
    for url in [
        "",
        "keys.json",
        "http://login.example.com/keys",
        "ftp://login.example.com/keys",
        "file:///etc/keys",
        "https://",
        "https://user@login.example.com/keys",
        "https://user:word@login.example.com/keys",
        "https://login.example.com/keys#part",
        "http://127.0.0.1/keys",
    ] {
        assert_eq!(RemoteJwks::new(url).expect_err(url).kind(), ErrorKind::Misconfigured, "{url}");
    }
    for url in [
        "http://login.example.com/keys",
        "http://localhost/keys",
        "http://127.0.0.1.example.com/keys",
        "http://127.0.0.1@login.example.com/keys",
        "http://10.0.0.1/keys",
        "https://127.0.0.1/keys",
    ] {
        assert_eq!(
            RemoteJwks::plain_on_loopback(url).expect_err(url).kind(),
            ErrorKind::Misconfigured,
            "{url}"
        );
    }
    let keys = RemoteJwks::new("https://login.example.com/keys").unwrap();
    let twice = JwtSource::builder().issuer(ISSUER).audience(AUDIENCE).remote_jwks(&keys).remote_jwks(&keys);
    assert_eq!(twice.build().unwrap_err().kind(), ErrorKind::Misconfigured);
    let _ = RemoteJwks::plain_on_loopback("http://[::1]:8080/keys").unwrap();
}

#[test]
fn without_a_runtime_a_token_is_rejected_and_nothing_panics() {
    let keys = RemoteJwks::plain_on_loopback("http://127.0.0.1:1/keys").unwrap();
    let source = builder().remote_jwks(&keys).build().unwrap();
    assert_eq!(judged(&source, &by_first(&TenantId::random())), UNAVAILABLE);
}
