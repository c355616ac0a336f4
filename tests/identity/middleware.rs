//! The middleware puts the context into the request, or returns an error that no handler and no client can change.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, Version};
use tenancy::resolve::{RequestView, Source, SourceOutcome};
use tenancy::store::{CacheOptions, CachedStore, MemoryStore};
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStore};
use tenancy::web::TenantLayer;
use tenancy::{Error, ErrorKind, Result, TenantContext};
use tokio::sync::Notify;

use crate::fixture::{Fixture, app, bearer, get_from, resolver};

#[tokio::test]
async fn a_route_outside_the_layer_returns_500_without_a_reason() {
    let fixture = Fixture::new().await;
    let request = get_from("acme.example.com", "/forgotten").header("authorization", bearer(&fixture.acme));
    let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.code(), "misconfigured");
    assert!(!answer.body.contains("Layer"), "the client hears how the program is built: {}", answer.body);
}

#[tokio::test]
async fn a_context_from_elsewhere_is_replaced_or_taken_out() {
    let fixture = Fixture::new().await;
    let resolver = resolver(fixture.store.clone());
    let view = tenancy::resolve::OwnedRequest::get("/").with_header("host", "globex.example.com");
    let foreign = resolver.resolve_unauthenticated(&view).await.unwrap();
    let request = |host: &str| get_from(host, "/login").extension(foreign.clone());

    let answer = fixture.send(request("acme.example.com").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.body, "acme anonymous host");
    let answer = fixture.send(request("example.com").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.code(), "tenant-missing");
}

#[tokio::test]
async fn an_outer_public_layer_opens_no_inner_protected_route() {
    let fixture = Fixture::new().await;
    let resolver = Arc::new(resolver(fixture.store.clone()));
    let who = async |ctx: TenantContext| ctx.tenant().slug().to_string();
    let app = Router::new()
        .route("/", axum::routing::get(who))
        .layer(TenantLayer::new(resolver.clone()))
        .layer(TenantLayer::allow_unauthenticated(resolver));
    let fixture = Fixture { app, ..fixture };
    let answer = fixture.send(get_from("acme.example.com", "/").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.code(), "credential-missing");
    let request = get_from("acme.example.com", "/").header("authorization", bearer(&fixture.acme));
    assert_eq!(fixture.send(request.body(Body::empty()).unwrap()).await.body, "acme");
}

/// An error keeps its HTTP status, even if the request claims to be gRPC: `auth_request` of nginx reads the status.
#[tokio::test]
async fn no_client_turns_an_error_into_a_success() {
    let mut fixture = Fixture::new().await;
    let mut statuses = Vec::new();
    let grpc = Router::new()
        .route("/orders", axum::routing::any(async |_: TenantContext| "an order"))
        .layer(TenantLayer::new(Arc::new(resolver(fixture.store.clone()))).grpc());
    for app in [None, Some(grpc)] {
        fixture.app = app.unwrap_or(fixture.app);
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for method in ["GET", "POST"] {
                let request = Request::builder().version(version).method(method);
                let request =
                    request.uri("http://acme.example.com/orders").header("host", "acme.example.com");
                let request = request.header("content-type", "application/grpc").body(Body::empty()).unwrap();
                let answer = fixture.send(request).await;
                let grpc_status =
                    answer.headers.get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
                assert_eq!(grpc_status.is_none(), answer.status == StatusCode::UNAUTHORIZED);
                statuses.push((answer.status.as_u16(), grpc_status));
            }
        }
    }
    // Only one has status 200: a gRPC call, behind a layer that is configured for gRPC.
    let call = (200, Some("16".to_owned()));
    assert_eq!(statuses, [vec![(401, None); 7], vec![call]].concat());
}

/// A custom source with an invalid header name makes `Vary` `*`, which covers every other source.
#[tokio::test]
async fn a_vary_that_cannot_be_written_becomes_a_star() {
    #[derive(Debug)]
    struct Odd;

    impl Source for Odd {
        fn read(&self, _: &dyn RequestView) -> SourceOutcome {
            SourceOutcome::Absent
        }

        fn vary(&self) -> Option<&str> {
            Some("x-odd\n")
        }
    }

    let mut fixture = Fixture::new().await;
    fixture.app = app(Arc::new(resolver(fixture.store.clone()).source(Odd)));
    for (tenant, _) in fixture.both_sides() {
        let host = format!("{}.example.com", tenant.slug());
        let answer = fixture.send(get_from(&host, "/login").body(Body::empty()).unwrap()).await;
        assert_eq!(
            (answer.status, &answer.headers["vary"]),
            (StatusCode::OK, &axum::http::HeaderValue::from_static("*"))
        );
    }
}

/// A public router inside a private one, each with its layer: the names of headers are there once.
#[tokio::test]
async fn two_layers_write_vary_once() {
    let mut fixture = Fixture::new().await;
    let resolver = Arc::new(resolver(fixture.store.clone()));
    let who = async |ctx: TenantContext| ctx.tenant().slug().to_string();
    fixture.app = Router::new()
        .route("/orders", axum::routing::get(who))
        .layer(TenantLayer::allow_unauthenticated(resolver.clone()))
        .layer(TenantLayer::allow_unauthenticated(resolver));
    for (tenant, _) in fixture.both_sides() {
        let host = format!("{}.example.com", tenant.slug());
        let answer = fixture.send(get_from(&host, "/orders").body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, tenant.slug().as_str()));
        assert_eq!(answer.headers.get_all("vary").iter().count(), 1, "{:?}", answer.headers);
    }
}

