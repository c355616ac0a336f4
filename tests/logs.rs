//! What goes to the log, because the client must not hear it.

mod world;

use std::io::Write;
use std::sync::{Arc, Mutex};

use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web;
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use tenancy::TenantContext;
use tenancy::web::{TenantLayer, TenantMiddleware};
use tracing::subscriber::DefaultGuard;
use world::{OTHER_SECRET, STRANGER, bearer, claims, from_peer, get_from, resolver, signed, world};

/// Everything that this thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_route_without_the_layer_says_how_to_mend_it() {
    let world = world().await;
    let (log, _guard) = Log::start();
    let answer = world.send(get_from("acme.example.com", "/forgotten").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.code(), "misconfigured");
    let log = log.text();
    assert!(log.contains("ERROR") && log.contains(".layer(TenantLayer::new(resolver))"), "{log}");
}

#[tokio::test]
async fn why_a_token_is_refused_is_in_the_log_and_the_token_is_not() {
    let world = world().await;
    let (log, _guard) = Log::start();
    let token = signed(r#"{"alg":"HS256"}"#, &claims(&world.acme).to_string(), OTHER_SECRET);
    let request = get_from("example.com", "/orders").header("authorization", &token);
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert!(!answer.body.contains("signature"), "{}", answer.body);
    let log = log.text();
    assert!(log.contains("the signature does not match"), "{log}");
    assert!(!log.contains(&token[7..40]), "the token is in the log: {log}");
}

#[tokio::test]
async fn what_a_stranger_tries_leaves_a_warning_without_its_text() {
    let world = world().await;
    let (log, _guard) = Log::start();
    let request = get_from("acme.example.com", "/login").header("x-tenant-id", "globex\u{a0}ERROR forged");
    let answer = world.send(from_peer(request, STRANGER)).await;
    assert_eq!(answer.body, "acme anonymous host");
    let conflict = get_from("globex.example.com", "/orders").header("authorization", bearer(&world.acme));
    assert_eq!(world.send(conflict.body(Body::empty()).unwrap()).await.code(), "tenant-conflict");
    let log = log.text();
    assert_eq!(log.matches("WARN").count(), 2, "{log}");
    assert!(log.contains("203.0.113.9") && !log.contains("forged"), "I34 I48: {log}");
}

#[tokio::test]
async fn a_route_runs_in_a_span_of_its_tenant() {
    let world = world().await;
    let app = Router::new()
        .route("/", get(async || tracing::info!("at work")))
        .layer(TenantLayer::public_by_selection(Arc::new(resolver(world.store.clone()))));
    let world = world::World { app, ..world };
    for (tenant, other) in world.both_sides() {
        let (log, _guard) = Log::start();
        let host = format!("{}.example.com", tenant.slug());
        world.send(get_from(&host, "/").body(Body::empty()).unwrap()).await;
        let log = log.text();
        assert!(log.contains(&format!("tenant{{tenant.id={} request_id=", tenant.id())), "{log}");
        assert!(!log.contains(&other.id().to_string()), "{log}");
    }
}

#[tokio::test]
async fn behind_actix_web_it_is_the_same() {
    let world = world().await;
    let tenants = TenantMiddleware::public_by_selection(Arc::new(resolver(world.store.clone())));
    let work = web::get().to(async || {
        tracing::info!("at work");
        "done"
    });
    let app = actix_web::App::new()
        .route("/forgotten", web::get().to(async |ctx: TenantContext| ctx.request_id().to_string()))
        .route("/", work.wrap(tenants));
    let app = init_service(app).await;
    for (tenant, other) in world.both_sides() {
        let (log, _guard) = Log::start();
        let host = format!("{}.example.com", tenant.slug());
        let ask = |path| TestRequest::get().uri(path).insert_header(("host", host.as_str())).to_request();
        assert_eq!(call_service(&app, ask("/")).await.status(), 200);
        assert_eq!(call_service(&app, ask("/forgotten")).await.status(), 500);
        let log = log.text();
        assert!(log.contains(&format!("tenant{{tenant.id={} request_id=", tenant.id())), "{log}");
        assert!(log.contains("ERROR") && log.contains(".wrap(TenantMiddleware::new(resolver))"), "{log}");
        assert!(!log.contains(&other.id().to_string()), "{log}");
    }
}
