//! Extractors check feature, limit and status alike behind axum and actix-web.

use std::sync::Arc;

use actix_web::body::{BoxBody, to_bytes};
use actix_web::dev::{Extensions, Service, ServiceRequest, ServiceResponse};
use actix_web::error::ErrorImATeapot;
use actix_web::http::header;
use actix_web::middleware::{Next, from_fn};
use actix_web::test::TestRequest;
use actix_web::web::{scope, to};
use actix_web::{HttpMessage, Responder};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use serde_json::{Value, json};
use tenancy::clock::Timestamp;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::{Catalog, Flag};
use tenancy::resolve::{HeaderSource, HostSource, OwnedRequest, Resolver, TlsInfo, TrustedPeers};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, Suspension, TenantStatus, TenantStore};
use tenancy::web::{FeatureKey, PeerAddr, RequireActive, RequireFeature, TenantLayer, TenantMiddleware};
use tenancy::{Error, ErrorKind, TenantContext};
use tower::ServiceExt;

use crate::fixture::{PROXY, UNTRUSTED, bearer, tokens};

enum Export {}

impl FeatureKey for Export {
    const FLAG: Flag = Flag::new("export");
}

/// A feature that the catalog does not declare.
enum Misspelt {}

impl FeatureKey for Misspelt {
    const FLAG: Flag = Flag::new("exprot");
}

/// A feature that is a gauge.
enum Seats {}

impl FeatureKey for Seats {
    const FLAG: Flag = Flag::new("seats");
}

const CATALOG: &str = r#"
version = 1
upgrade_url = "/upgrade"
[features]
export = { kind = "flag" }
seats  = { kind = "gauge", unit = "seats" }
[plans.free]
features = { export = false, seats = 1 }
[plans.pro]
features = { export = true, seats = 9 }
"#;

async fn export(ctx: RequireFeature<Export>) -> String {
    format!("exported {}", ctx.tenant().slug())
}

async fn misspelt(ctx: RequireFeature<Misspelt>) -> String {
    ctx.into_context().tenant().slug().to_string()
}

async fn seats(ctx: RequireFeature<Seats>) -> String {
    ctx.into_context().tenant().slug().to_string()
}

async fn start(ctx: RequireActive) -> String {
    format!("started {}", ctx.into_context().tenant().slug())
}

async fn open(ctx: TenantContext) -> String {
    format!("open {}", ctx.tenant().slug())
}

/// A page with an optional login.
async fn front(ctx: TenantContext) -> String {
    match ctx.actor() {
        Actor::User(user) => format!("{}: hello {user}", ctx.tenant().slug()),
        _ => format!("{}: log in", ctx.tenant().slug()),
    }
}

/// A middleware that returns an error.
async fn broken(_: ServiceRequest, _: Next<BoxBody>) -> Result<ServiceResponse, actix_web::Error> {
    Err(ErrorImATeapot("broken"))
}

async fn missing() -> tenancy::Result<String> {
    Err(Error::new(ErrorKind::NotFound, "no such order"))
}

async fn logo() -> impl Responder {
    "logo".customize().insert_header((header::CACHE_CONTROL, "public, max-age=60"))
}

struct Fixture {
    store: Arc<MemoryStore>,
    resolver: Arc<Resolver>,
}

async fn seeded() -> Fixture {
    let store = Arc::new(MemoryStore::new());
    for (slug, plan, status) in [
        ("acme", "free", TenantStatus::Active),
        ("globex", "pro", TenantStatus::Trialing),
        ("hooli", "pro", TenantStatus::PastDue),
    ] {
        store.insert(NewTenant::new(Slug::parse(slug).unwrap(), slug, plan).status(status)).await.unwrap();
    }
    let catalog = Arc::new(Catalog::from_toml(CATALOG).unwrap());
    let resolver = Resolver::new(TenantDirectory::new(store.clone(), catalog))
        .source(HostSource::new(["example.com"]).unwrap().require_sni_match())
        .source(HeaderSource::new("x-tenant-id", TrustedPeers::new(["10.0.0.0/8"]).unwrap()).unwrap())
        .source(tokens());
    Fixture { store, resolver: Arc::new(resolver) }
}

