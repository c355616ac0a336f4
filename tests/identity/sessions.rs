//! A session or a signed gateway header reaches only tenants of its user, through the whole middleware.
//!
//! Of two tenants, ada is a member of acme, bob of globex, and eve of neither.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{Method, Request, StatusCode};
use tenancy::audit::{AuditEvent, MemorySink};
use tenancy::clock::{ManualClock, Timestamp};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::resolve::{
    HeaderKeys, HostSource, Identity, Membership, Resolver, SessionSource, SignedHeaderSource, SignedTenant,
};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStatus, TenantStore};
use tenancy::{Error, ErrorKind};

use crate::fixture::{self, Answer, NOW, get_from};

/// The members of each tenant; `None` while the database is down.
#[derive(Debug, Clone)]
struct Table(Arc<Mutex<Option<Rows>>>);

type Rows = Vec<(&'static str, TenantId)>;

#[async_trait]
impl Membership for Table {
    async fn is_member(&self, tenant: &TenantId, actor: &Actor) -> tenancy::Result<bool> {
        let table = self.0.lock().unwrap();
        let rows = table.as_ref().ok_or_else(|| Error::new(ErrorKind::StoreUnavailable, "down"))?;
        Ok(rows.iter().any(|(name, theirs)| *actor == Actor::user(*name) && theirs == tenant))
    }
}

struct Fixture {
    acme: Arc<Tenant>,
    globex: Arc<Tenant>,
    members: Table,
    sink: Arc<MemorySink>,
    app: axum::Router,
}

fn keys() -> HeaderKeys {
    HeaderKeys::new("2026-11", fixture::SECRET).unwrap()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_seconds(NOW)))
}

async fn seeded() -> Fixture {
    let store = Arc::new(MemoryStore::new());
    let tenant = async |slug: &str| {
        let new = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").status(TenantStatus::Active);
        store.insert(new).await.unwrap()
    };
    let (acme, globex) = (tenant("acme").await, tenant("globex").await);
    let members = vec![("ada", acme.id().clone()), ("bob", globex.id().clone())];
    let members = Table(Arc::new(Mutex::new(Some(members))));
    let (sink, at_acme) = (Arc::new(MemorySink::new()), acme.id().clone());
    let sessions = SessionSource::cookie("__Host-sid", move |id: String| {
        let identity = match id.as_str() {
            "of-ada" | "of-bob" | "of-eve" => Some(Identity::new(Actor::user(id[3..].to_owned()))),
            // A session that names its tenant.
            "of-ada-at-acme" => Some(Identity::new(Actor::user("ada")).tenant(at_acme.clone())),
            _ => None,
        };
        async move {
            match id.as_str() {
                "down" => Err(Error::new(ErrorKind::StoreUnavailable, "the session store is down")),
                _ => Ok(identity),
            }
        }
    });
    let catalog =
        "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";
    let resolver = Resolver::new(TenantDirectory::new(store, Arc::new(Catalog::from_toml(catalog).unwrap())))
        .source(HostSource::new(["example.com"]).unwrap())
        .source(sessions.unwrap())
        .source(SignedHeaderSource::new("x-signed", keys()).unwrap().with_clock(clock()))
        .members(members.clone())
        .audit_sink(sink.clone());
    Fixture { acme, globex, members, sink, app: fixture::app(Arc::new(resolver)) }
}

impl Fixture {
    async fn send(&self, request: Builder) -> Answer {
        fixture::send(&self.app, request.body(Body::empty()).unwrap()).await
    }

    /// Each tenant with its member, and the other tenant with its own.
    fn both_sides(&self) -> [(&Tenant, &str, &Tenant, &str); 2] {
        [(&self.acme, "ada", &self.globex, "bob"), (&self.globex, "bob", &self.acme, "ada")]
    }
}

fn at(tenant: &Tenant, path: &str) -> Builder {
    get_from(&format!("{}.example.com", tenant.slug()), path)
}

