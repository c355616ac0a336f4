//! Plans, features and quotas behind axum and actix-web: the same statuses, headers and documents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::to_bytes;
use actix_web::http::header::{self, HeaderValue};
use actix_web::test::TestRequest;
use actix_web::web::{Data, resource, to};
use actix_web::{HttpRequest, dev::Service};
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use axum::http::{HeaderMap, Request};
use axum::routing::get;
use serde_json::{Value, json};
use tenancy::clock::{ManualClock, Timestamp};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::{Catalog, Flag, Overage};
use tenancy::quota::meter::{
    Charge, ChargeLine, ChargeOutcome, Counter, CounterKey, CounterState, Hold, Meter, Resolution,
    ResolveOutcome,
};
use tenancy::quota::{Quota, Quotas, Rate, Rates};
use tenancy::resolve::{HostSource, Resolver};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStore};
use tenancy::web::{
    Charged, Decisions, PlanKey, PlanLayer, PlanMiddleware, PlanRules, QuotaKey, RequirePlan, TenantLayer,
    TenantMiddleware, UsageResponse,
};
use tenancy::{Error, ErrorKind, Result, TenantContext};
use tower::ServiceExt;

use crate::fixture::{bearer, tokens};

const CATALOG: &str = r#"
version = 1
upgrade_url = "/upgrade"
order = ["free", "pro"]
[features]
export    = { kind = "flag" }
api_calls = { kind = "quota", unit = "requests", period = "month", warn = [50] }
ever      = { kind = "quota", period = "lifetime" }
loose     = { kind = "quota", period = "day", on_failure = "open" }
requests  = { kind = "rate" }
[plans.free.features]
export    = false
api_calls = 2
ever      = 5
loose     = 9
requests  = { limit = 2, seconds = 60, burst = 3 }
[plans.pro]
extends = "free"
[plans.pro.features]
export    = true
api_calls = "unlimited"
requests  = "unlimited"
"#;

const EXPORT: Flag = Flag::new("export");
const API_CALLS: Quota = Quota::new("api_calls");
const EVER: Quota = Quota::new("ever");
const LOOSE: Quota = Quota::new("loose");
const REQUESTS: Rate = Rate::new("requests");

enum Calls {}

impl QuotaKey for Calls {
    const QUOTA: Quota = API_CALLS;
}

enum Pro {}

impl PlanKey for Pro {
    const KEY: &'static str = "pro";
}

/// One framework's quotas and rates. Both count the same requests, each in a store of its own.
#[derive(Clone)]
struct Counted {
    quotas: Quotas,
    rates: Rates,
}

impl FromRef<Counted> for Quotas {
    fn from_ref(counted: &Counted) -> Self {
        counted.quotas.clone()
    }
}

struct Fixture {
    store: Arc<MemoryStore>,
    resolver: Arc<Resolver>,
    counted: [Counted; 2],
}

/// 2026-11-29T06:00:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_795_932_000);

async fn seeded(meters: [Arc<dyn Meter>; 2]) -> Fixture {
    let store = Arc::new(MemoryStore::new());
    for (slug, plan) in [("acme", "free"), ("globex", "pro")] {
        store.insert(NewTenant::active(slug, plan).unwrap()).await.unwrap();
    }
    let catalog = Catalog::from_toml(CATALOG)
        .unwrap()
        .require(&[&EXPORT, &API_CALLS, &EVER, &LOOSE, &REQUESTS])
        .unwrap();
    let resolver = Resolver::new(TenantDirectory::new(store.clone(), catalog))
        .source(HostSource::new(["example.com"]).unwrap())
        .source(tokens());
    let clock = Arc::new(ManualClock::new(NOW));
    let counted = meters.map(|meter| Counted {
        quotas: Quotas::new(meter).with_clock(clock.clone()),
        rates: Rates::local().with_clock(clock.clone()),
    });
    Fixture { store, resolver: Arc::new(resolver), counted }
}

async fn in_memory() -> Fixture {
    seeded([Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new())]).await
}

const PATHS: [&str; 6] = ["/calls", "/export", "/pro", "/gold", "/loose", "/limited"];

