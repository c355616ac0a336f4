//! Two tenants behind actix-web, on SQLite in memory: `cargo run --example hello_actix`, then the commands that it prints.
//!
//! A token proves the tenant, and no handler names one. It is signed here, as a login page would do it.
#![allow(clippy::print_stdout, reason = "the program prints what to try")]

use std::sync::Arc;

use actix_web::web::{Data, Json, ServiceConfig, get, post, scope};
use actix_web::{App, HttpServer};
use jsonwebtoken::{EncodingKey, Header};
use sqlx::sqlite::{Sqlite, SqlitePoolOptions};
use tenancy::clock::{Clock, SystemClock};
use tenancy::resolve::{JwtSource, Resolver};
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore};
use tenancy::{TenantContext, TenantDb, TenantScoped};
use tenancy::{
    context::TenantDirectory, plan::Catalog, scope::select::PageRequest, store::MemoryStore,
    web::TenantMiddleware,
};

const SECRET: &[u8] = b"at least thirty-two random bytes";

#[derive(TenantScoped, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
#[tenant(table = "notes")]
struct Note {
    #[tenant(id)]
    id: i64,
    text: String,
}

type Db = Data<TenantDb<Sqlite>>;

async fn add(db: Db, ctx: TenantContext, note: Json<Note>) -> tenancy::Result<&'static str> {
    Note::insert(&db.scope(&ctx), &note).await?;
    Ok("kept")
}

async fn list(db: Db, ctx: TenantContext) -> tenancy::Result<Json<Vec<Note>>> {
    Ok(Json(Note::list(&db.scope(&ctx), PageRequest::first(100)).await?.items))
}

/// The routes, and a token for each tenant.
async fn app()
-> Result<(impl FnOnce(&mut ServiceConfig) + Clone + Send, Vec<String>), Box<dyn std::error::Error>> {
    let plans = "version = 1\n[features]\n[plans.free]\nfeatures = {}";
    let (store, mut tokens) = (Arc::new(MemoryStore::new()), Vec::new());
    for name in ["acme", "globex"] {
        let tenant = NewTenant::new(Slug::parse(name)?, name, "free").status(TenantStatus::Active);
        tokens.push(token(store.insert(tenant).await?.id())?);
    }
    let source = JwtSource::builder().issuer("hello").audience("hello").hs256(SECRET).build()?;
    let directory = TenantDirectory::new(store, Arc::new(Catalog::from_toml(plans)?));
    let tenants = TenantMiddleware::new(Arc::new(Resolver::new(directory).source(source)));

    // One connection that is never closed, because the database in memory ends with it.
    let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = one.connect("sqlite::memory:").await?;
    let table =
        "CREATE TABLE notes (tenant_id BLOB, id INTEGER, text TEXT NOT NULL, PRIMARY KEY (tenant_id, id))";
    sqlx::query(table).execute(&pool).await?;
    let db = Data::new(TenantDb::from_pool(pool).build().await?);
    let routes = move |config: &mut ServiceConfig| {
        let notes = scope("/notes").wrap(tenants).route("", get().to(list)).route("", post().to(add));
        config.app_data(db).service(notes);
    };
    Ok((routes, tokens))
}

/// A token of one hour. The claim `tenant_id` holds the tenant's id; `sub` becomes the actor.
fn token(tenant: &TenantId) -> jsonwebtoken::errors::Result<String> {
    let end = SystemClock.now().seconds() + 3600;
    let claims =
        serde_json::json!({ "iss": "hello", "aud": "hello", "sub": "ada", "tenant_id": tenant, "exp": end });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (routes, tokens) = app().await?;
    for token in tokens {
        let curl = format!("curl -H 'Authorization: Bearer {token}' localhost:3000/notes");
        println!("{curl} --json '{{\"id\": 1, \"text\": \"hello\"}}'\n{curl}\n");
    }
    Ok(HttpServer::new(move || App::new().configure(routes.clone())).bind("127.0.0.1:3000")?.run().await?)
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_and_read_body, call_service, init_service};

    use super::*;

    #[tokio::test]
    async fn each_token_reaches_the_notes_of_its_tenant() {
        let (routes, tokens) = app().await.unwrap();
        let service = init_service(App::new().configure(routes)).await;
        let bearer = |n: usize| ("Authorization", format!("Bearer {}", tokens[n]));
        let note = Note { id: 1, text: "hello".to_owned() };
        let request = TestRequest::post().uri("/notes").insert_header(bearer(0)).set_json(&note).to_request();
        assert!(call_service(&service, request).await.status().is_success());
        for (n, notes) in [(0, r#"[{"id":1,"text":"hello"}]"#), (1, "[]")] {
            let request = TestRequest::get().uri("/notes").insert_header(bearer(n)).to_request();
            assert_eq!(call_and_read_body(&service, request).await, notes);
        }
        let nobody = TestRequest::get().uri("/notes").to_request();
        assert_eq!(call_service(&service, nobody).await.status(), 400, "nothing names a tenant");
    }
}
