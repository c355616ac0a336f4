//! A session identifies the user, the host names the tenant, a table of members permits it:
//! `cargo run --example session_members`, then the commands that it prints.
//!
//! One person can be a member of several tenants, with one login. A user who is removed is rejected at the next
//! request, although the session is still good.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use axum::{Router, routing::get};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::resolve::{HostSource, Identity, Membership, Resolver, SessionSource};
use tenancy::tenant::{NewTenant, TenantId, TenantStore};
use tenancy::{TenantContext, plan::Catalog, store::MemoryStore, web::TenantLayer};

/// In an application a query: `SELECT EXISTS (SELECT 1 FROM members WHERE tenant_id = $1 AND subject = $2)`.
#[derive(Debug, Clone, Default)]
struct Members(Arc<RwLock<HashSet<(TenantId, String)>>>);

#[async_trait]
impl Membership for Members {
    async fn is_member(&self, tenant: &TenantId, actor: &Actor) -> tenancy::Result<bool> {
        let Actor::User(subject) = actor else { return Ok(false) };
        Ok(self.0.read().unwrap().contains(&(tenant.clone(), subject.to_string())))
    }
}

async fn whoami(ctx: TenantContext) -> String {
    format!("{} at {}\n", ctx.actor(), ctx.tenant().slug())
}

/// The routes, the members, and the id of acme. Ada is a member of acme and initech, and not of globex.
async fn app() -> tenancy::Result<(Router, Members, TenantId)> {
    let (store, members) = (Arc::new(MemoryStore::new()), Members::default());
    let mut ids = HashMap::new();
    for name in ["acme", "globex", "initech"] {
        ids.insert(name, store.insert(NewTenant::active(name, "free")?).await?.id().clone());
    }
    for name in ["acme", "initech"] {
        members.0.write().unwrap().insert((ids[name].clone(), "ada".to_owned()));
    }

    // In an application the session's id is random, and the table holds its hash. `Ok(None)` is no session.
    let sessions = HashMap::from([("s3cr3t", "ada")]);
    let session = SessionSource::cookie("__Host-session", move |id: String| {
        let user = sessions.get(&*id).copied();
        async move { Ok(user.map(|user| Identity::new(Actor::user(user)))) }
    })?;
    let directory = TenantDirectory::new(store, Catalog::from_toml("version = 1\n[plans.free]")?);
    let resolver = Resolver::new(directory).source(session).source(HostSource::new(["localhost"])?);
    let tenants = TenantLayer::new(resolver.members(members.clone()));
    Ok((Router::new().route("/", get(whoami)).route_layer(tenants), members, ids["acme"].clone()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    for tenant in ["acme", "initech", "globex"] {
        println!("curl -i -b '__Host-session=s3cr3t' -H 'Host: {tenant}.localhost:3000' localhost:3000");
    }
    Ok(axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app().await?.0).await?)
}

#[tokio::test]
async fn a_member_is_served_and_no_other_user() {
    let (app, members, acme) = app().await.unwrap();
    let status = async |tenant: &str, session: &str| {
        let request = axum::http::Request::get("/").header("host", format!("{tenant}.localhost"));
        let request = request.header("cookie", format!("__Host-session={session}")).body(String::new());
        tower::ServiceExt::oneshot(app.clone(), request.unwrap()).await.unwrap().status().as_u16()
    };
    assert_eq!(status("acme", "s3cr3t").await, 200);
    assert_eq!(status("initech", "s3cr3t").await, 200);
    assert_eq!(status("globex", "s3cr3t").await, 404, "ada is no member");
    assert_eq!(status("acme", "another").await, 401);
    members.0.write().unwrap().remove(&(acme, "ada".to_owned()));
    assert_eq!(status("acme", "s3cr3t").await, 404, "ada was removed");
}
