//! Two tenants behind axum, on SQLite in memory: `cargo run --example hello_axum`, then the commands that it prints.
//!
//! Each tenant has an API key. The key is the credential: no header and no URL of a request names a tenant.
#![allow(clippy::print_stdout, reason = "the program prints what to try")]

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use secrecy::{ExposeSecret, SecretString};
use sqlx::sqlite::{Sqlite, SqlitePoolOptions};
use tenancy::clock::{Clock, SystemClock};
use tenancy::context::TenantDirectory;
use tenancy::plan::Catalog;
use tenancy::resolve::{ApiKeySource, Resolver};
use tenancy::scope::select::PageRequest;
use tenancy::store::MemoryStore;
use tenancy::tenant::{ApiKey, ApiKeyFormat, ApiKeyStore, NewTenant, Slug, TenantStatus, TenantStore};
use tenancy::web::TenantLayer;
use tenancy::{TenantContext, TenantDb, TenantScoped};

type Failure = Box<dyn std::error::Error>;

#[derive(TenantScoped, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
#[tenant(table = "notes")]
struct Note {
    #[tenant(id)]
    id: i64,
    text: String,
}

type Db = State<TenantDb<Sqlite>>;

async fn add(State(db): Db, ctx: TenantContext, Json(note): Json<Note>) -> tenancy::Result<()> {
    Note::insert(&db.scope(&ctx), &note).await // `Note::insert(&pool, &note)` does not compile
}

async fn list(State(db): Db, ctx: TenantContext) -> tenancy::Result<Json<Vec<Note>>> {
    Ok(Json(Note::list(&db.scope(&ctx), PageRequest::first(100)).await?.items))
}

/// The routes, and each tenant's name with its API key.
async fn app() -> Result<(Router, Vec<(&'static str, SecretString)>), Failure> {
    let plans = "version = 1\n[features]\n[plans.free]\nfeatures = {}";
    let (store, format) = (Arc::new(MemoryStore::new()), ApiKeyFormat::new("hello", "test")?);
    let mut keys = Vec::new();
    for name in ["acme", "globex"] {
        let tenant = NewTenant::new(Slug::parse(name)?, name, "free").status(TenantStatus::Active);
        let tenant = store.insert(tenant).await?;
        let (key, text) = ApiKey::issue(&format, tenant.id().clone(), "first key", SystemClock.now());
        store.insert_key(&key).await?;
        keys.push((name, text));
    }
    let directory = TenantDirectory::new(store.clone(), Arc::new(Catalog::from_toml(plans)?));
    let resolver = Resolver::new(directory).source(ApiKeySource::new(format, store));

    // One connection that is never closed, because the database in memory ends with it.
    let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = one.connect("sqlite::memory:").await?;
    let table =
        "CREATE TABLE notes (tenant_id BLOB, id INTEGER, text TEXT NOT NULL, PRIMARY KEY (tenant_id, id))";
    sqlx::query(table).execute(&pool).await?;
    let db = TenantDb::from_pool(pool).build().await?;
    let routes =
        Router::new().route("/notes", get(list).post(add)).layer(TenantLayer::new(Arc::new(resolver)));
    Ok((routes.with_state(db), keys))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (app, keys) = app().await?;
    for (name, key) in &keys {
        let curl = format!("curl -H 'Authorization: Bearer {}' localhost:3000/notes", key.expose_secret());
        println!("# {name}\n{curl} --json '{{\"id\": 1, \"text\": \"a note of {name}\"}}'\n{curl}\n");
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode, header};
    use tower::ServiceExt;

    use super::*;

    async fn send(app: &Router, key: Option<&SecretString>, body: Option<&str>) -> (StatusCode, String) {
        let mut request = Request::get("/notes").header(header::CONTENT_TYPE, "application/json");
        if body.is_some() {
            request = request.method("POST");
        }
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose_secret()));
        }
        let request = request.body(Body::from(body.unwrap_or_default().to_owned())).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn each_key_reaches_the_notes_of_its_tenant() {
        let (app, keys) = app().await.unwrap();
        let [(_, acme), (_, globex)] = &keys[..] else { panic!("two tenants") };
        let note = r#"{"id":1,"text":"hello"}"#;
        assert_eq!(send(&app, Some(acme), Some(note)).await.0, StatusCode::OK);
        assert_eq!(
            send(&app, Some(acme), Some(note)).await.0,
            StatusCode::CONFLICT,
            "1 is taken, within acme"
        );
        assert_eq!(send(&app, Some(acme), None).await.1, format!("[{note}]"));
        assert_eq!(send(&app, Some(globex), None).await.1, "[]");
        assert_eq!(
            send(&app, Some(globex), Some(note)).await.0,
            StatusCode::OK,
            "globex has a note 1 of its own"
        );
        assert_eq!(send(&app, None, None).await.0, StatusCode::BAD_REQUEST, "nothing names a tenant");
        let forged = SecretString::from(format!("{}0", acme.expose_secret()));
        assert_eq!(send(&app, Some(&forged), None).await.0, StatusCode::UNAUTHORIZED);
    }
}
