//! Measures tenant resolution when everything is cached: by host, by header, by both, and with a membership check.
//! Compares the check of a token with the bare check of its signature, and a service with the middleware with the
//! same service without it; these times include the construction of the request.

#[path = "../tests/identity/fixture.rs"]
mod fixture;

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{Request, Response};
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::resolve::{
    HeaderSource, HostSource, Membership, OwnedRequest, Resolver, Source, SourceOutcome, TrustedPeers,
};
use tenancy::store::{CacheOptions, CachedMembership, CachedStore, MemoryStore};
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore};
use tenancy::web::{PeerAddr, TenantLayer};
use tokio::runtime::Runtime;
use tower::{Layer, Service, service_fn};

#[derive(Debug)]
struct EveryoneIsMember;

#[async_trait]
impl Membership for EveryoneIsMember {
    async fn is_member(&self, _: &TenantId, _: &Actor) -> tenancy::Result<bool> {
        Ok(true)
    }
}

/// A directory of 10,000 cached tenants, and the id of the last one.
async fn directory() -> (TenantDirectory, TenantId) {
    let store = CachedStore::new(
        MemoryStore::new(),
        CacheOptions::new().capacity(20_000).ttl(Duration::from_hours(1)),
    );
    let mut last = None;
    for n in 0..10_000 {
        let slug = Slug::parse(&format!("tenant-{n}")).unwrap();
        let new = NewTenant::new(slug, "Tenant", "free").status(TenantStatus::Active);
        last = Some(store.insert(new).await.unwrap().id().clone());
    }
    let catalog =
        "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";
    (TenantDirectory::new(Arc::new(store), Arc::new(Catalog::from_toml(catalog).unwrap())), last.unwrap())
}

fn hosts() -> HostSource {
    HostSource::new(["example.com"]).unwrap()
}

fn headers() -> HeaderSource {
    HeaderSource::new("x-tenant-id", TrustedPeers::new(["10.0.0.0/8"]).unwrap()).unwrap()
}

fn identity(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (directory, last) = runtime.block_on(directory());
    let peer = "10.0.0.7:4000".parse().unwrap();
    let request = OwnedRequest::get("/orders")
        .with_header("accept", "application/json")
        .with_header("user-agent", "bench")
        .with_peer(peer);
    let host = request.clone().with_header("host", "tenant-9999.example.com");
    let header = request.clone().with_header("x-tenant-id", last.to_string());
    let both = host.clone().with_header("x-tenant-id", last.to_string());

    let mut group = c.benchmark_group("resolution, warm");
    let mut bench = |name: &str, resolver: Resolver, request: &OwnedRequest| {
        // The first resolution may wait for the store; all others must be cached.
        runtime.block_on(resolver.resolve_unauthenticated(request)).unwrap();
        group.bench_function(name, |b| {
            b.iter(|| resolver.resolve_unauthenticated(black_box(request)).at_hand().unwrap().unwrap());
        });
    };
    let new = || Resolver::new(directory.clone());
    bench("host", new().source(hosts()), &host);
    bench("header", new().source(headers()), &header);
    bench("host and header", new().source(hosts()).source(headers()), &both);
    let members = CachedMembership::new(EveryoneIsMember, Duration::from_hours(1));
    bench(
        "host and header, with a membership check",
        new().source(hosts()).source(headers()).members(members),
        &both,
    );
    group.finish();

    let mut group = c.benchmark_group("parts");
    let source = hosts();
    group.bench_function("host source alone", |b| b.iter(|| source.read(black_box(&host))));
    let slug = Slug::parse("tenant-9999").unwrap();
    group.bench_function("cache, by slug", |b| {
        b.iter(|| directory.store().peek_slug(black_box(&slug)).unwrap());
    });
    group.bench_function("cache, by id", |b| {
        b.iter(|| directory.store().peek_id(black_box(&last)).unwrap());
    });
    group.finish();

    let mut group = c.benchmark_group("token");
    let tenant = runtime.block_on(directory.store().by_id(&last)).unwrap().unwrap();
    let source = fixture::tokens();
    let ed25519 = r#"{"alg":"EdDSA","kid":"ed-1","typ":"JWT"}"#;
    let tokens = [
        ("HS256", fixture::bearer(&tenant)),
        ("EdDSA", fixture::signed_ed25519(ed25519, &fixture::claims(&tenant).to_string())),
    ];
    for (name, token) in tokens {
        let request = request.clone().with_header("authorization", &token);
        assert!(matches!(source.read(&request), SourceOutcome::Verified { .. }), "{name}");
        let (message, code) = token.strip_prefix("Bearer ").unwrap().rsplit_once('.').unwrap();
        let code = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, code).unwrap();
        let (algorithm, key) = match name {
            "HS256" => (Algorithm::HS256, DecodingKey::from_secret(fixture::SECRET).unwrap()),
            _ => (Algorithm::EdDSA, DecodingKey::from_ed_pem(fixture::ED25519_PUBLIC.as_bytes()).unwrap()),
        };
        group.bench_function(format!("{name}, signature alone"), |b| {
            b.iter(|| {
                let verifier = (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &key).unwrap();
                verifier.verify(black_box(message.as_bytes()), &code).unwrap();
            });
        });
        group.bench_function(format!("{name}, whole token"), |b| b.iter(|| source.read(black_box(&request))));
    }
    group.finish();

    let mut group = c.benchmark_group("middleware");
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Vec::<u8>::new())));
    let new_request = || {
        let request = Request::get("/orders").header("host", "tenant-9999.example.com");
        request.header("x-tenant-id", last.to_string()).extension(PeerAddr(peer)).body(()).unwrap()
    };
    let mut without = inner;
    group.bench_function("without", |b| b.iter(|| without.call(new_request()).now_or_never().unwrap()));
    for (name, resolver) in [
        ("with, by host", new().source(hosts())),
        ("with, by header", new().source(headers())),
        ("with, by host and header", new().source(hosts()).source(headers())),
    ] {
        let mut service = TenantLayer::allow_unauthenticated(Arc::new(resolver)).layer(inner);
        group.bench_function(name, |b| b.iter(|| service.call(new_request()).now_or_never().unwrap()));
    }
    group.finish();
}

criterion_group!(benches, identity);
criterion_main!(benches);
