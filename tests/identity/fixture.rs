//! Fixture: two tenants, acme and globex, and one app with every kind of source.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::{any, get};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tenancy::TenantContext;
use tenancy::clock::{ManualClock, Timestamp};
use tenancy::context::TenantDirectory;
use tenancy::plan::Catalog;
use tenancy::resolve::{HeaderSource, HostSource, JwtSource, PathSource, Resolver, TrustedPeers};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantStatus, TenantStore};
use tenancy::web::{PeerAddr, TenantLayer};
use tower::ServiceExt;

pub(crate) const NOW: i64 = 1_900_000_000;
pub(crate) const ISSUER: &str = "https://login.example.com";
pub(crate) const AUDIENCE: &str = "https://api.example.com";
pub(crate) const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
pub(crate) const OTHER_SECRET: &[u8] = b"another secret, thirty-two bytes too";

// A key pair that only these tests use.
pub(crate) const ED25519_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MC4CAQAwBQYDK2VwBCIEIMzcpAZlSPcXxTSYzrxReNMEeTduJGa6Zg6nEmz2yU2w\n\
-----END PRIVATE KEY-----";
pub(crate) const ED25519_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MCowBQYDK2VwAyEA4tlB/L2PepXwo/RgADLYUfXTMj9rRiHXKnyceo6l7mY=\n\
-----END PUBLIC KEY-----";

pub(crate) const PROXY: &str = "10.0.0.7:4000";
pub(crate) const UNTRUSTED: &str = "203.0.113.9:4000";

pub(crate) struct Fixture {
    pub(crate) acme: Arc<Tenant>,
    pub(crate) globex: Arc<Tenant>,
    pub(crate) suspended: Arc<Tenant>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) app: Router,
}

pub(crate) fn resolver(store: Arc<dyn TenantStore>) -> Resolver {
    resolver_behind(store, "10.0.0.0/8")
}

/// The same resolver, behind other proxies.
pub(crate) fn resolver_behind(store: Arc<dyn TenantStore>, proxies: &str) -> Resolver {
    let catalog =
        "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";
    Resolver::new(TenantDirectory::new(store, Arc::new(Catalog::from_toml(catalog).unwrap())))
        .source(HostSource::new(["example.com", "localhost"]).unwrap().require_sni_match())
        .source(HeaderSource::new("x-tenant-id", TrustedPeers::new([proxies]).unwrap()).unwrap())
        .source(PathSource::new("/t").unwrap())
        .source(tokens())
}

pub(crate) fn tokens() -> JwtSource {
    JwtSource::builder()
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .hs256(SECRET)
        .eddsa_pem(ED25519_PUBLIC)
        .kid("ed-1")
        .with_clock(Arc::new(ManualClock::new(Timestamp::from_seconds(NOW))))
        .build()
        .unwrap()
}

pub(crate) fn app(resolver: Arc<Resolver>) -> Router {
    let proven = Router::new()
        .route("/orders", any(who))
        .route("/t/{tenant}/orders", any(who))
        .route_layer(TenantLayer::new(resolver.clone()));
    let public = Router::new()
        .route("/login", any(who))
        .route("/t/{tenant}/login", any(who))
        .route("/logo", get(async || ([("cache-control", "public, max-age=60")], "logo")))
        .route_layer(TenantLayer::allow_unauthenticated(resolver));
    Router::new()
        .merge(proven)
        .merge(public)
        .route("/health", get(async || "up"))
        .route("/forgotten", get(who))
}

async fn who(ctx: TenantContext) -> String {
    said_of(&ctx)
}

/// The text that a route returns for its context.
pub(crate) fn said_of(ctx: &TenantContext) -> String {
    let by = serde_json::to_value(ctx.resolved_by()).unwrap();
    format!("{} {} {}", ctx.tenant().slug(), ctx.actor(), by.as_str().unwrap())
}

/// A complete response.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// The code of the problem document, or the empty text.
    pub(crate) fn code(&self) -> String {
        let problem: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let code = problem["type"].as_str().and_then(|kind| kind.strip_prefix("urn:problem-type:tenancy:"));
        code.unwrap_or_default().to_owned()
    }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let tenant = async |slug: &str, status| {
            let new = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").status(status);
            store.insert(new).await.unwrap()
        };
        let acme = tenant("acme", TenantStatus::Active).await;
        let globex = tenant("globex", TenantStatus::Trialing).await;
        let suspended = tenant("initech", TenantStatus::Suspended).await;
        let app = app(Arc::new(resolver(store.clone())));
        Self { acme, globex, suspended, store, app }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.app, request).await
    }

    /// Each tenant with the other one, so that each assertion runs in both directions.
    pub(crate) fn both_sides(&self) -> [(&Tenant, &Tenant); 2] {
        [(&self.acme, &self.globex), (&self.globex, &self.acme)]
    }
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

/// A GET request for this host.
pub(crate) fn get_from(host: &str, path: &str) -> axum::http::request::Builder {
    Request::get(path).header("host", host)
}

pub(crate) fn from_peer(request: axum::http::request::Builder, peer: &str) -> Request<Body> {
    request.extension(PeerAddr(peer.parse().unwrap())).body(Body::empty()).unwrap()
}

/// Valid claims.
pub(crate) fn claims(tenant: &Tenant) -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "exp": NOW + 600,
        "iat": NOW - 5,
        "tenant_id": tenant.id().to_string(),
    })
}

/// An `Authorization` value with a valid token.
pub(crate) fn bearer(tenant: &Tenant) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}).to_string(), &claims(tenant).to_string(), SECRET)
}

/// A token with any header and claims, signed with a shared secret.
pub(crate) fn signed(header: &str, claims: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(secret).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("Bearer {message}.{signature}")
}

/// A token with any header and claims, signed with the Ed25519 key.
pub(crate) fn signed_ed25519(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_ed_pem(ED25519_PRIVATE.as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::EdDSA).unwrap();
    format!("Bearer {message}.{signature}")
}
