//! A tenant that creates, lists and revokes its API keys: `cargo run --example api_keys`, then the commands that it prints.
#![allow(clippy::print_stdout, reason = "the program prints what to try")]

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{delete, get};
use axum::{Json, Router};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tenancy::TenantContext;
use tenancy::clock::{Clock, SystemClock};
use tenancy::context::TenantDirectory;
use tenancy::plan::Catalog;
use tenancy::resolve::{ApiKeySource, Resolver};
use tenancy::store::{CacheOptions, CachedStore, MemoryStore};
use tenancy::tenant::{
    ApiKey, ApiKeyFormat, ApiKeyStore, NewTenant, Slug, TenantId, TenantStatus, TenantStore,
};
use tenancy::web::TenantLayer;

type Store = Arc<CachedStore<MemoryStore>>;

/// A new key: its id, and its text, which is shown once.
async fn issue(store: &Store, tenant: &TenantId, name: &str) -> tenancy::Result<(String, String)> {
    let format = ApiKeyFormat::new("example", "test")?;
    let (key, text) = ApiKey::issue(&format, tenant.clone(), name, SystemClock.now());
    store.insert_key(&key).await?;
    Ok((key.id().to_owned(), text.expose_secret().to_owned()))
}

async fn create(State(store): State<Store>, ctx: TenantContext) -> tenancy::Result<Json<Value>> {
    let (id, text) = issue(&store, ctx.tenant_id(), "created over HTTP").await?;
    Ok(Json(json!({ "id": id, "key": text })))
}

async fn list(State(store): State<Store>, ctx: TenantContext) -> tenancy::Result<Json<Value>> {
    let keys = store.keys(ctx.tenant_id()).await?;
    let shown =
        |key: &Arc<ApiKey>| json!({ "id": key.id(), "name": key.name(), "revoked": key.revoked().is_some() });
    Ok(Json(keys.iter().map(shown).collect()))
}

/// 404 for an id of another tenant.
async fn revoke(
    State(store): State<Store>,
    ctx: TenantContext,
    Path(id): Path<String>,
) -> tenancy::Result<()> {
    store.revoke_key(ctx.tenant_id(), &id, SystemClock.now()).await.map(|_| ())
}

/// The routes, and a first key of each tenant.
async fn app() -> tenancy::Result<(Router, Vec<String>)> {
    let store = Arc::new(CachedStore::new(MemoryStore::new(), CacheOptions::new()));
    let mut keys = Vec::new();
    for name in ["acme", "globex"] {
        let tenant = NewTenant::new(Slug::parse(name)?, name, "free").status(TenantStatus::Active);
        let tenant = store.insert(tenant).await?;
        keys.push(issue(&store, tenant.id(), "first key").await?.1);
    }
    let plans = Catalog::from_toml("version = 1\n[features]\n[plans.free]\nfeatures = {}")?;
    let source =
        ApiKeySource::new(ApiKeyFormat::new("example", "test")?, store.clone()).header("x-api-key")?;
    let resolver = Resolver::new(TenantDirectory::new(store.clone(), Arc::new(plans))).source(source);
    let routes = Router::new()
        .route("/keys", get(list).post(create))
        .route("/keys/{id}", delete(revoke))
        .route_layer(TenantLayer::new(Arc::new(resolver)));
    Ok((routes.with_state(store), keys))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (app, keys) = app().await?;
    println!("curl -H 'x-api-key: {}' -X POST localhost:3000/keys", keys[0]);
    println!("curl -H 'x-api-key: {}' localhost:3000/keys", keys[0]);
    println!("curl -H 'x-api-key: {}' -X DELETE localhost:3000/keys/ID", keys[0]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    async fn send(app: &Router, method: &str, path: &str, key: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("x-api-key", key);
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_key_opens_its_tenant_until_it_is_revoked() {
        let (app, keys) = app().await.unwrap();
        let (_, new) = send(&app, "POST", "/keys", &keys[0]).await;
        let (id, text) = (new["id"].as_str().unwrap(), new["key"].as_str().unwrap());
        let (_, all) = send(&app, "GET", "/keys", text).await;
        assert_eq!(all.as_array().unwrap().len(), 2);
        let path = format!("/keys/{id}");
        assert_eq!(send(&app, "DELETE", &path, &keys[1]).await.0, StatusCode::NOT_FOUND, "a key of globex");
        assert_eq!(send(&app, "DELETE", &path, &keys[0]).await.0, StatusCode::OK);
        assert_eq!(send(&app, "GET", "/keys", text).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(send(&app, "GET", "/unknown", "").await.0, StatusCode::NOT_FOUND);
    }
}
