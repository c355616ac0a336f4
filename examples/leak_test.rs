//! A test that an application can copy: two tenants, every route, and each tenant requests the other one's rows.
//!
//! `cargo test --example leak_test` runs it on SQLite in memory. `docs/how-to/test-for-leaks.md` explains the parts.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Json, Router, body::to_bytes, http::Request, routing::get};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::resolve::{HeaderSource, Resolver, TrustedPeers};
use tenancy::scope::{select::PageRequest, sqlite_in_memory};
use tenancy::web::{PeerAddr, TenantLayer};
use tenancy::{Error, ErrorKind, TenantContext, TenantDb, TenantScoped};
use tenancy::{plan::Catalog, store::MemoryStore, tenant::NewTenant};

const TABLE: &str = "CREATE TABLE notes (tenant_id BLOB, id INTEGER, text TEXT, PRIMARY KEY (tenant_id, id))";

#[derive(TenantScoped, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
#[tenant(table = "notes")]
struct Note {
    #[tenant(id)]
    id: i64,
    text: String,
}

type Db = State<TenantDb<sqlx::Sqlite>>;

async fn list(State(db): Db, ctx: TenantContext) -> tenancy::Result<Json<Vec<Note>>> {
    Ok(Json(Note::list(&db.scope(&ctx), PageRequest::first(100)).await?.items))
}

async fn read(State(db): Db, ctx: TenantContext, Path(id): Path<i64>) -> tenancy::Result<Json<Note>> {
    let note = Note::find(&db.scope(&ctx), id).await?;
    note.map(Json).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such note"))
}

async fn write(State(db): Db, ctx: TenantContext, Path(id): Path<i64>, text: String) -> tenancy::Result<()> {
    Note::update(&db.scope(&ctx), &Note { id, text }).await?.or_not_found()
}

async fn remove(State(db): Db, ctx: TenantContext, Path(id): Path<i64>) -> tenancy::Result<()> {
    Note::delete(&db.scope(&ctx), id).await?.or_not_found()
}

/// The routes. Note 1 belongs to acme, and note 2 to globex.
async fn app() -> tenancy::Result<Router> {
    let db = TenantDb::from_pool(sqlite_in_memory(TABLE).await?).build().await?;
    let plans = Catalog::from_toml("version = 1\n[plans.free]")?;
    let directory = TenantDirectory::new(Arc::new(MemoryStore::new()), plans);
    for (id, name) in [(1, "acme"), (2, "globex")] {
        let tenant = directory.store().insert(NewTenant::active(name, "free")?).await?;
        let ctx = directory.context(tenant.id(), Actor::system("test")).await?;
        Note::insert(&db.scope(&ctx), &Note { id, text: format!("secret of {name}") }).await?;
    }
    // Your application has credentials here. A header keeps this file short, so its routes are open to anybody.
    let header = HeaderSource::new("x-tenant", TrustedPeers::new(["127.0.0.1/32"])?)?;
    let tenants = TenantLayer::allow_unauthenticated(Resolver::new(directory).source(header));
    let note = get(read).put(write).delete(remove);
    let routes = Router::new().route("/notes", get(list)).route("/notes/{id}", note).layer(tenants);
    Ok(routes.with_state(db))
}

/// For another tenant's row and for a row that does not exist, the responses are equal. The row is unchanged.
#[tokio::main(flavor = "current_thread")]
async fn main() -> tenancy::Result<()> {
    let app = app().await?;
    let send = async |tenant: &str, method: &str, path: &str| {
        let peer = PeerAddr(([127, 0, 0, 1], 1).into());
        let request = Request::builder().method(method).uri(path).header("x-tenant", tenant).extension(peer);
        let request = request.body("stolen".to_owned()).unwrap();
        let Ok(response) = tower::ServiceExt::oneshot(app.clone(), request).await;
        let (status, body) = (response.status(), to_bytes(response.into_body(), 1 << 20).await.unwrap());
        (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    };
    for (attacker, victim, id) in [("acme", "globex", 2), ("globex", "acme", 1)] {
        let before = send(victim, "GET", "/notes").await;
        assert!(before.1.contains(&format!("secret of {victim}")), "the owner reads the row: {before:?}");
        for method in ["GET", "PUT", "DELETE"] {
            let foreign = send(attacker, method, &format!("/notes/{id}")).await;
            let missing = send(attacker, method, "/notes/3").await;
            assert_eq!(foreign.0, 404, "{method}");
            assert_eq!(foreign, missing, "{method} distinguishes a foreign row from a missing one");
        }
        let listed = send(attacker, "GET", "/notes").await;
        assert!(listed.0 == 200 && !listed.1.contains(victim), "{listed:?}");
        assert_eq!(before, send(victim, "GET", "/notes").await, "the row is unchanged");
    }
    Ok(())
}

#[test]
fn a_foreign_row_looks_like_a_missing_one() {
    main().unwrap();
}
