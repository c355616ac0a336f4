//! Two tenants behind axum, on SQLite in memory: `cargo run --example hello_axum`, then the commands that it prints.
//!
//! Each tenant has an API key. The key is the credential: no header and no URL of a request names a tenant.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use secrecy::ExposeSecret;
use tenancy::clock::{Clock, SystemClock};
use tenancy::resolve::{ApiKeySource, Resolver};
use tenancy::scope::{select::PageRequest, sqlite_in_memory};
use tenancy::tenant::{ApiKey, ApiKeyFormat, ApiKeyStore, NewTenant, TenantStore};
use tenancy::{TenantContext, TenantDb, TenantScoped, context::TenantDirectory, plan::Catalog};
use tenancy::{store::MemoryStore, web::TenantLayer};

const TABLE: &str = "CREATE TABLE notes (tenant_id BLOB, id INTEGER, text TEXT, PRIMARY KEY (tenant_id, id))";

#[derive(TenantScoped, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
#[tenant(table = "notes")]
struct Note {
    #[tenant(id)]
    id: i64,
    text: String,
}

type Db = State<TenantDb<sqlx::Sqlite>>;

async fn add(State(db): Db, ctx: TenantContext, Json(note): Json<Note>) -> tenancy::Result<()> {
    Note::insert(&db.scope(&ctx), &note).await // `Note::insert(&pool, &note)` does not compile
}

async fn list(State(db): Db, ctx: TenantContext) -> tenancy::Result<Json<Vec<Note>>> {
    Ok(Json(Note::list(&db.scope(&ctx), PageRequest::first(100)).await?.items))
}

/// The routes, and an API key of each tenant.
async fn app() -> tenancy::Result<(Router, Vec<String>)> {
    let (store, format) = (Arc::new(MemoryStore::new()), ApiKeyFormat::new("hello", "test")?);
    let mut keys = Vec::new();
    for name in ["acme", "globex"] {
        let tenant = store.insert(NewTenant::active(name, "free")?).await?;
        let (key, text) = ApiKey::issue(&format, tenant.id().clone(), "first key", SystemClock.now());
        store.insert_key(&key).await?;
        keys.push(text.expose_secret().to_owned());
    }
    let directory = TenantDirectory::new(store.clone(), Catalog::from_toml("version = 1\n[plans.free]")?);
    let resolver = Resolver::new(directory).source(ApiKeySource::new(format, store));
    let db = TenantDb::from_pool(sqlite_in_memory(TABLE).await?).build().await?;
    let notes = get(list).post(add).layer(TenantLayer::new(resolver));
    Ok((Router::new().route("/notes", notes).with_state(db), keys))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (app, keys) = app().await?;
    for key in keys {
        let curl = format!("curl localhost:3000/notes -H 'Authorization: Bearer {key}'");
        println!("{curl} --json '{{\"id\": 1, \"text\": \"hello\"}}'\n{curl}\n");
    }
    Ok(axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await?)
}

#[tokio::test]
async fn each_key_reaches_the_notes_of_its_tenant() {
    use axum::{body::to_bytes, http::Request};
    let (app, keys) = app().await.unwrap();
    let send = async |key: &str, method: &str, body: &str| {
        let request =
            Request::builder().method(method).uri("/notes").header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {key}")).body(body.to_owned()).unwrap();
        let Ok(response) = tower::ServiceExt::oneshot(app.clone(), request).await;
        let (status, body) = (response.status(), to_bytes(response.into_body(), 1 << 16).await.unwrap());
        (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    };
    let note = r#"{"id":1,"text":"hello"}"#;
    assert_eq!(send(&keys[0], "POST", note).await.0, 200);
    assert_eq!(send(&keys[0], "POST", note).await.0, 409, "acme has a note 1");
    assert_eq!(send(&keys[0], "GET", "").await.1, format!("[{note}]"));
    assert_eq!(send(&keys[1], "GET", "").await.1, "[]");
    assert_eq!(send(&keys[1], "POST", note).await.0, 200, "globex has another note 1");
    assert_eq!(send(&format!("{}0", keys[0]), "GET", "").await.0, 401, "a forged key");
    let Ok(response) =
        tower::ServiceExt::oneshot(app, Request::get("/notes").body(String::new()).unwrap()).await;
    assert_eq!(response.status(), 400, "nothing names a tenant");
}
