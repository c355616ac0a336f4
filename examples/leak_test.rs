//! A test that an application can copy: two tenants, every route, and each tenant requests the other one's rows.
//!
//! `cargo test --example leak_test` runs it on SQLite in memory. `docs/how-to/test-for-leaks.md` explains the parts.
#![allow(clippy::print_stdout, reason = "the program prints what it sent")]

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{Method, Request, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use sqlx::sqlite::{Sqlite, SqlitePoolOptions};
use tenancy::resolve::{HeaderSource, Resolver, TrustedPeers};
use tenancy::scope::select::PageRequest;
use tenancy::tenant::{NewTenant, Slug, TenantStatus, TenantStore};
use tenancy::web::{PeerAddr, TenantLayer};
use tenancy::{Error, ErrorKind, TenantContext, TenantDb, TenantScoped, context::TenantDirectory};
use tenancy::{plan::Catalog, store::MemoryStore};
use tower::ServiceExt;
use uuid::Uuid;

type Failure = Box<dyn std::error::Error>;

#[derive(TenantScoped, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
#[tenant(table = "notes")]
struct Note {
    #[tenant(id)]
    id: Uuid,
    text: String,
}

type Db = State<TenantDb<Sqlite>>;

async fn list(State(db): Db, ctx: TenantContext) -> tenancy::Result<Json<Vec<Note>>> {
    Ok(Json(Note::list(&db.scope(&ctx), PageRequest::first(100)).await?.items))
}

async fn read(State(db): Db, ctx: TenantContext, Path(id): Path<Uuid>) -> tenancy::Result<Json<Note>> {
    let note = Note::find(&db.scope(&ctx), id).await?;
    note.map(Json).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such note"))
}

async fn write(State(db): Db, ctx: TenantContext, Path(id): Path<Uuid>, text: String) -> tenancy::Result<()> {
    Note::update(&db.scope(&ctx), &Note { id, text }).await?.or_not_found()
}

async fn remove(State(db): Db, ctx: TenantContext, Path(id): Path<Uuid>) -> tenancy::Result<()> {
    Note::delete(&db.scope(&ctx), id).await?.or_not_found()
}

/// The routes, and the data plane, with which the test adds a row for each tenant.
async fn app() -> Result<(Router, TenantDb<Sqlite>, TenantDirectory), Failure> {
    let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = one.connect("sqlite::memory:").await?;
    let table =
        "CREATE TABLE notes (tenant_id BLOB, id BLOB, text TEXT NOT NULL, PRIMARY KEY (tenant_id, id))";
    sqlx::query(table).execute(&pool).await?;
    let db = TenantDb::from_pool(pool).build().await?;
    let store = Arc::new(MemoryStore::new());
    for name in ["acme", "globex"] {
        store.insert(NewTenant::new(Slug::parse(name)?, name, "free").status(TenantStatus::Active)).await?;
    }
    let catalog = Catalog::from_toml("version = 1\n[features]\n[plans.free]\nfeatures = {}")?;
    let directory = TenantDirectory::new(store, Arc::new(catalog));
    // Your application has credentials here. A header keeps this file short, so its routes are open to anybody.
    let header = HeaderSource::new("x-tenant", TrustedPeers::new(["127.0.0.1/32"])?)?;
    let tenants =
        TenantLayer::allow_unauthenticated(Arc::new(Resolver::new(directory.clone()).source(header)));
    let one = get(read).put(write).delete(remove);
    let routes = Router::new().route("/notes", get(list)).route("/notes/{id}", one).layer(tenants);
    Ok((routes.with_state(db.clone()), db, directory))
}

async fn send(app: &Router, tenant: &str, method: Method, path: &str) -> (StatusCode, String) {
    let peer = PeerAddr(([127, 0, 0, 1], 1).into());
    let request = Request::builder().method(method).uri(path).header("x-tenant", tenant).extension(peer);
    let response = app.clone().oneshot(request.body(Body::from("stolen")).unwrap()).await.unwrap();
    let (status, body) = (response.status(), to_bytes(response.into_body(), 1 << 20).await.unwrap());
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Each tenant sends every request for a row of the other one, and for one that does not exist. The answers must be
/// equal, and the row unchanged.
async fn attack() -> Result<(), Failure> {
    let (app, db, directory) = app().await?;
    let mut ids = Vec::new();
    for name in ["acme", "globex"] {
        let ctx =
            directory.context_by_slug(&Slug::parse(name)?, tenancy::context::Actor::system("test")).await?;
        ids.push(Uuid::now_v7());
        Note::insert(&db.scope(&ctx), &Note { id: *ids.last().unwrap(), text: format!("secret of {name}") })
            .await?;
    }
    for (attacker, victim, id) in [("acme", "globex", ids[1]), ("globex", "acme", ids[0])] {
        let before = send(&app, victim, Method::GET, "/notes").await;
        assert!(
            before.1.contains(&format!("secret of {victim}")),
            "the test sees the row that it attacks: {before:?}"
        );
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let foreign = send(&app, attacker, method.clone(), &format!("/notes/{id}")).await;
            let missing = send(&app, attacker, method.clone(), &format!("/notes/{}", Uuid::now_v7())).await;
            println!("{attacker} {method} /notes/{id}: {}", foreign.0);
            assert_eq!(foreign.0, StatusCode::NOT_FOUND);
            assert_eq!(foreign, missing, "{method} distinguishes a foreign row from a missing one");
        }
        let listed = send(&app, attacker, Method::GET, "/notes").await.1;
        assert!(!listed.contains(&id.to_string()) && !listed.contains(victim), "{listed}");
        assert_eq!(before, send(&app, victim, Method::GET, "/notes").await, "the row is unchanged");
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    attack().await
}

#[tokio::test]
async fn a_foreign_row_looks_like_a_missing_one() {
    attack().await.unwrap();
}