/// The rules of each route.
fn rules(path: &str, Counted { quotas, rates }: &Counted) -> PlanRules {
    match path {
        "/limited" => PlanRules::new().limit_rate(rates, REQUESTS).charge(quotas, EVER, 1),
        "/calls" => PlanRules::new().charge(quotas, API_CALLS, 1).charge(quotas, EVER, 1),
        "/export" => PlanRules::new().require_feature(EXPORT).charge(quotas, API_CALLS, 1),
        "/pro" => PlanRules::new().require_plan("pro").charge(quotas, API_CALLS, 1),
        "/gold" => PlanRules::new().require_plan("gold"),
        "/loose" => PlanRules::new().charge(quotas, LOOSE, 1),
        other => panic!("no rules for {other}"),
    }
}

fn used(decisions: &Decisions) -> String {
    let charged: Vec<_> =
        decisions.charged().iter().map(|one| format!("{} {}", one.feature, one.used)).collect();
    charged.join(" ")
}

async fn on_axum(request: axum::extract::Request) -> String {
    used(request.extensions().get::<Decisions>().unwrap())
}

async fn on_actix(request: HttpRequest) -> String {
    use actix_web::HttpMessage;
    used(request.extensions().get::<Decisions>().unwrap())
}

async fn pro_only(ctx: RequirePlan<Pro>) -> String {
    ctx.into_context().tenant().slug().to_string()
}

/// The work of a request, which fails.
async fn fails() -> Result<String> {
    Err(Error::new(ErrorKind::Database, "the work of this test failed"))
}

/// Reserves before the work.
async fn reserves(quotas: &Quotas, ctx: &TenantContext) -> Result<String> {
    let _reserved = quotas.reserve(ctx, API_CALLS, 1, Duration::from_mins(1)).await?;
    fails().await
}

async fn charged(calls: Charged<Calls>) -> String {
    format!("{} {}", calls.tenant().slug(), calls.decision().used)
}