#[tokio::test]
async fn a_session_reaches_the_tenants_of_its_user_and_no_others() {
    let fixture = seeded().await;
    for (tenant, user, other, outsider) in fixture.both_sides() {
        let slug = tenant.slug();
        let mine = at(tenant, "/orders").header("cookie", format!("a=b; __Host-sid=of-{user}"));
        let answer = fixture.send(mine).await;
        assert_eq!(answer.body, format!("{slug} user:{user} session"));
        assert!(answer.headers["vary"].to_str().unwrap().contains("cookie"), "{answer:?}");

        // I88: another tenant and a missing one produce the same response.
        let theirs = at(other, "/orders").header("cookie", format!("__Host-sid=of-{user}"));
        let theirs = fixture.send(theirs).await;
        let nobodys =
            get_from("nobody.example.com", "/orders").header("cookie", format!("__Host-sid=of-{user}"));
        assert_eq!(theirs, fixture.send(nobodys).await);
        assert_eq!((theirs.status, theirs.code().as_str()), (StatusCode::NOT_FOUND, "tenant-unknown"));
        let eve = at(tenant, "/orders").header("cookie", "__Host-sid=of-eve");
        assert_eq!(fixture.send(eve).await, theirs);
        // The event is in the audit log of the requested tenant, and in no other.
        let told: Vec<AuditEvent> = fixture.sink.events();
        let here = told.iter().rfind(|event| event.tenant() == tenant.id()).unwrap();
        assert_eq!((here.actor(), here.details()["reason"].as_str()), (&Actor::user("eve"), "not a member"));
        assert!(
            !told.iter().any(|event| event.tenant() == tenant.id() && *event.actor() == Actor::user(user))
        );

        // On a public page of another tenant the user is anonymous.
        let visit = at(tenant, "/login").header("cookie", format!("__Host-sid=of-{outsider}"));
        assert_eq!(fixture.send(visit).await.body, format!("{slug} anonymous host"));

        // I40: without a valid session a caller reaches only the public pages.
        for cookie in [None, Some("__Host-sid=ended"), Some("other=1")] {
            let with = |request: Builder| match cookie {
                Some(cookie) => request.header("cookie", cookie),
                None => request,
            };
            assert_eq!(
                fixture.send(with(at(tenant, "/orders"))).await.code(),
                "credential-missing",
                "{cookie:?}"
            );
            let login = fixture.send(with(at(tenant, "/login"))).await;
            assert_eq!(login.body, format!("{slug} anonymous host"), "{cookie:?}");
        }
        // A request with two session cookies is rejected.
        let two =
            at(tenant, "/orders").header("cookie", format!("__Host-sid=of-{user}; __Host-sid=of-{user}"));
        assert_eq!(fixture.send(two).await.code(), "credential-invalid");
        let down = at(tenant, "/orders").header("cookie", "__Host-sid=down");
        assert_eq!(fixture.send(down).await.status, StatusCode::SERVICE_UNAVAILABLE, "I94");
    }
    // An authenticated user without any tenant hint gets an error.
    let nowhere = get_from("example.com", "/orders").header("cookie", "__Host-sid=of-ada");
    assert_eq!(fixture.send(nowhere).await.code(), "tenant-missing");
    // A session that names its tenant needs no host, and conflicts with the host of another tenant.
    let bound = |host: &str| get_from(host, "/orders").header("cookie", "__Host-sid=of-ada-at-acme");
    for host in ["example.com", "acme.example.com"] {
        assert_eq!(fixture.send(bound(host)).await.body, "acme user:ada session", "{host}");
    }
    assert_eq!(fixture.send(bound("globex.example.com")).await.code(), "tenant-conflict", "I38");
}

#[tokio::test]
async fn a_removed_member_is_rejected_although_the_session_is_valid() {
    let fixture = seeded().await;
    let ask = async |tenant: &Tenant, user: &str| {
        let request = at(tenant, "/orders").header("cookie", format!("__Host-sid=of-{user}"));
        fixture.send(request).await.status
    };
    assert_eq!(ask(&fixture.acme, "ada").await, StatusCode::OK);
    // I70: the member is removed.
    fixture.members.0.lock().unwrap().as_mut().unwrap().retain(|(user, _)| *user != "ada");
    assert_eq!(ask(&fixture.acme, "ada").await, StatusCode::NOT_FOUND, "I70");
    assert_eq!(ask(&fixture.globex, "bob").await, StatusCode::OK, "I70: and nobody else");
    // I94: while the members are unavailable, nobody is accepted.
    *fixture.members.0.lock().unwrap() = None;
    assert_eq!(ask(&fixture.globex, "bob").await, StatusCode::SERVICE_UNAVAILABLE, "I94");
}

#[tokio::test]
async fn a_signed_header_is_good_for_one_request_of_one_tenant() {
    let fixture = seeded().await;
    let sign = |service: &str, tenant: &Tenant, user: Option<&str>| {
        let call = SignedTenant::new(service, tenant.id(), "GET", "/orders").at(&*clock());
        user.into_iter().fold(call, SignedTenant::user).sign(&keys())
    };
    for (tenant, user, other, outsider) in fixture.both_sides() {
        let plain = |value: &str| get_from("example.com", "/orders").header("x-signed", value);
        let by_itself = sign("gateway", tenant, None);
        assert_eq!(
            fixture.send(plain(&by_itself)).await.body,
            format!("{} service:gateway header", tenant.slug())
        );
        // I81: on behalf of a user, a service reaches only what the user may reach.
        let delegated = sign("reports", tenant, Some(user));
        assert_eq!(
            fixture.send(plain(&delegated)).await.body,
            format!("{} user:{user} header", tenant.slug()),
            "I81"
        );
        let too_wide = sign("reports", tenant, Some(outsider));
        assert_eq!(fixture.send(plain(&too_wide)).await.code(), "tenant-unknown", "I81");
        // I37: a client cannot write the gateway's header, nor replay it for another request.
        assert_eq!(fixture.send(plain(&tenant.id().to_string())).await.code(), "credential-invalid", "I37");
        let replayed = get_from("example.com", "/t/x/orders").header("x-signed", &by_itself);
        assert_eq!(fixture.send(replayed).await.code(), "credential-invalid", "I37");
        let posted = plain(&by_itself).method(Method::POST);
        assert_eq!(fixture.send(posted).await.code(), "credential-invalid", "I37");
        let twice = plain(&by_itself).header("x-signed", &by_itself);
        assert_eq!(fixture.send(twice).await.code(), "credential-invalid", "I37");
        // I38: together with the host, or the session, of another tenant.
        let elsewhere = at(other, "/orders").header("x-signed", &by_itself);
        assert_eq!(fixture.send(elsewhere).await.code(), "tenant-conflict", "I38");
    }
    let request = Request::get("/orders").header("host", "example.com");
    let nobody =
        SignedTenant::new("gateway", &TenantId::random(), "GET", "/orders").at(&*clock()).sign(&keys());
    assert_eq!(fixture.send(request.header("x-signed", nobody)).await.code(), "tenant-unknown");
}