impl Fixture {
    async fn token(&self, slug: &str) -> String {
        bearer(&self.store.by_slug(&Slug::parse(slug).unwrap()).await.unwrap().unwrap())
    }

    /// Status and body of both frameworks, which must be equal.
    async fn ask(&self, path: &str, host: &str, token: Option<String>) -> (u16, String) {
        let axum = self.ask_axum(path, host, token.clone()).await;
        let actix = self.ask_actix(path, host, token).await;
        assert_eq!(axum, actix, "{path} {host}");
        axum
    }

    async fn ask_axum(&self, path: &str, host: &str, token: Option<String>) -> (u16, String) {
        let app = Router::new()
            .route("/export", get(export))
            .route("/misspelt", get(misspelt))
            .route("/seats", get(seats))
            .route("/start", get(start))
            .route("/open", get(open))
            .route("/front", get(front))
            .route_layer(TenantLayer::allow_unauthenticated(self.resolver.clone()))
            .route("/forgotten/export", get(export))
            .route("/forgotten/start", get(start));
        let mut request = Request::get(path).header("host", host);
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn ask_actix(&self, path: &str, host: &str, token: Option<String>) -> (u16, String) {
        let mut request = TestRequest::get().uri(path).insert_header((header::HOST, host));
        if let Some(token) = token {
            request = request.insert_header((header::AUTHORIZATION, token));
        }
        let (status, _, body) = self.send(request).await;
        (status, body)
    }

    async fn send(&self, request: TestRequest) -> (u16, header::HeaderMap, String) {
        self.send_with(request, |_| ()).await
    }

    async fn send_with(
        &self,
        request: TestRequest,
        prepare: impl FnOnce(&mut Extensions),
    ) -> (u16, header::HeaderMap, String) {
        let request = request.to_request();
        prepare(&mut request.extensions_mut());
        let tenants = TenantMiddleware::allow_unauthenticated(self.resolver.clone());
        let app = actix_web::App::new()
            .service(scope("/forgotten").route("/export", to(export)).route("/start", to(start)))
            .service(scope("/broken").wrap(from_fn(broken)).wrap(tenants.clone()))
            .service(
                scope("")
                    .wrap(tenants)
                    .route("/export", to(export))
                    .route("/misspelt", to(misspelt))
                    .route("/seats", to(seats))
                    .route("/start", to(start))
                    .route("/open", to(open))
                    .route("/front", to(front))
                    .route("/logo", to(logo))
                    .route("/missing", to(missing)),
            );
        let app = actix_web::test::init_service(app).await;
        let answer = match Service::call(&app, request).await {
            Ok(response) => response.into_parts().1.map_into_boxed_body(),
            Err(error) => error.error_response(),
        };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = to_bytes(answer.into_body()).await.unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }
}

fn problem(answer: &(u16, String)) -> (u16, Value) {
    (answer.0, serde_json::from_str(&answer.1).unwrap())
}

fn code(answer: &(u16, String)) -> (u16, String) {
    let (status, problem) = problem(answer);
    (status, problem["type"].as_str().unwrap().replace("urn:problem-type:tenancy:", ""))
}

/// Without a credential the page is anonymous; a credential that is not valid, or is another tenant's, is never that.
#[tokio::test]
async fn a_page_with_an_optional_login_knows_who_asks() {
    let fixture = seeded().await;
    for (own, other) in [("acme", "globex"), ("globex", "acme")] {
        let host = format!("{own}.example.com");
        let anonymous = fixture.ask("/front", &host, None).await;
        assert_eq!(anonymous, (200, format!("{own}: log in")));
        let (status, page) = fixture.ask("/front", &host, Some(fixture.token(own).await)).await;
        assert!(status == 200 && page.starts_with(&format!("{own}: hello ")), "{page}");
        let broken = fixture.ask("/front", &host, Some("Bearer not.a.token".to_owned())).await;
        assert_eq!(code(&broken), (401, "credential-invalid".to_owned()));
        let foreign = fixture.ask("/front", &host, Some(fixture.token(other).await)).await;
        assert_eq!(code(&foreign).1, "tenant-conflict");
    }
}

/// Whoever has a credential of the tenant reads the message of its operator; nobody else learns that it exists.
#[tokio::test]
async fn a_suspended_tenant_shows_the_message_of_its_operator() {
    let fixture = seeded().await;
    for (own, other) in [("acme", "globex"), ("globex", "acme")] {
        let token = fixture.token(own).await;
        let open = fixture.store.by_slug(&Slug::parse(own).unwrap()).await.unwrap().unwrap();
        let suspension = Suspension::new("moves").unwrap().message("Back at <14:00> UTC.").unwrap();
        let suspended = open.suspend(suspension, Timestamp::from_seconds(0)).unwrap();
        let suspended = fixture.store.update(&suspended).await.unwrap();
        let refused = fixture.ask("/front", "example.com", Some(token.clone())).await;
        assert_eq!(code(&refused), (403, "tenant-suspended".to_owned()));
        let detail = problem(&refused).1["detail"].as_str().unwrap().to_owned();
        assert_eq!(detail, "this tenant is suspended: Back at <14:00> UTC.");
        let anonymous = fixture.ask("/front", &format!("{own}.example.com"), None).await;
        assert_eq!(anonymous, fixture.ask("/front", "nobody.example.com", None).await);
        let foreign = fixture.token(other).await;
        let foreign = fixture.ask("/front", &format!("{own}.example.com"), Some(foreign)).await;
        assert!(code(&foreign).1 == "tenant-conflict" && !foreign.1.contains("14:00"), "{}", foreign.1);
        assert_eq!(fixture.ask("/front", &format!("{other}.example.com"), None).await.0, 200);
        fixture.store.update(&suspended.resume().unwrap()).await.unwrap();
        assert_eq!(fixture.ask("/front", "example.com", Some(token)).await.0, 200);
    }
}

#[tokio::test]
async fn a_flag_of_the_plan_opens_a_handler() {
    let fixture = seeded().await;
    let of = async |slug: &str, path: &str| {
        fixture.ask(path, "example.com", Some(fixture.token(slug).await)).await
    };
    assert_eq!(of("globex", "/export").await, (200, "exported globex".to_owned()));
    assert_eq!(of("hooli", "/export").await, (200, "exported hooli".to_owned()));
    let refused = problem(&of("acme", "/export").await);
    assert_eq!(
        refused,
        (
            403,
            json!({
                "type": "urn:problem-type:tenancy:feature-not-in-plan", "title": "Not in the plan", "status": 403,
                "detail": "the plan `free` does not include `export`", "feature": "export", "plan": "free",
                "upgrade_url": "/upgrade",
            })
        )
    );
    for slug in ["acme", "globex"] {
        assert_eq!(code(&of(slug, "/misspelt").await), (500, "unknown-feature".to_owned()));
        assert_eq!(code(&of(slug, "/seats").await), (500, "unknown-feature".to_owned()));
        for path in ["/forgotten/export", "/forgotten/start"] {
            let forgotten = of(slug, path).await;
            assert_eq!(code(&forgotten), (500, "misconfigured".to_owned()));
            assert!(!forgotten.1.contains("Layer") && !forgotten.1.contains("middleware"), "{forgotten:?}");
        }
    }
}

#[tokio::test]
async fn an_overdue_payment_closes_a_handler_with_its_own_error() {
    let fixture = seeded().await;
    let of = async |slug: &str, path: &str| {
        fixture.ask(path, "example.com", Some(fixture.token(slug).await)).await
    };
    for slug in ["acme", "globex"] {
        assert_eq!(of(slug, "/start").await, (200, format!("started {slug}")));
        let selected = fixture.ask("/start", &format!("{slug}.example.com"), None).await;
        assert_eq!(selected, (200, format!("started {slug}")));
    }
    assert_eq!(of("hooli", "/open").await, (200, "open hooli".to_owned()));
    let refused = of("hooli", "/start").await;
    assert_eq!(code(&refused), (402, "payment-overdue".to_owned()));
    assert!(refused.1.contains("settle it at /upgrade"), "{refused:?}");
    // For an unauthenticated caller the tenant does not exist.
    let outsider = fixture.ask("/start", "hooli.example.com", None).await;
    assert_eq!(code(&outsider), (404, "tenant-unknown".to_owned()));
    assert_eq!(outsider, fixture.ask("/start", "nobody.example.com", None).await);
}

fn text(headers: &header::HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).unwrap().to_str().unwrap()
}

