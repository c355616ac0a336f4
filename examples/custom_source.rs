//! A source of your own, for `Authorization: Token …`: `cargo run --example custom_source`, then the command that it prints.
//!
//! `JwtSource` rejects every other content of `Authorization`. Beside it, read a header of your own.

use std::{collections::HashMap, sync::Arc};

use axum::{Router, routing::get};
use sha2::{Digest, Sha256};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::resolve::{Candidate, HeaderField, RequestView, Resolver, Source, SourceOutcome};
use tenancy::tenant::{NewTenant, TenantId, TenantStore};
use tenancy::{Error, ErrorKind, TenantContext, plan::Catalog, store::MemoryStore, web::TenantLayer};

/// The tokens, by their hash: who leaks the table leaks no token. In an application, a table of the database.
#[derive(Debug, Clone)]
struct TokenSource(Arc<HashMap<[u8; 32], (TenantId, &'static str)>>);

impl Source for TokenSource {
    /// A malformed, repeated or unknown token is `Invalid`. After `Absent` another source decides alone.
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let token = match request.header("authorization") {
            HeaderField::Absent => return SourceOutcome::Absent,
            HeaderField::Once(value) => value.strip_prefix(b"Token "),
            HeaderField::Repeated => None,
        };
        let Some(token) = token else { return invalid() };
        let (tokens, hash) = (self.0.clone(), <[u8; 32]>::from(Sha256::digest(token)));
        SourceOutcome::Pending(Box::pin(async move {
            // In an application an awaited query, whose error is `Invalid` too: 503, and never another tenant.
            let Some((tenant, user)) = tokens.get(&hash) else { return invalid() };
            SourceOutcome::Verified { candidate: Candidate::Id(tenant.clone()), actor: Actor::user(*user) }
        }))
    }

    /// Responses depend on this header, so a shared cache has to compare it.
    fn vary(&self) -> Option<&str> {
        Some("authorization")
    }
}

fn invalid() -> SourceOutcome {
    SourceOutcome::Invalid(Error::new(ErrorKind::CredentialInvalid, "the credential is not valid"))
}

async fn whoami(ctx: TenantContext) -> String {
    format!("{} at {}\n", ctx.actor(), ctx.tenant().slug())
}

async fn app() -> tenancy::Result<Router> {
    let (store, mut tokens) = (Arc::new(MemoryStore::new()), HashMap::new());
    for (name, token, user) in [("acme", "s3cr3t", "ada"), ("globex", "pa55word", "bob")] {
        let tenant = store.insert(NewTenant::active(name, "free")?).await?;
        tokens.insert(Sha256::digest(token).into(), (tenant.id().clone(), user));
    }
    let directory = TenantDirectory::new(store, Catalog::from_toml("version = 1\n[plans.free]")?);
    let resolver = Resolver::new(directory).source(TokenSource(Arc::new(tokens)));
    Ok(Router::new().route("/", get(whoami)).route_layer(TenantLayer::new(resolver)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("curl -H 'Authorization: Token s3cr3t' localhost:3000/");
    Ok(axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app().await?).await?)
}

#[tokio::test]
async fn a_known_token_is_accepted_and_no_other() {
    let app = app().await.unwrap();
    let send = async |headers: &[&str]| {
        let request = headers
            .iter()
            .fold(axum::http::Request::get("/"), |it, value| it.header("authorization", *value));
        let request = request.body(String::new()).unwrap();
        let response = tower::ServiceExt::oneshot(app.clone(), request).await.unwrap();
        let (status, body) = (response.status(), axum::body::to_bytes(response.into_body(), 1000).await);
        (status.as_u16(), String::from_utf8(body.unwrap().to_vec()).unwrap())
    };
    assert_eq!(send(&["Token s3cr3t"]).await, (200, "user:ada at acme\n".into()));
    assert_eq!(send(&["Token pa55word"]).await, (200, "user:bob at globex\n".into()));
    for rejected in [&["Token another"][..], &["Bearer s3cr3t"], &["Token s3cr3t", "Token s3cr3t"]] {
        assert_eq!(send(rejected).await.0, 401);
    }
    assert_eq!(send(&[]).await.0, 400, "nothing names a tenant");
}
