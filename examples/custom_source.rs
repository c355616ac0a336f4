//! A source of your own, for `Authorization: Token …`: `cargo run --example custom_source`, then the command that it prints.
//!
//! `JwtSource` rejects every other content of `Authorization`. Beside it, read a header of your own.
#![allow(clippy::print_stdout, reason = "the program prints what to try")]

use std::collections::HashMap;
use std::sync::Arc;

use axum::{Router, routing::get};
use sha2::{Digest, Sha256};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::resolve::{Candidate, HeaderField, RequestView, Resolver, Source, SourceOutcome};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore};
use tenancy::web::TenantLayer;
use tenancy::{Error, ErrorKind, TenantContext};
use tokio::sync::RwLock;

type Hash = [u8; 32];

/// The tokens, by their hash: who leaks the table leaks no token. In an application, a table of the database.
#[derive(Debug, Clone)]
struct TokenSource(Arc<RwLock<HashMap<Hash, (TenantId, String)>>>);

impl TokenSource {
    async fn find(self, hash: Hash) -> tenancy::Result<Option<(TenantId, String)>> {
        Ok(self.0.read().await.get(&hash).cloned()) // a query
    }
}

impl Source for TokenSource {
    /// `Absent` only where the request does not use this source. What is malformed, repeated or unknown is `Invalid`:
    /// otherwise another source would decide alone.
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let token = match request.header("authorization") {
            HeaderField::Absent => return SourceOutcome::Absent,
            HeaderField::Once(value) => value.strip_prefix(b"Token "),
            HeaderField::Repeated => None,
        };
        let Some(token) = token else { return invalid() };
        let found = self.clone().find(Sha256::digest(token).into());
        SourceOutcome::Pending(Box::pin(async move {
            match found.await {
                Ok(Some((tenant, user))) => {
                    SourceOutcome::Verified { candidate: Candidate::Id(tenant), actor: Actor::user(user) }
                }
                Ok(None) => invalid(),
                Err(error) => SourceOutcome::Invalid(error), // 503, and never another tenant
            }
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
    let store = Arc::new(MemoryStore::new());
    let acme = NewTenant::new(Slug::parse("acme")?, "Acme", "free").status(TenantStatus::Active);
    let acme = store.insert(acme).await?;
    let tokens = HashMap::from([(Sha256::digest(b"s3cr3t").into(), (acme.id().clone(), "ada".to_owned()))]);
    let plans = Catalog::from_toml("version = 1\n[features]\n[plans.free]\nfeatures = {}")?;
    let directory = TenantDirectory::new(store, Arc::new(plans));
    let resolver = Resolver::new(directory).source(TokenSource(Arc::new(RwLock::new(tokens))));
    Ok(Router::new().route("/", get(whoami)).route_layer(TenantLayer::new(Arc::new(resolver))))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("curl -H 'Authorization: Token s3cr3t' localhost:3000/");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app().await?).await?)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_known_token_is_accepted_and_nothing_else() {
        let app = app().await.unwrap();
        let send = async |headers: &[&str]| {
            let request =
                headers.iter().fold(Request::get("/"), |it, value| it.header("authorization", *value));
            app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
        };
        assert_eq!(send(&["Token s3cr3t"]).await, StatusCode::OK);
        assert_eq!(send(&["Token another"]).await, StatusCode::UNAUTHORIZED);
        assert_eq!(send(&["Bearer s3cr3t"]).await, StatusCode::UNAUTHORIZED);
        assert_eq!(send(&["Token s3cr3t", "Token s3cr3t"]).await, StatusCode::UNAUTHORIZED);
        assert_eq!(send(&[]).await, StatusCode::BAD_REQUEST, "nothing names a tenant");
    }
}
