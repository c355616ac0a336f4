//! Tokens of an issuer that publishes its keys at a URL: `cargo run --example jwt_jwks`, then the commands that it prints.
//!
//! The issuer runs beside the program here. Yours has a URL of HTTPS: `RemoteJwks::new("https://…/jwks.json")`.
#![allow(clippy::print_stdout, reason = "the program prints what to try")]

use std::sync::Arc;

use axum::{Json, Router, routing::get};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use tenancy::TenantContext;
use tenancy::clock::{Clock, SystemClock};
use tenancy::context::TenantDirectory;
use tenancy::plan::Catalog;
use tenancy::resolve::{JwtSource, RemoteJwks, Resolver};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore};
use tenancy::web::TenantLayer;
use tokio::net::TcpListener;

/// A key for this example only.
const KEY: &str = include_str!("../tests/identity/tokens/p256.pem");
const AUDIENCE: &str = "https://api.example.com";

/// Publishes the public half of the key, and answers with the address of the issuer.
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

/// The routes, and the id of the one tenant.
async fn app(issuer: &str) -> tenancy::Result<(Router, TenantId)> {
    let store = Arc::new(MemoryStore::new());
    let acme = NewTenant::new(Slug::parse("acme")?, "Acme", "free").status(TenantStatus::Active);
    let acme = store.insert(acme).await?;
    let keys = RemoteJwks::plain_on_loopback(&format!("{issuer}/jwks.json"))?;
    keys.load().await?; // without keys the program does not start
    let tokens = JwtSource::builder().issuer(issuer).audience(AUDIENCE).remote_jwks(&keys).build()?;
    let plans = Catalog::from_toml("version = 1\n[features]\n[plans.free]\nfeatures = {}")?;
    let resolver = Resolver::new(TenantDirectory::new(store, Arc::new(plans))).source(tokens);
    let routes = Router::new().route("/", get(whoami)).route_layer(TenantLayer::new(Arc::new(resolver)));
    Ok((routes, acme.id().clone()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let issuer = issuer().await?;
    let (app, acme) = app(&issuer).await?;
    println!("curl -H 'Authorization: Bearer {}' localhost:3000/", token(&issuer, &acme)?);
    Ok(axum::serve(TcpListener::bind("127.0.0.1:3000").await?, app).await?)
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_token_of_the_issuer_is_accepted_and_no_other() {
        let issuer = issuer().await.unwrap();
        let (app, acme) = app(&issuer).await.unwrap();
        let send = async |token: String| {
            let request = Request::get("/").header("authorization", format!("Bearer {token}"));
            app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
        };
        let served = send(token(&issuer, &acme).unwrap()).await;
        assert_eq!(to_bytes(served.into_body(), 100).await.unwrap(), "user:ada at acme\n");
        let other = send(token("https://evil.example", &acme).unwrap()).await;
        assert_eq!(other.status(), StatusCode::UNAUTHORIZED);
        let unknown = send(token(&issuer, &TenantId::random()).unwrap()).await;
        assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    }
}
