//! The log contains the reasons that a client must not see, and no secret.

use std::sync::Arc;

use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web;
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use secrecy::ExposeSecret;
use tenancy::clock::Timestamp;
use tenancy::resolve::{ApiKeySource, OwnedRequest, Source, SourceOutcome};
use tenancy::store::MemoryStore;
use tenancy::tenant::{ApiKey, ApiKeyFormat, ApiKeyStore, NewTenant, Slug, Tenant, TenantId, TenantStore};
use tenancy::web::{TenantLayer, TenantMiddleware};
use tenancy::{Error, ErrorKind, Result, TenantContext};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::fixture::{
    self, Fixture, OTHER_SECRET, SECRET, UNTRUSTED, bearer, claims, from_peer, get_from, resolver, signed,
};
use crate::log::Log;

/// Records the log of this thread from now on.
fn start() -> (Log, DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_span_events(FmtSpan::NEW)
        .with_writer(move || writer.clone())
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn the_error_of_a_route_without_the_layer_contains_the_fix() {
    let fixture = Fixture::new().await;
    let (log, _guard) = start();
    let answer = fixture.send(get_from("acme.example.com", "/forgotten").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.code(), "misconfigured");
    let log = log.text();
    assert!(log.contains("ERROR") && log.contains(".layer(TenantLayer::new(resolver))"), "{log}");
}

#[tokio::test]
async fn why_a_token_is_rejected_is_in_the_log_and_the_token_is_not() {
    let fixture = Fixture::new().await;
    let (log, _guard) = start();
    let token = signed(r#"{"alg":"HS256"}"#, &claims(&fixture.acme).to_string(), OTHER_SECRET);
    let request = get_from("example.com", "/orders").header("authorization", &token);
    let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
    assert!(!answer.body.contains("signature"), "{}", answer.body);
    let log = log.text();
    assert!(log.contains("the signature does not match"), "{log}");
    assert!(!log.contains(&token[7..40]), "the token is in the log: {log}");
}

#[tokio::test]
async fn what_an_untrusted_client_sends_leaves_a_warning_without_its_text() {
    let fixture = Fixture::new().await;
    let (log, _guard) = start();
    let request = get_from("acme.example.com", "/login").header("x-tenant-id", "globex\u{a0}ERROR forged");
    let answer = fixture.send(from_peer(request, UNTRUSTED)).await;
    assert_eq!(answer.body, "acme anonymous host");
    let conflict = get_from("globex.example.com", "/orders").header("authorization", bearer(&fixture.acme));
    assert_eq!(fixture.send(conflict.body(Body::empty()).unwrap()).await.code(), "tenant-conflict");
    let log = log.text();
    assert_eq!(log.matches("WARN").count(), 2, "{log}");
    assert!(log.contains("203.0.113.9") && !log.contains("forged"), "I34 I48: {log}");
}

#[tokio::test]
async fn a_route_runs_in_a_span_of_its_tenant() {
    let fixture = Fixture::new().await;
    let app = Router::new()
        .route("/", get(async || tracing::info!("at work")))
        .layer(TenantLayer::allow_unauthenticated(Arc::new(resolver(fixture.store.clone()))));
    let fixture = Fixture { app, ..fixture };
    for (tenant, other) in fixture.both_sides() {
        let (log, _guard) = start();
        let host = format!("{}.example.com", tenant.slug());
        fixture.send(get_from(&host, "/").body(Body::empty()).unwrap()).await;
        let log = log.text();
        assert!(log.contains(&format!("tenant{{tenant.id={} request_id=", tenant.id())), "{log}");
        assert!(!log.contains(&other.id().to_string()), "{log}");
        assert!(!log.contains("tenant.id=unknown"), "a request with a tenant has one span: {log}");
    }
}

/// The audit log of the tenant that a foreign credential was tried on is not written, so that nobody can fill it. The
/// log of the service names both tenants.
#[tokio::test]
async fn a_credential_that_is_used_on_another_tenant_is_logged_with_both() {
    let fixture = Fixture::new().await;
    for (own, other) in fixture.both_sides() {
        let (log, _guard) = start();
        let host = format!("{}.example.com", other.slug());
        let conflict = get_from(&host, "/orders").header("authorization", bearer(own));
        assert_eq!(fixture.send(conflict.body(Body::empty()).unwrap()).await.code(), "tenant-conflict");
        let log = log.text();
        let line = log.lines().find(|line| line.contains("do not agree")).unwrap();
        assert!(line.contains(&own.id().to_string()) && line.contains(&other.id().to_string()), "{line}");
    }
}

#[tokio::test]
async fn a_layer_that_would_reject_every_request_warns_when_it_is_made() {
    let fixture = Fixture::new().await;
    let hosts_only = || {
        let catalog = tenancy::plan::Catalog::from_toml(crate::common::CATALOG).unwrap();
        let directory = tenancy::context::TenantDirectory::new(fixture.store.clone(), catalog);
        let host = tenancy::resolve::HostSource::new(["example.com"]).unwrap();
        Arc::new(tenancy::resolve::Resolver::new(directory).source(host))
    };
    for (resolver, warnings) in [(hosts_only(), 2), (Arc::new(resolver(fixture.store.clone())), 0)] {
        let (log, _guard) = start();
        let _layer = TenantLayer::new(resolver.clone());
        let _middleware = TenantMiddleware::new(resolver.clone());
        let _public = TenantLayer::allow_unauthenticated(resolver);
        assert_eq!(log.text().matches("no source of the resolver verifies").count(), warnings);
    }
}

#[tokio::test]
async fn a_rejection_is_logged_in_the_span_of_an_unknown_tenant() {
    let fixture = Fixture::new().await;
    let other_token = signed(r#"{"alg":"HS256"}"#, &claims(&fixture.acme).to_string(), OTHER_SECRET);
    let refused = [
        (get_from("example.com", "/orders").header("authorization", other_token), "token rejected"),
        (
            get_from("globex.example.com", "/orders").header("authorization", bearer(&fixture.acme)),
            "do not agree",
        ),
        (get_from("acme..example.com", "/orders"), "host rejected"),
        (get_from("initech.example.com", "/login"), "status hidden from an anonymous caller"),
    ];
    for (request, said) in refused {
        let (log, _guard) = start();
        assert!(fixture.send(request.body(Body::empty()).unwrap()).await.status.is_client_error());
        let log = log.text();
        let line = log.lines().find(|line| line.contains(said)).unwrap_or_else(|| panic!("{said}: {log}"));
        assert!(line.contains(" tenant{tenant.id=unknown}: "), "{line}");
        for tenant in [&fixture.acme, &fixture.globex] {
            assert!(!log.contains(&format!("tenant.id={}", tenant.id())), "{log}");
        }
    }
}

#[tokio::test]
async fn a_store_failure_is_logged_in_the_span_of_an_unknown_tenant() {
    let fixture = Fixture::new().await;
    // An empty cache over a store that is down.
    let app = fixture::app(Arc::new(resolver(Arc::new(Down))));
    let fixture = Fixture { app, ..fixture };
    for tenant in [&fixture.acme, &fixture.globex] {
        let (log, _guard) = start();
        let request = get_from("example.com", "/orders").header("authorization", bearer(tenant));
        let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.code(), "store-unavailable");
        let log = log.text();
        assert_eq!(log.matches("ERROR tenant{tenant.id=unknown}: ").count(), 1, "{log}");
    }
}

/// A store that is unreachable.
#[derive(Debug)]
struct Down;

#[async_trait]
impl TenantStore for Down {
    async fn by_id(&self, _: &TenantId) -> Result<Option<Arc<Tenant>>> {
        tokio::task::yield_now().await;
        Err(Error::new(ErrorKind::StoreUnavailable, "down"))
    }

    async fn by_slug(&self, _: &Slug) -> Result<Option<Arc<Tenant>>> {
        Err(Error::new(ErrorKind::StoreUnavailable, "down"))
    }

    async fn list(&self, _: Option<&TenantId>, _: u16) -> Result<Vec<Arc<Tenant>>> {
        Err(Error::new(ErrorKind::StoreUnavailable, "down"))
    }

    async fn insert(&self, _: NewTenant) -> Result<Arc<Tenant>> {
        Err(Error::new(ErrorKind::StoreUnavailable, "down"))
    }

    async fn update(&self, _: &Tenant) -> Result<Arc<Tenant>> {
        Err(Error::new(ErrorKind::StoreUnavailable, "down"))
    }
}

/// I48: a log line contains at most 64 bytes of a client's value, and no value starts a new line.
#[tokio::test]
async fn no_log_line_holds_much_of_a_client_value_or_begins_with_one() {
    let fixture = Fixture::new().await;
    let much = "z".repeat(4_000);
    // Bytes that are valid in a header; `http` itself rejects line breaks.
    let values = [
        much.clone(),
        format!("acme\u{85}ERROR forged {much}"),
        format!("acme\u{2028}ERROR forged {much}"),
        format!("acme%0d%0aERROR forged {much}"),
        format!("acme\tERROR forged {much}"),
        format!("{much}.example.com"),
        format!("acme.{much}.com"),
    ];
    let (log, _guard) = start();
    let mut sent = 0;
    for value in &values {
        let header = axum::http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
        for (name, host) in
            [("x-tenant-id", "acme.example.com"), ("authorization", "example.com"), ("host", "")]
        {
            for peer in [fixture::PROXY, UNTRUSTED] {
                let mut request = axum::http::Request::get("/orders");
                if name != "host" {
                    request = request.header("host", host);
                }
                let answer = fixture.send(from_peer(request.header(name, &header), peer)).await;
                assert!(answer.status.is_client_error(), "{name}: {}", answer.status);
                sent += 1;
            }
        }
        let token = |header: String, claims: String| signed(&header, &claims, SECRET);
        let mut tenant = claims(&fixture.acme);
        tenant["tenant_id"] = value.as_str().into();
        let mut issuer = claims(&fixture.globex);
        issuer["iss"] = format!("{value}\nERROR forged").into();
        for token in [
            token(r#"{"alg":"HS256"}"#.to_owned(), tenant.to_string()),
            token(r#"{"alg":"HS256"}"#.to_owned(), issuer.to_string()),
            token(
                serde_json::json!({"alg": "HS256", "kid": format!("{value}\r\nERROR forged")}).to_string(),
                claims(&fixture.acme).to_string(),
            ),
            token(serde_json::json!({"alg": value}).to_string(), claims(&fixture.acme).to_string()),
        ] {
            let request = get_from("example.com", "/orders").header("authorization", token);
            assert!(fixture.send(request.body(Body::empty()).unwrap()).await.status.is_client_error());
            sent += 1;
        }
        let path = format!("/t/{}/orders", value.replace(|c: char| !c.is_ascii_alphanumeric(), "%0a"));
        assert!(
            fixture
                .send(get_from("example.com", &path).body(Body::empty()).unwrap())
                .await
                .status
                .is_client_error()
        );
        sent += 1;
    }
    let log = log.text();
    assert_eq!(sent, values.len() * 11);
    assert!(log.lines().count() > values.len() * 4, "hardly anything was logged: {log}");
    for line in log.split(['\n', '\r', '\u{85}', '\u{2028}']).filter(|line| !line.is_empty()) {
        assert!(line.starts_with("20") && line.contains("Z "), "a line of its own: {line}");
        assert!(!line.contains(&much[..65]), "{} bytes of what a client said", line.len());
    }
}

/// `I77`: the log contains the reason for rejecting a key, and its id, but never its secret.
#[tokio::test]
async fn why_an_api_key_is_rejected_is_in_the_log_and_the_key_is_not() {
    let store = Arc::new(MemoryStore::new());
    let format = ApiKeyFormat::new("acme", "live").unwrap();
    let now = Timestamp::from_seconds(fixture::NOW);
    let (key, text) = ApiKey::issue(&format, TenantId::random(), "CI", now);
    store.insert_key(&key).await.unwrap();
    store.revoke_key(key.tenant(), key.id(), now).await.unwrap();
    let source = ApiKeySource::new(format, store);
    let (log, _guard) = start();
    let text = text.expose_secret();
    for shown in [text, &text[..text.len() - 1], &text.replace("acme_live", "acme_test")] {
        let request = OwnedRequest::get("/").with_header("Authorization", format!("Bearer {shown}"));
        let signal = match source.read(&request) {
            SourceOutcome::Pending(later) => later.await,
            signal => signal,
        };
        assert!(matches!(signal, SourceOutcome::Invalid(_)), "{shown}");
    }
    let log = log.text();
    assert_eq!(log.matches("API key rejected").count(), 3, "{log}");
    assert!(log.contains("revoked") && log.contains(key.id()), "{log}");
    let secret = text.split('_').nth(3).unwrap();
    assert!(!log.contains(secret) && !log.contains(&secret[..8]), "the log holds a secret");
}

#[tokio::test]
async fn behind_actix_web_it_is_the_same() {
    let fixture = Fixture::new().await;
    let tenants = TenantMiddleware::allow_unauthenticated(Arc::new(resolver(fixture.store.clone())));
    let work = web::get().to(async || {
        tracing::info!("at work");
        "done"
    });
    let app = actix_web::App::new()
        .route("/forgotten", web::get().to(async |ctx: TenantContext| ctx.request_id().to_string()))
        .route("/", work.wrap(tenants));
    let app = init_service(app).await;
    for (tenant, other) in fixture.both_sides() {
        let (log, _guard) = start();
        let host = format!("{}.example.com", tenant.slug());
        let ask = |path| TestRequest::get().uri(path).insert_header(("host", host.as_str())).to_request();
        assert_eq!(call_service(&app, ask("/")).await.status(), 200);
        assert_eq!(call_service(&app, ask("/forgotten")).await.status(), 500);
        let log = log.text();
        assert!(log.contains(&format!("tenant{{tenant.id={} request_id=", tenant.id())), "{log}");
        assert!(log.contains("ERROR") && log.contains(".wrap(TenantMiddleware::new(resolver))"), "{log}");
        assert!(!log.contains(&other.id().to_string()), "{log}");
    }
}
