//! A tenant that creates, lists and revokes its API keys: `cargo run --example api_keys`, then the commands that it prints.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{delete, get};
use axum::{Json, Router};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tenancy::clock::{Clock, SystemClock};
use tenancy::resolve::{ApiKeySource, Resolver};
use tenancy::store::{CacheOptions, CachedStore, MemoryStore};
use tenancy::tenant::{ApiKey, ApiKeyFormat, ApiKeyStore, NewTenant, TenantId, TenantStore};
use tenancy::{TenantContext, context::TenantDirectory, plan::Catalog, web::TenantLayer};

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

/// Returns 404 for an id of another tenant.
async fn revoke(store: State<Store>, ctx: TenantContext, Path(id): Path<String>) -> tenancy::Result<()> {
    store.revoke_key(ctx.tenant_id(), &id, SystemClock.now()).await.map(|_| ())
}

/// The routes, and a first key of each tenant.
async fn app() -> tenancy::Result<(Router, Vec<String>)> {
    let store = Arc::new(CachedStore::new(MemoryStore::new(), CacheOptions::new()));
    let mut keys = Vec::new();
    for name in ["acme", "globex"] {
        let tenant = store.insert(NewTenant::active(name, "free")?).await?;
        keys.push(issue(&store, tenant.id(), "first key").await?.1);
    }
    let source = ApiKeySource::new(ApiKeyFormat::new("example", "test")?, store.clone());
    let directory = TenantDirectory::new(store.clone(), Catalog::from_toml("version = 1\n[plans.free]")?);
    let resolver = Resolver::new(directory).source(source.header("x-api-key")?);
    let routes = Router::new().route("/keys", get(list).post(create)).route("/keys/{id}", delete(revoke));
    Ok((routes.route_layer(TenantLayer::new(resolver)).with_state(store), keys))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (app, keys) = app().await?;
    for request in ["-X POST localhost:3000/keys", "localhost:3000/keys", "-X DELETE localhost:3000/keys/ID"]
    {
        println!("curl -H 'x-api-key: {}' {request}", keys[0]);
    }
    Ok(axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await?)
}

#[tokio::test]
async fn a_key_opens_its_tenant_until_it_is_revoked() {
    use axum::http::{Request, StatusCode};
    let (app, keys) = app().await.unwrap();
    let send = async |method: &str, path: &str, key: &str| {
        let request = Request::builder().method(method).uri(path).header("x-api-key", key);
        let request = request.body(String::new()).unwrap();
        let response = tower::ServiceExt::oneshot(app.clone(), request).await.unwrap();
        let (status, body) = (response.status(), axum::body::to_bytes(response.into_body(), 1 << 16).await);
        (status, serde_json::from_slice::<Value>(&body.unwrap()).unwrap_or_default())
    };
    let (_, new) = send("POST", "/keys", &keys[0]).await;
    let (id, text) = (new["id"].as_str().unwrap(), new["key"].as_str().unwrap());
    assert_eq!(send("GET", "/keys", text).await.1.as_array().unwrap().len(), 2);
    let path = format!("/keys/{id}");
    assert_eq!(send("DELETE", &path, &keys[1]).await.0, StatusCode::NOT_FOUND, "keys[1] is of globex");
    assert_eq!(send("DELETE", &path, &keys[0]).await.0, StatusCode::OK);
    assert_eq!(send("GET", "/keys", text).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(send("GET", "/unknown", "").await.0, StatusCode::NOT_FOUND);
}
