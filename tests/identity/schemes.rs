//! Tokens with another scheme than `Bearer`, and a tenant inside a nested claim.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tenancy::TenantContext;
use tenancy::context::TenantDirectory;
use tenancy::plan::Catalog;
use tenancy::resolve::{ApiKeySource, HostSource, JwtSource, OwnedRequest, Resolver, Source};
use tenancy::store::MemoryStore;
use tenancy::tenant::{ApiKeyFormat, NewTenant, TenantId, TenantStore};
use tenancy::web::TenantLayer;
use tower::ServiceExt;

use crate::tokens::{builder, claims, judged, outcome, token};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

fn signed(claims: &Value) -> String {
    token(Algorithm::HS256, None, claims, &EncodingKey::from_secret(SECRET).unwrap())
}

fn read(source: &JwtSource, authorization: &str) -> String {
    outcome(source.read(&OwnedRequest::get("/").with_header("Authorization", authorization)))
}

#[test]
fn a_scheme_replaces_bearer() {
    let [acme, globex] = [(); 2].map(|()| TenantId::random());
    let source = builder().hs256(SECRET).scheme("Token").ignore_scheme("Basic").build().unwrap();
    for tenant in [&acme, &globex] {
        let token = signed(&claims(tenant));
        for scheme in ["Token", "token", "TOKEN"] {
            assert_eq!(read(&source, &format!("{scheme} {token}")), format!("user:ada of {tenant}"));
        }
        // What is not declared is rejected: another source must not decide alone.
        for wrong in ["Bearer ", "Tokens ", "Token", "Token  ", "Digest ", ""] {
            assert_eq!(read(&source, &format!("{wrong}{token}")), "credential-invalid", "{wrong}");
        }
        assert_eq!(read(&source, &format!("Basic {token}")), "absent");
    }
    let bearer = builder().issuer("https://other.example.com").hs256(SECRET).build().unwrap();
    assert!(source.add_issuer(bearer).unwrap_err().to_string().contains("the same `scheme`"));
}

#[test]
fn a_tenant_is_read_from_a_nested_claim() {
    let [acme, globex] = [(); 2].map(|()| TenantId::random());
    let source = builder().hs256(SECRET).tenant_claim(["o", "id"]).build().unwrap();
    for (tenant, other) in [(&acme, &globex), (&globex, &acme)] {
        // A claim of the same name at another place does not count.
        let mut all = claims(other);
        all["o"] = json!({ "id": tenant.to_string(), "o": { "id": other.to_string() } });
        all["id"] = json!(other.to_string());
        all["o.id"] = json!(other.to_string());
        assert_eq!(judged(&source, &signed(&all)), format!("user:ada of {tenant}"));
        for wrong in
            [json!(null), json!({}), json!(tenant.to_string()), json!([{ "id": tenant.to_string() }])]
        {
            all["o"] = wrong;
            assert_eq!(judged(&source, &signed(&all)), "credential-invalid");
        }
    }
    let source = builder().hs256(SECRET).tenant_claim("https://example.com/org.id").build().unwrap();
    let mut all = claims(&globex);
    all["https://example.com/org.id"] = json!(acme.to_string());
    assert_eq!(judged(&source, &signed(&all)), format!("user:ada of {acme}"));
    let source = builder().hs256(SECRET).slug_claim(["org", "slug"]).build().unwrap();
    all["org"] = json!({ "slug": "acme" });
    assert_eq!(judged(&source, &signed(&all)), "user:ada of acme");
}

/// Parsers disagree on which of two values counts, so neither does, at any depth.
#[test]
fn a_repeated_key_is_rejected_at_any_depth() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let (acme, globex) = (TenantId::random(), TenantId::random());
    let source = builder().hs256(SECRET).tenant_claim(["o", "id"]).build().unwrap();
    let key = EncodingKey::from_secret(SECRET).unwrap();
    let sign = |payload: &str| {
        let message = [r#"{"alg":"HS256"}"#, payload].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    };
    let rest = claims(&acme).to_string();
    let rest = rest.strip_prefix('{').unwrap();
    for (o, is_valid) in [
        (format!(r#"{{"id":"{acme}","x":[{{"a":1}},{{"a":1}}]}}"#), true),
        (format!(r#"{{"id":"{acme}","id":"{globex}"}}"#), false),
        (format!(r#"{{"id":"{acme}","id":"{acme}"}}"#), false),
        (format!(r#"{{"id":"{acme}","x":{{"a":1,"a":1}}}}"#), false),
        (format!(r#"{{"id":"{acme}","x":[{{"a":1,"a":1}}]}}"#), false),
        (format!(r#"{{"id":"{acme}"}},"o":{{"id":"{globex}"}}"#), false),
    ] {
        let expected = if is_valid { format!("user:ada of {acme}") } else { "credential-invalid".to_owned() };
        assert_eq!(judged(&source, &sign(&format!(r#"{{"o":{o},{rest}"#))), expected, "{o}");
    }
}

/// A client learns the schemes of all sources.
#[tokio::test]
async fn a_401_names_the_schemes_of_the_sources() {
    let store = Arc::new(MemoryStore::new());
    store.insert(NewTenant::active("acme", "free").unwrap()).await.unwrap();
    let directory =
        TenantDirectory::new(store.clone(), Catalog::from_toml("version = 1\n[plans.free]").unwrap());
    let tokens = || builder().hs256(SECRET).scheme("Token");
    let api_keys = || ApiKeySource::new(ApiKeyFormat::new("acme", "live").unwrap(), store.clone());
    let hosts = || HostSource::new(["example.com"]).unwrap();
    let with = |resolver: Resolver| resolver.source(hosts());
    let resolver = || Resolver::new(directory.clone());
    for (resolver, expected) in [
        (with(resolver().source(tokens().build().unwrap())), "Token"),
        (
            with(resolver().source(tokens().ignore_scheme("Bearer").build().unwrap()).source(api_keys())),
            "Token, Bearer",
        ),
        (with(resolver()), "Bearer"),
    ] {
        let app = Router::new()
            .route("/", get(|ctx: TenantContext| async move { ctx.tenant().slug().to_string() }))
            .layer(TenantLayer::new(resolver));
        for authorization in [None, Some("Token wrong")] {
            let mut request = Request::get("/").header("host", "acme.example.com");
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()["www-authenticate"]),
                (401, &expected.parse().unwrap())
            );
        }
    }
}