/// A nested router removes its prefix from the path, and the path source still reads it.
#[tokio::test]
async fn a_nested_router_hides_no_tenant_in_the_path() {
    let mut fixture = Fixture::new().await;
    let resolver = Arc::new(resolver(fixture.store.clone()));
    let who = async |ctx: TenantContext| ctx.tenant().slug().to_string();
    let inner = Router::new().route("/", axum::routing::get(who)).route("/orders", axum::routing::get(who));
    fixture.app = Router::new().nest("/t/{tenant}", inner.layer(TenantLayer::new(resolver)));
    for (tenant, other) in fixture.both_sides() {
        for rest in ["", "/orders"] {
            let ask = async |slug: &Slug| {
                let request = get_from("example.com", &format!("/t/{slug}{rest}"));
                let request = request.header("authorization", bearer(tenant)).body(Body::empty()).unwrap();
                fixture.send(request).await
            };
            assert_eq!(ask(tenant.slug()).await.body, tenant.slug().as_str(), "{rest}");
            assert_eq!(ask(other.slug()).await.code(), "tenant-conflict", "{rest}");
        }
    }
}

#[tokio::test]
async fn axum_knows_the_peer_too() {
    let fixture = Fixture::new().await;
    for (peer, code) in [("10.0.0.7:1", ""), ("203.0.113.9:1", "tenant-missing")] {
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        let request = get_from("example.com", "/login").header("x-tenant-id", "acme");
        let request = request.extension(ConnectInfo(peer)).body(Body::empty()).unwrap();
        assert_eq!(fixture.send(request).await.code(), code, "{peer}");
    }
}

/// A store that is down, or that waits before it returns.
#[derive(Debug)]
struct Slow {
    inner: Arc<MemoryStore>,
    go: Option<Arc<Notify>>,
}

impl Slow {
    async fn wait(&self) -> Result<()> {
        match &self.go {
            Some(go) => {
                go.notified().await;
                Ok(())
            }
            None => {
                Err(Error::new(ErrorKind::StoreUnavailable, "10.0.0.5:5432 refused").with_source("secret"))
            }
        }
    }
}

#[async_trait]
impl TenantStore for Slow {
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        self.wait().await?;
        self.inner.by_id(id).await
    }

    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        self.wait().await?;
        self.inner.by_slug(slug).await
    }

    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>> {
        self.inner.list(after, limit).await
    }

    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        self.inner.insert(tenant).await
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        self.inner.update(tenant).await
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_503_and_never_another_tenant() {
    let fixture = Fixture::new().await;
    let down = CachedStore::new(Slow { inner: fixture.store.clone(), go: None }, CacheOptions::new());
    let fixture = Fixture { app: app(Arc::new(resolver(Arc::new(down)))), ..fixture };
    for (tenant, _) in fixture.both_sides() {
        let host = format!("{}.example.com", tenant.slug());
        let request = get_from(&host, "/orders").header("authorization", bearer(tenant));
        let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable")
        );
        assert_eq!(answer.headers["retry-after"], "1");
        assert!(!answer.body.contains("10.0") && !answer.body.contains("secret"), "I94: {}", answer.body);
    }
}

#[tokio::test]
async fn requests_that_wait_for_the_store_keep_their_own_tenant() {
    let fixture = Fixture::new().await;
    let go = Arc::new(Notify::new());
    let slow = Slow { inner: fixture.store.clone(), go: Some(go.clone()) };
    let slow = app(Arc::new(resolver(Arc::new(slow))));
    let fixture = Fixture { app: slow, ..fixture };
    // I90: a request that is cancelled while it waits leaves nothing behind.
    let cancelled = get_from("acme.example.com", "/login").body(Body::empty()).unwrap();
    let cancelled = tokio::time::timeout(std::time::Duration::ZERO, fixture.send(cancelled)).await;
    assert!(cancelled.is_err());

    let acme = fixture.send(get_from("acme.example.com", "/login").body(Body::empty()).unwrap());
    let globex = fixture.send(get_from("globex.example.com", "/login").body(Body::empty()).unwrap());
    let release = async {
        for _ in 0..100 {
            go.notify_one();
            tokio::task::yield_now().await;
        }
    };
    let (acme, globex, ()) = tokio::join!(acme, globex, release);
    assert_eq!(acme.body, "acme anonymous host");
    assert_eq!(globex.body, "globex anonymous host");
}

#[tokio::test]
async fn an_error_of_a_handler_is_a_problem_document() {
    let app = Router::new().route(
        "/",
        axum::routing::get(async || Err::<String, _>(Error::new(ErrorKind::NotFound, "no such order"))),
    );
    let fixture = Fixture { app, ..Fixture::new().await };
    let answer = fixture.send(Request::get("/").body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "not-found"));
    assert_eq!(answer.headers["content-type"], "application/problem+json");
}