/// Status, the headers that matter, and the body.
type Answer = (u16, BTreeMap<&'static str, String>, String);

const HEADERS: [&str; 6] =
    ["retry-after", "ratelimit", "ratelimit-policy", "etag", "cache-control", "content-type"];

impl Fixture {
    async fn token(&self, slug: &str) -> String {
        bearer(&self.store.by_slug(&Slug::parse(slug).unwrap()).await.unwrap().unwrap())
    }

    /// The answer of both frameworks, which must be equal.
    async fn ask(&self, path: &str, host: &str, token: Option<&str>, etag: Option<&str>) -> Answer {
        let axum = self.ask_axum(path, host, token, etag).await;
        let actix = self.ask_actix(path, host, token, etag).await;
        assert_eq!(axum, actix, "{path} {host}");
        axum
    }

    async fn of(&self, slug: &str, path: &str) -> Answer {
        let token = self.token(slug).await;
        self.ask(path, "example.com", Some(&token), None).await
    }

    async fn ask_axum(&self, path: &str, host: &str, token: Option<&str>, etag: Option<&str>) -> Answer {
        let quotas = self.counted[0].quotas.clone();
        let usage = async move |ctx: TenantContext, headers: HeaderMap| -> Result<UsageResponse> {
            let known = headers.get("if-none-match").map(|value| value.as_bytes().to_vec());
            Ok(UsageResponse::new(&quotas.snapshot(&ctx).await?, known.as_deref()))
        };
        let charged = Router::new().route("/charged", get(charged)).with_state(self.counted[0].clone());
        let mut app =
            Router::new().route("/pro-only", get(pro_only)).route("/usage", get(usage)).merge(charged);
        let quotas = self.counted[0].quotas.clone();
        let reserves = async move |ctx: TenantContext| reserves(&quotas, &ctx).await;
        let fails = get(fails).layer(PlanLayer::new(rules("/calls", &self.counted[0])));
        app = app.route("/fails", fails).route("/reserves", get(reserves));
        for path in PATHS {
            let layer = PlanLayer::new(rules(path, &self.counted[0]));
            app = app.merge(Router::new().route(path, get(on_axum)).layer(layer));
        }
        let outside = PlanLayer::new(PlanRules::new());
        let app = app
            .layer(TenantLayer::allow_unauthenticated(self.resolver.clone()))
            .merge(Router::new().route("/outside", get(on_axum)).layer(outside));
        let mut request = Request::get(path).header("host", host);
        for (name, value) in [("authorization", token), ("if-none-match", etag)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let headers = HEADERS
            .into_iter()
            .filter_map(|name| Some((name, response.headers().get(name)?.to_str().unwrap().to_owned())));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn ask_actix(&self, path: &str, host: &str, token: Option<&str>, etag: Option<&str>) -> Answer {
        let quotas = self.counted[1].quotas.clone();
        let usage = move |ctx: TenantContext, request: HttpRequest| {
            let quotas = quotas.clone();
            async move {
                let known = request.headers().get("if-none-match").map(HeaderValue::as_bytes);
                Ok::<_, Error>(UsageResponse::new(&quotas.snapshot(&ctx).await?, known))
            }
        };
        let quotas = self.counted[1].quotas.clone();
        let reserves = move |ctx: TenantContext| {
            let quotas = quotas.clone();
            async move { reserves(&quotas, &ctx).await }
        };
        let tenants = TenantMiddleware::allow_unauthenticated(self.resolver.clone());
        let charges = PlanMiddleware::new(rules("/calls", &self.counted[1]));
        let mut app = actix_web::App::new()
            .service(resource("/fails").wrap(charges).wrap(tenants.clone()).route(to(fails)))
            .service(resource("/reserves").wrap(tenants.clone()).route(to(reserves)))
            .app_data(Data::new(self.counted[1].quotas.clone()))
            .service(resource("/pro-only").wrap(tenants.clone()).to(pro_only))
            .service(resource("/charged").wrap(tenants.clone()).to(charged))
            .service(resource("/usage").wrap(tenants.clone()).route(actix_web::web::get().to(usage)))
            .service(resource("/outside").wrap(PlanMiddleware::new(PlanRules::new())).route(to(on_actix)));
        for path in PATHS {
            let plan = PlanMiddleware::new(rules(path, &self.counted[1]));
            app = app.service(resource(path).wrap(plan).wrap(tenants.clone()).route(to(on_actix)));
        }
        let app = actix_web::test::init_service(app).await;
        let mut request = TestRequest::get().uri(path).insert_header((header::HOST, host));
        for (name, value) in [(header::AUTHORIZATION, token), (header::IF_NONE_MATCH, etag)] {
            if let Some(value) = value {
                request = request.insert_header((name, value));
            }
        }
        let answer = match Service::call(&app, request.to_request()).await {
            Ok(response) => response.into_parts().1.map_into_boxed_body(),
            Err(error) => error.error_response(),
        };
        let headers = HEADERS
            .into_iter()
            .filter_map(|name| Some((name, answer.headers().get(name)?.to_str().unwrap().to_owned())));
        let (status, headers) = (answer.status().as_u16(), headers.collect());
        let body = to_bytes(answer.into_body()).await.unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }
}

fn document(answer: &Answer) -> Value {
    serde_json::from_str(&answer.2).unwrap()
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.1.get(name).map_or("", String::as_str)
}

#[tokio::test]
async fn a_quota_has_headers_and_ends_with_429() {
    let fixture = in_memory().await;
    let first = fixture.of("acme", "/calls").await;
    assert_eq!((first.0, first.2.as_str()), (200, "api_calls 1 ever 1"));
    assert_eq!(header(&first, "ratelimit-policy"), r#""api_calls";q=2;w=2592000, "ever";q=5"#);
    assert_eq!(header(&first, "ratelimit"), r#""api_calls";r=1;t=151200, "ever";r=4"#);
    assert_eq!(fixture.of("acme", "/calls").await.0, 200);
    let full = fixture.of("acme", "/calls").await;
    assert_eq!(
        (full.0, document(&full)),
        (
            429,
            json!({
                "type": "https://iana.org/assignments/http-problem-types#quota-exceeded", "title": "Quota used up",
                "status": 429, "detail": "the plan `free` allows 2 `api_calls` in a period, and 2 are used",
                "feature": "api_calls", "plan": "free", "limit": 2, "used": 2, "upgrade_url": "/upgrade",
                "violated-policies": ["api_calls"],
            })
        )
    );
    assert_eq!(header(&full, "retry-after"), "86400", "a day at most");
    assert_eq!(header(&full, "ratelimit"), r#""api_calls";r=0;t=86400"#);
    let globex = fixture.of("globex", "/calls").await;
    assert_eq!(
        (globex.0, globex.2.as_str()),
        (200, "api_calls 1 ever 1"),
        "an unlimited quota is counted, too"
    );
    assert_eq!(header(&globex, "ratelimit"), r#""ever";r=4"#, "no number stands for unlimited");
}

/// No number stands for unlimited, and the requests are counted all the same.
#[tokio::test]
async fn q20_a_quota_without_a_limit_has_no_header() {
    let fixture = in_memory().await;
    for n in 1..=3 {
        let unlimited = fixture.of("globex", "/pro").await;
        assert_eq!((unlimited.0, unlimited.2), (200, format!("api_calls {n}")));
        assert!(!unlimited.1.keys().any(|name| name.starts_with("ratelimit")), "{:?}", unlimited.1);
    }
    let limited = fixture.of("acme", "/charged").await;
    assert_eq!((limited.0, limited.2.as_str()), (200, "acme 1"), "a count of its own");
}

impl Fixture {
    /// Waits until both frameworks have counted this of the quota: used and held.
    async fn until_counted(&self, slug: &str, wanted: (u64, u64)) {
        let directory = TenantDirectory::new(self.store.clone(), Catalog::from_toml(CATALOG).unwrap());
        let slug = Slug::parse(slug).unwrap();
        let ctx = directory.context_by_slug(&slug, Actor::user("ada")).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        for Counted { quotas, .. } in &self.counted {
            loop {
                let counters = quotas.counters(&ctx, Some("api_calls"), 5).await.unwrap();
                let found = counters.first().map_or((0, 0), |counter| (counter.used, counter.held));
                if found == wanted {
                    break;
                }
                assert!(Instant::now() < deadline, "{found:?} of {slug}, and not {wanted:?}");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// A rule charges before the work, whatever comes of it. Work that may fail reserves, and its error returns everything.
#[tokio::test]
async fn q40_failed_work_stays_charged_by_a_rule_and_is_returned_by_a_reservation() {
    let fixture = in_memory().await;
    assert_eq!(fixture.of("acme", "/fails").await.0, 500);
    fixture.until_counted("acme", (1, 0)).await;
    // One is left. Each request reserves it and returns it.
    for _ in 0..3 {
        assert_eq!(fixture.of("acme", "/reserves").await.0, 500);
        fixture.until_counted("acme", (1, 0)).await;
    }
    assert_eq!(fixture.of("acme", "/fails").await.0, 500);
    fixture.until_counted("acme", (2, 0)).await;
    assert_eq!((fixture.of("acme", "/fails").await.0, fixture.of("acme", "/reserves").await.0), (429, 429));
    fixture.until_counted("globex", (0, 0)).await;
    assert_eq!(fixture.of("globex", "/fails").await.0, 500);
    fixture.until_counted("globex", (1, 0)).await;
    fixture.until_counted("acme", (2, 0)).await;
}

#[tokio::test]
async fn a_rate_has_headers_and_ends_with_429() {
    let app = in_memory().await;
    for (n, remaining) in [(1, 2), (2, 1), (3, 0)] {
        let allowed = app.of("acme", "/limited").await;
        assert_eq!((allowed.0, allowed.2.as_str()), (200, format!("ever {n}").as_str()));
        assert_eq!(header(&allowed, "ratelimit-policy"), r#""requests";q=2;w=60, "ever";q=5"#);
        let ever = 5 - n;
        let state = format!(r#""requests";r={remaining};t={}, "ever";r={ever}"#, 30 * n);
        assert_eq!(header(&allowed, "ratelimit"), state);
    }
    let denied = app.of("acme", "/limited").await;
    assert_eq!((denied.0, header(&denied, "retry-after")), (429, "30"));
    assert_eq!(header(&denied, "ratelimit-policy"), r#""requests";q=2;w=60"#);
    assert_eq!(header(&denied, "ratelimit"), r#""requests";r=0;t=30"#);
    let problem = document(&denied);
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(problem["violated-policies"], json!(["requests"]));
    let next = app.of("acme", "/calls").await;
    assert_eq!(next.2, "api_calls 1 ever 4", "a request beyond the rate is not charged");
    // An unauthenticated caller learns when to come again, and nothing of the tenant.
    let anonymous = app.ask("/limited", "acme.example.com", None, None).await;
    assert_eq!((anonymous.0, header(&anonymous, "retry-after")), (429, "30"));
    assert_eq!(header(&anonymous, "ratelimit"), "");
    assert!(!anonymous.2.contains("\"requests\"") && !anonymous.2.contains("free"), "{}", anonymous.2);
    // A tenant without a limit has no such header, and the other tenant's requests do not count.
    for _ in 0..5 {
        let other = app.of("globex", "/limited").await;
        assert_eq!((other.0, header(&other, "ratelimit-policy")), (200, r#""ever";q=5"#));
    }
}

#[tokio::test]
async fn an_extractor_charges_a_quota() {
    let app = in_memory().await;
    for expected in ["acme 1", "acme 2"] {
        let charged = app.of("acme", "/charged").await;
        assert_eq!((charged.0, charged.2.as_str()), (200, expected));
    }
    let denied = app.of("acme", "/charged").await;
    assert_eq!((denied.0, &document(&denied)["feature"]), (429, &json!("api_calls")));
    let anonymous = app.ask("/charged", "acme.example.com", None, None).await;
    assert_eq!(anonymous.0, 429);
    assert!(!anonymous.2.contains("api_calls"), "{}", anonymous.2);
    assert_eq!(app.of("globex", "/charged").await.2, "globex 1", "the other tenant's quota is its own");
}

#[tokio::test]
async fn a_rejected_request_is_not_charged() {
    let fixture = in_memory().await;
    for _ in 0..3 {
        let export = fixture.of("acme", "/export").await;
        assert_eq!((export.0, document(&export)["feature"].as_str()), (403, Some("export")));
        let low = fixture.of("acme", "/pro").await;
        assert_eq!(
            (low.0, document(&low)["type"].as_str(), document(&low)["required_plan"].as_str()),
            (403, Some("urn:problem-type:tenancy:plan-too-low"), Some("pro"))
        );
        assert!(header(&low, "retry-after").is_empty(), "waiting does not help");
    }
    assert_eq!(fixture.of("acme", "/calls").await.2, "api_calls 1 ever 1");
    assert_eq!(fixture.of("globex", "/pro").await.0, 200);
    assert_eq!(fixture.of("globex", "/pro-only").await.2, "globex");
    assert_eq!(fixture.of("acme", "/pro-only").await.0, 403);
    assert_eq!(fixture.of("globex", "/gold").await.0, 500, "the catalog's order lacks this plan");
}

#[tokio::test]
async fn q52_without_a_resolved_tenant_there_is_no_number() {
    let fixture = in_memory().await;
    let unknown = fixture.ask("/calls", "nobody.example.com", None, None).await;
    assert_eq!((unknown.0, header(&unknown, "ratelimit")), (404, ""));
    let invalid = fixture.ask("/calls", "acme.example.com", Some("Bearer x"), None).await;
    assert_eq!((invalid.0, header(&invalid, "ratelimit")), (401, ""));
    let anonymous = fixture.ask("/calls", "acme.example.com", None, None).await;
    assert_eq!((anonymous.0, header(&anonymous, "ratelimit")), (200, ""), "the caller is not the tenant");
    assert_eq!(fixture.ask("/calls", "acme.example.com", None, None).await.0, 200);
    let full = fixture.ask("/calls", "acme.example.com", None, None).await;
    let problem = document(&full);
    assert_eq!((full.0, header(&full, "ratelimit"), header(&full, "retry-after")), (429, "", "86400"));
    assert!(["used", "limit", "plan", "feature"].iter().all(|name| problem.get(name).is_none()), "{problem}");
    assert_eq!(
        fixture.ask("/outside", "acme.example.com", None, None).await.0,
        500,
        "no middleware around it"
    );
}

#[tokio::test]
async fn a_user_interface_reads_plan_and_usage_with_an_etag() {
    let fixture = in_memory().await;
    let token = fixture.token("acme").await;
    fixture.of("acme", "/calls").await;
    let usage = fixture.of("acme", "/usage").await;
    let etag = header(&usage, "etag").to_owned();
    assert_eq!((usage.0, header(&usage, "cache-control")), (200, "private, no-cache"));
    let snapshot: tenancy::quota::UsageSnapshot = serde_json::from_str(&usage.2).unwrap();
    let calls = snapshot.feature("api_calls").unwrap();
    assert_eq!((calls.used, calls.remaining(), calls.warned_percent), (Some(1), Some(1), Some(50)));
    assert_eq!(calls.period.as_deref(), Some("month:2026-11"));
    assert_eq!((&calls.warn_percent[..], calls.overage), (&[50_u16][..], Some(Overage::Block)));
    assert_eq!(snapshot.feature("export").unwrap().on, Some(false));
    let rate = snapshot.feature("requests").unwrap();
    assert_eq!((rate.limit, rate.seconds, rate.burst, rate.used), (Some(2), Some(60), Some(3), None));
    let again = fixture.ask("/usage", "example.com", Some(&token), Some(&etag)).await;
    assert_eq!((again.0, again.2.as_str(), header(&again, "etag")), (304, "", etag.as_str()));
    fixture.of("acme", "/calls").await;
    let changed = fixture.ask("/usage", "example.com", Some(&token), Some(&format!("\"x\", W/{etag}"))).await;
    assert_eq!(changed.0, 200);
    assert_ne!(header(&changed, "etag"), etag);
    let other = fixture.of("globex", "/usage").await;
    let other: tenancy::quota::UsageSnapshot = serde_json::from_str(&other.2).unwrap();
    let calls = other.feature("api_calls").unwrap();
    assert_eq!((calls.used, calls.unlimited, calls.limit), (Some(0), true, None), "nothing of acme");
}

/// A store that cannot be reached.
#[derive(Debug)]
struct Down;

fn down<T>() -> Result<T> {
    Err(Error::new(ErrorKind::StoreUnavailable, "the store of this test is down"))
}

#[async_trait]
impl Meter for Down {
    async fn charge(&self, _: &Charge) -> Result<ChargeOutcome> {
        down()
    }

    async fn resolve(&self, _: &Resolution) -> Result<ResolveOutcome> {
        down()
    }

    async fn renew(&self, _: &TenantId, _: Hold, _: &[ChargeLine], _: Timestamp) -> Result<bool> {
        down()
    }

    async fn counters(&self, _: &TenantId, _: Option<&str>, _: Timestamp, _: u16) -> Result<Vec<Counter>> {
        down()
    }

    async fn read(&self, _: &TenantId, _: &[CounterKey], _: Timestamp) -> Result<Vec<CounterState>> {
        down()
    }

    async fn delete_before(&self, _: Timestamp) -> Result<u64> {
        down()
    }
}

#[tokio::test]
async fn q30_a_store_that_is_down_closes_or_opens_by_the_rule() {
    let fixture = seeded([Arc::new(Down), Arc::new(Down)]).await;
    let closed = fixture.of("acme", "/calls").await;
    assert_eq!((closed.0, header(&closed, "retry-after"), header(&closed, "ratelimit")), (503, "1", ""));
    let open = fixture.of("acme", "/loose").await;
    assert_eq!((open.0, open.2.as_str(), header(&open, "ratelimit")), (200, "loose 0", ""));
    let unlimited = fixture.of("globex", "/pro").await;
    assert_eq!(unlimited.0, 200, "without a limit nothing can be exceeded");
    assert_eq!(fixture.of("globex", "/calls").await.0, 503, "one of the two quotas has a limit");
}
