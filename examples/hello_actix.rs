//! Two tenants behind actix-web, on SQLite in memory: `cargo run --example hello_actix`, then the commands that it prints.
//!
//! A token proves the tenant, and no handler names one. It is signed here, as a login page would do it.

use std::sync::Arc;

use actix_web::web::{Data, Json, ServiceConfig, get, post, scope};
use actix_web::{App, HttpServer};
use jsonwebtoken::{EncodingKey, Header};
use tenancy::clock::{Clock, SystemClock};
use tenancy::resolve::{JwtSource, Resolver};
use tenancy::scope::{select::PageRequest, sqlite_in_memory};
use tenancy::tenant::{NewTenant, TenantId, TenantStore};
use tenancy::{TenantContext, TenantDb, TenantScoped, context::TenantDirectory, plan::Catalog};
use tenancy::{store::MemoryStore, web::TenantMiddleware};

const TABLE: &str = "CREATE TABLE notes (tenant_id BLOB, id INTEGER, text TEXT, PRIMARY KEY (tenant_id, id))";
const SECRET: &[u8] = b"at least thirty-two random bytes";

#[derive(TenantScoped, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
#[tenant(table = "notes")]
struct Note {
    #[tenant(id)]
    id: i64,
    text: String,
}

type Db = Data<TenantDb<sqlx::Sqlite>>;

async fn add(db: Db, ctx: TenantContext, note: Json<Note>) -> tenancy::Result<&'static str> {
    Note::insert(&db.scope(&ctx), &note).await.map(|()| "added")
}

async fn list(db: Db, ctx: TenantContext) -> tenancy::Result<Json<Vec<Note>>> {
    Ok(Json(Note::list(&db.scope(&ctx), PageRequest::first(100)).await?.items))
}

/// The routes, and a token for each tenant.
async fn app() -> tenancy::Result<(impl FnOnce(&mut ServiceConfig) + Clone + Send, [String; 2])> {
    let store = Arc::new(MemoryStore::new());
    let acme = store.insert(NewTenant::active("acme", "free")?).await?;
    let globex = store.insert(NewTenant::active("globex", "free")?).await?;
    let source = JwtSource::builder().issuer("hello").audience("hello").hs256(SECRET).build()?;
    let directory = TenantDirectory::new(store, Catalog::from_toml("version = 1\n[plans.free]")?);
    let tenants = TenantMiddleware::new(Resolver::new(directory).source(source));
    let db = Data::new(TenantDb::from_pool(sqlite_in_memory(TABLE).await?).build().await?);
    let routes = move |config: &mut ServiceConfig| {
        let notes = scope("/notes").wrap(tenants).route("", get().to(list)).route("", post().to(add));
        config.app_data(db).service(notes);
    };
    Ok((routes, [token(acme.id()), token(globex.id())]))
}

/// A token of one hour. The claim `tenant_id` holds the tenant's id; `sub` becomes the actor.
fn token(tenant: &TenantId) -> String {
    let end = SystemClock.now().seconds() + 3600;
    let claims =
        serde_json::json!({ "iss": "hello", "aud": "hello", "sub": "ada", "tenant_id": tenant, "exp": end });
    let key = EncodingKey::from_secret(SECRET).expect("it is not empty");
    jsonwebtoken::encode(&Header::default(), &claims, &key).expect("HS256")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (routes, tokens) = app().await?;
    for token in tokens {
        let curl = format!("curl localhost:3000/notes -H 'Authorization: Bearer {token}'");
        println!("{curl} --json '{{\"id\": 1, \"text\": \"hello\"}}'\n{curl}\n");
    }
    Ok(HttpServer::new(move || App::new().configure(routes.clone())).bind("127.0.0.1:3000")?.run().await?)
}

#[tokio::test]
async fn each_token_reaches_the_notes_of_its_tenant() {
    use actix_web::test::{TestRequest, call_and_read_body, call_service, init_service};
    let (routes, [acme, globex]) = app().await.unwrap();
    let service = init_service(App::new().configure(routes)).await;
    let bearer = |token: &str| ("Authorization", format!("Bearer {token}"));
    let note = serde_json::json!({ "id": 1, "text": "hello" });
    let request = TestRequest::post().uri("/notes").insert_header(bearer(&acme)).set_json(note).to_request();
    assert_eq!(call_and_read_body(&service, request).await, "added");
    for (token, notes) in [(acme, r#"[{"id":1,"text":"hello"}]"#), (globex, "[]")] {
        let request = TestRequest::get().uri("/notes").insert_header(bearer(&token)).to_request();
        assert_eq!(call_and_read_body(&service, request).await, notes);
    }
    let without_token = TestRequest::get().uri("/notes").to_request();
    assert_eq!(call_service(&service, without_token).await.status(), 400);
}
