//! Tokens of an issuer that publishes its keys at a URL: `cargo run --example jwt_jwks`, then the commands that it prints.
//!
//! The issuer runs beside the program here. Yours has a URL of HTTPS: `RemoteJwks::new("https://…/jwks.json")`.

use std::sync::Arc;

use axum::{Json, Router, routing::get};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use tenancy::clock::{Clock, SystemClock};
use tenancy::resolve::{JwtSource, RemoteJwks, Resolver};
use tenancy::tenant::{NewTenant, TenantId, TenantStore};
use tenancy::{TenantContext, context::TenantDirectory, plan::Catalog, store::MemoryStore, web::TenantLayer};
use tokio::net::TcpListener;

/// A key for this example only.
const KEY: &str = include_str!("../tests/identity/tokens/p256.pem");
const AUDIENCE: &str = "https://api.example.com";

/// Publishes the public half of the key, and returns the URL of the issuer.
async fn issuer() -> Result<String, Box<dyn std::error::Error>> {
    let mut key = Jwk::from_encoding_key(&EncodingKey::from_ec_pem(KEY.as_bytes())?, Algorithm::ES256)?;
    key.common.key_id = Some("2026-11".to_owned());
    let keys = Json(JwkSet { keys: vec![key] });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let routes = Router::new().route("/jwks.json", get(async move || keys));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(url)
}

/// What the issuer does at a login.
fn token(issuer: &str, tenant: &TenantId) -> jsonwebtoken::errors::Result<String> {
    let header = Header { kid: Some("2026-11".to_owned()), ..Header::new(Algorithm::ES256) };
    let end = SystemClock.now().seconds() + 3600;
    let claims =
        serde_json::json!({ "iss": issuer, "aud": AUDIENCE, "sub": "ada", "tenant_id": tenant, "exp": end });
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(KEY.as_bytes())?)
}

async fn whoami(ctx: TenantContext) -> String {
    format!("{} at {}\n", ctx.actor(), ctx.tenant().slug())
}

/// The routes, and the ids of the tenants.
async fn app(issuer: &str) -> tenancy::Result<(Router, [TenantId; 2])> {
    let store = Arc::new(MemoryStore::new());
    let acme = store.insert(NewTenant::active("acme", "free")?).await?;
    let globex = store.insert(NewTenant::active("globex", "free")?).await?;
    let keys = RemoteJwks::plain_on_loopback(&format!("{issuer}/jwks.json"))?;
    keys.load().await?; // without keys the program does not start
    let tokens = JwtSource::builder().issuer(issuer).audience(AUDIENCE).remote_jwks(&keys).build()?;
    let directory = TenantDirectory::new(store, Catalog::from_toml("version = 1\n[plans.free]")?);
    let tenants = TenantLayer::new(Resolver::new(directory).source(tokens));
    let routes = Router::new().route("/", get(whoami)).route_layer(tenants);
    Ok((routes, [acme.id().clone(), globex.id().clone()]))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let issuer = issuer().await?;
    let (app, tenants) = app(&issuer).await?;
    for tenant in tenants {
        println!("curl -H 'Authorization: Bearer {}' localhost:3000/", token(&issuer, &tenant)?);
    }
    Ok(axum::serve(TcpListener::bind("127.0.0.1:3000").await?, app).await?)
}

#[tokio::test]
async fn a_token_of_the_issuer_is_accepted_and_no_other() {
    let issuer = issuer().await.unwrap();
    let (app, [acme, globex]) = app(&issuer).await.unwrap();
    let send = async |issuer: &str, tenant: &TenantId| {
        let bearer = format!("Bearer {}", token(issuer, tenant).unwrap());
        let request = axum::http::Request::get("/").header("authorization", bearer).body(String::new());
        let response = tower::ServiceExt::oneshot(app.clone(), request.unwrap()).await.unwrap();
        let (status, body) = (response.status(), axum::body::to_bytes(response.into_body(), 1000).await);
        (status.as_u16(), String::from_utf8(body.unwrap().to_vec()).unwrap())
    };
    assert_eq!(send(&issuer, &acme).await, (200, "user:ada at acme\n".to_owned()));
    assert_eq!(send(&issuer, &globex).await, (200, "user:ada at globex\n".to_owned()));
    assert_eq!(send("https://evil.example", &acme).await.0, 401);
    assert_eq!(send(&issuer, &TenantId::random()).await.0, 404, "no such tenant");
}
