//! An HTTP client gets the right response while keys are pending, unavailable, or of an overreaching issuer.

use std::net::TcpListener as StdListener;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use jsonwebtoken::Algorithm;
use serde_json::json;
use tenancy::context::TenantDirectory;
use tenancy::plan::Catalog;
use tenancy::resolve::{HostSource, JwtSource, RemoteJwks, Resolver};

use crate::fixture::{self, Answer, Fixture};
use crate::tokens::{P256, builder, claims, jwk, private, token};

/// The app with this source of tokens in place of its own.
async fn app(source: impl Fn(&Fixture) -> JwtSource) -> Fixture {
    let mut fixture = Fixture::new().await;
    let catalog =
        "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";
    let catalog = Arc::new(Catalog::from_toml(catalog).unwrap());
    let resolver = Resolver::new(TenantDirectory::new(fixture.store.clone(), catalog))
        .source(HostSource::new(["example.com"]).unwrap())
        .source(source(&fixture));
    fixture.app = fixture::app(Arc::new(resolver));
    fixture
}

async fn orders(fixture: &Fixture, token: &str) -> Answer {
    let request = Request::get("/orders").header("host", "example.com");
    let request = request.header("authorization", format!("Bearer {token}"));
    fixture.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_request_waits_for_its_key_and_then_reaches_its_own_tenant() {
    let mut key = jwk(Algorithm::ES256, P256);
    key["kid"] = json!("1");
    let document = json!({ "keys": [key] }).to_string();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let issuer = Router::new().route("/keys", get(async || document));
    tokio::spawn(async move { axum::serve(listener, issuer).await });

    let keys = RemoteJwks::plain_on_loopback(&url).unwrap();
    let fixture = app(|fixture| {
        let source = builder().remote_jwks(&keys);
        source.allowed_tenants([fixture.acme.id().clone(), fixture.suspended.id().clone()]).build().unwrap()
    })
    .await;
    let signed = |tenant: &tenancy::tenant::Tenant| {
        token(Algorithm::ES256, Some("1"), &claims(tenant.id()), &private(P256))
    };
    // The first request waits for the keys, the second one does not.
    for _ in 0..2 {
        assert_eq!(orders(&fixture, &signed(&fixture.acme)).await.body, "acme user:ada jwt");
        let refused = orders(&fixture, &signed(&fixture.globex)).await;
        let expected = (StatusCode::FORBIDDEN, "tenant-conflict".to_owned());
        assert_eq!((refused.status, refused.code()), expected, "I56");
        let closed = orders(&fixture, &signed(&fixture.suspended)).await;
        assert_eq!(closed.code(), "tenant-suspended", "I70");
        let unknown = token(Algorithm::ES256, Some("2"), &claims(fixture.acme.id()), &private(P256));
        assert_eq!(orders(&fixture, &unknown).await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn without_keys_each_request_gets_503() {
    let nobody = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let keys = RemoteJwks::plain_on_loopback(&format!("http://{nobody}/keys")).unwrap();
    let fixture = app(|_| builder().remote_jwks(&keys).build().unwrap()).await;
    for (tenant, _) in fixture.both_sides() {
        let token = token(Algorithm::ES256, Some("1"), &claims(tenant.id()), &private(P256));
        let answer = orders(&fixture, &token).await;
        let expected = (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable".to_owned());
        assert_eq!((answer.status, answer.code()), expected, "I73");
        assert!(!answer.body.contains("127.0.0.1"), "I73: {}", answer.body);
    }
    assert_eq!(orders(&fixture, "a.b.c").await.status, StatusCode::UNAUTHORIZED);
}