fn at(path: &str) -> TestRequest {
    TestRequest::get().uri(path).insert_header((header::HOST, "acme.example.com"))
}

#[tokio::test]
async fn actix_web_keeps_tenant_data_out_of_shared_caches() {
    let fixture = seeded().await;
    for (path, status) in
        [("/open", 200), ("/export", 403), ("/missing", 404), ("/nowhere", 404), ("/broken/x", 418)]
    {
        let (found, headers, body) = fixture.send(at(path)).await;
        assert_eq!(
            (found, text(&headers, header::CACHE_CONTROL)),
            (status, "private, no-store"),
            "{path} {body}"
        );
        assert_eq!(text(&headers, header::VARY), "host, x-tenant-id, authorization", "{path}");
    }
    let (_, headers, _) = fixture.send(at("/missing")).await;
    assert_eq!(text(&headers, header::CONTENT_TYPE), "application/problem+json");
    let (_, headers, _) = fixture.send(at("/logo")).await;
    assert_eq!(text(&headers, header::CACHE_CONTROL), "public, max-age=60");
    let (_, headers, _) = fixture.send(at("/forgotten/start")).await;
    assert!(!headers.contains_key(header::VARY));
}

#[tokio::test]
async fn actix_web_uses_the_connection_data_that_the_program_provides() {
    let fixture = seeded().await;
    let named = |peer: &str| {
        let request = TestRequest::get().uri("/open").insert_header((header::HOST, "example.com"));
        request.insert_header(("x-tenant-id", "acme")).peer_addr(peer.parse().unwrap())
    };
    assert_eq!(fixture.send(named(PROXY)).await.2, "open acme");
    assert_eq!(fixture.send(named(UNTRUSTED)).await.0, 400);
    // With a peer address that the listener provides.
    for (socket, said, status) in [(UNTRUSTED, PROXY, 200), (PROXY, UNTRUSTED, 400)] {
        let prepare = |extensions: &mut Extensions| {
            extensions.insert(PeerAddr(said.parse().unwrap()));
        };
        assert_eq!(fixture.send_with(named(socket), prepare).await.0, status, "{said}");
    }
    for (name, status) in [("acme.example.com", 200), ("globex.example.com", 421)] {
        let prepare =
            |extensions: &mut Extensions| drop(extensions.insert(TlsInfo::new().with_server_name(name)));
        assert_eq!(fixture.send_with(at("/open"), prepare).await.0, status, "{name}");
    }
}

#[tokio::test]
async fn actix_web_replaces_a_context_from_elsewhere() {
    let fixture = seeded().await;
    let view = OwnedRequest::get("/").with_header("host", "globex.example.com");
    let foreign = fixture.resolver.resolve_unauthenticated(&view).await.unwrap();
    let prepare = |extensions: &mut Extensions| drop(extensions.insert(foreign));
    assert_eq!(fixture.send_with(at("/open"), prepare).await.2, "open acme");
}
