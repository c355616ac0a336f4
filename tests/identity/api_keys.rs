//! An API key proves the tenant of its stored row, and nothing else.
//!
//! Rows are named as in the list of attacks: `I76`, `I77`, `I78`, and so on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode};
use futures_util::FutureExt;
use secrecy::ExposeSecret;
use tenancy::clock::{ManualClock, Timestamp};
use tenancy::context::TenantDirectory;
use tenancy::plan::Catalog;
use tenancy::resolve::{ApiKeySource, HostSource, OwnedRequest, Resolver, Source, SourceOutcome};
use tenancy::store::{CacheOptions, CachedStore, MemoryStore, SqlStore};
use tenancy::tenant::{ApiKey, ApiKeyFormat, ApiKeyStore, TenantId};
use tenancy::testing::api_key_store;
use tenancy::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::common::TestBackend;
use crate::fixture::{self, Answer, Fixture};
use crate::suites;

const NOW: Timestamp = Timestamp::from_seconds(fixture::NOW);

#[tokio::test]
async fn the_memory_store_keeps_every_promise() {
    api_key_store(async || MemoryStore::new()).await;
    api_key_store(async || CachedStore::new(MemoryStore::new(), CacheOptions::new())).await;
    let none = || CacheOptions::new().capacity(0).negative_capacity(0);
    api_key_store(async || CachedStore::new(MemoryStore::new(), none())).await;
}

async fn the_sql_store_keeps_every_promise<DB: TestBackend>() {
    let cleanups = std::sync::Mutex::new(Vec::new());
    let fresh = async || {
        let (pool, cleanup) = DB::fresh(8).await;
        cleanups.lock().unwrap().push(cleanup);
        let store = SqlStore::new(pool);
        store.migrate().await.unwrap();
        store
    };
    api_key_store(fresh).await;
    api_key_store(async || CachedStore::new(fresh().await, CacheOptions::new())).await;
}

/// The stored row of a key does not contain the secret.
async fn a_database_holds_no_secret<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(2).await;
    let store = SqlStore::new(pool.clone());
    store.migrate().await.unwrap();
    let (key, secret) = ApiKey::issue(&format(), TenantId::random(), "CI", NOW);
    store.insert_key(&key).await.unwrap();
    let part = secret.expose_secret().split('_').nth(3).unwrap().to_owned();
    assert_eq!(part.len(), 43);
    let all = format!("SELECT count(*) FROM tenancy_api_keys WHERE id = '{}'", key.id());
    assert_eq!(DB::number(&pool, &all).await, 1);
    let rows = format!("{:?}", store.keys(key.tenant()).await.unwrap());
    assert!(rows.contains(key.id()) && !rows.contains(&part), "{rows}");
    assert_ne!(key.hash().as_slice(), part.as_bytes());
}

on_every_database!(the_sql_store_keeps_every_promise, a_database_holds_no_secret);

/// A memory store with one deliberate fault.
#[derive(Debug)]
struct Broken {
    inner: MemoryStore,
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    FindsByAnyCase,
    ListsEverybodys,
    LosesTheEnd,
    NeverRevokes,
    RevokesAnybodys,
    RevokesAgain,
    SwallowsConflicts,
}

#[async_trait]
impl ApiKeyStore for Broken {
    async fn insert_key(&self, key: &ApiKey) -> Result<()> {
        match self.inner.insert_key(key).await {
            Err(_) if self.fault == Fault::SwallowsConflicts => Ok(()),
            done => done,
        }
    }

    async fn key(&self, id: &str) -> Result<Option<Arc<ApiKey>>> {
        let found = self.inner.key(id).await?;
        match self.fault {
            Fault::FindsByAnyCase if found.is_none() => Ok(Some(Arc::new(issue(&TenantId::random()).0))),
            Fault::LosesTheEnd => Ok(found.map(|key| Arc::new((*key).clone().expiring(NOW)))),
            _ => Ok(found),
        }
    }

    async fn revoke_key(&self, tenant: &TenantId, id: &str, now: Timestamp) -> Result<Arc<ApiKey>> {
        let found = self.inner.key(id).await?;
        match (self.fault, found) {
            (Fault::NeverRevokes, Some(key)) => Ok(Arc::new(key.revoked_at(now))),
            (Fault::RevokesAnybodys, Some(key)) => self.inner.revoke_key(key.tenant(), id, now).await,
            (Fault::RevokesAgain, Some(key)) if key.revoked().is_some() => {
                Ok(Arc::new((*key).clone().expiring(now)))
            }
            _ => self.inner.revoke_key(tenant, id, now).await,
        }
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Arc<ApiKey>>> {
        let mut keys = self.inner.keys(tenant).await?;
        if self.fault == Fault::ListsEverybodys {
            keys.push(Arc::new(issue(&TenantId::random()).0));
        }
        Ok(keys)
    }
}

#[tokio::test]
async fn the_suite_rejects_broken_stores() {
    for fault in [
        Fault::FindsByAnyCase,
        Fault::ListsEverybodys,
        Fault::LosesTheEnd,
        Fault::NeverRevokes,
        Fault::RevokesAnybodys,
        Fault::RevokesAgain,
        Fault::SwallowsConflicts,
    ] {
        let run = api_key_store(async || Broken { inner: MemoryStore::new(), fault });
        let text = suites::panic_of(run).await;
        assert!(text.contains("promise broken: "), "{fault:?}: {text}");
    }
}

/// The fixture with one key for each tenant, and a host source beside the key source.
struct Keys {
    fixture: Fixture,
    clock: Arc<ManualClock>,
    acme: (ApiKey, String),
    globex: (ApiKey, String),
}

async fn keys() -> Keys {
    let mut fixture = Fixture::new().await;
    let clock = Arc::new(ManualClock::new(NOW));
    let source = ApiKeySource::new(format(), fixture.store.clone())
        .header("x-api-key")
        .unwrap()
        .with_clock(clock.clone());
    let catalog =
        "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";
    let directory =
        TenantDirectory::new(fixture.store.clone(), Arc::new(Catalog::from_toml(catalog).unwrap()));
    let resolver = Resolver::new(directory).source(HostSource::new(["example.com"]).unwrap()).source(source);
    fixture.app = fixture::app(Arc::new(resolver));
    let own = async |tenant| {
        let (key, text) = issue(tenant);
        fixture.store.insert_key(&key).await.unwrap();
        (key, text)
    };
    let (acme, globex) = (own(fixture.acme.id()).await, own(fixture.globex.id()).await);
    Keys { fixture, clock, acme, globex }
}

impl Keys {
    async fn send(&self, host: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get("/orders").header("host", host);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        self.fixture.send(request.body(Body::empty()).unwrap()).await
    }

    async fn bearer(&self, text: &str) -> Answer {
        self.send("example.com", &[("authorization", &format!("Bearer {text}"))]).await
    }
}

#[tokio::test]
async fn a_key_proves_its_own_tenant() {
    let keys = keys().await;
    for ((key, text), slug) in [(&keys.acme, "acme"), (&keys.globex, "globex")] {
        let expected = format!("{slug} api_key:{} api_key", key.id());
        assert_eq!(keys.bearer(text).await.body, expected);
        assert_eq!(keys.send("example.com", &[("x-api-key", text)]).await.body, expected);
        assert_eq!(
            keys.send("example.com", &[("authorization", &format!("bEARER {text}"))]).await.body,
            expected
        );
        let own = format!("{slug}.example.com");
        assert_eq!(keys.send(&own, &[("x-api-key", text)]).await.body, expected);
        let other = if slug == "acme" { "globex.example.com" } else { "acme.example.com" };
        let answer = keys.send(other, &[("x-api-key", text)]).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "tenant-conflict"));
    }
    let answer = keys.bearer(&keys.acme.1).await;
    let vary = answer.headers.get("vary").unwrap().to_str().unwrap();
    assert!(vary.contains("authorization") && vary.contains("x-api-key"), "{vary}");
    // The key of a suspended tenant is rejected.
    let (closed, text) = issue(keys.fixture.suspended.id());
    keys.fixture.store.insert_key(&closed).await.unwrap();
    assert_eq!(keys.bearer(&text).await.code(), "tenant-suspended");
}

#[tokio::test]
async fn i76_every_invalid_key_gets_the_same_response() {
    let keys = keys().await;
    let (acme, globex) = (&keys.acme.1, &keys.globex.1);
    let store = &keys.fixture.store;
    let unknown = issue(keys.fixture.acme.id()).1;
    let (revoked, revoked_text) = issue(keys.fixture.acme.id());
    store.insert_key(&revoked).await.unwrap();
    assert_eq!(keys.bearer(&revoked_text).await.status, StatusCode::OK);
    store.revoke_key(keys.fixture.acme.id(), revoked.id(), NOW).await.unwrap();
    let (expired, expired_text) = issue(keys.fixture.acme.id());
    store.insert_key(&expired.expiring(NOW)).await.unwrap();
    let (ending, ending_text) = issue(keys.fixture.acme.id());
    store.insert_key(&ending.expiring(NOW.after(Duration::from_mins(1)))).await.unwrap();
    assert_eq!(keys.bearer(&ending_text).await.status, StatusCode::OK);
    keys.clock.advance_seconds(60);

    let mut parts: Vec<&str> = acme.split('_').collect();
    let theirs: Vec<&str> = globex.split('_').collect();
    // Each text has a valid checksum: one with the other tenant's secret, one with another environment.
    parts[3] = theirs[3];
    let mixed = with_checksum(&parts);
    parts[3] = acme.split('_').nth(3).unwrap();
    parts[1] = "test";
    let test = with_checksum(&parts);
    let mistyped = format!("{}0", &acme[..acme.len() - 1]);
    let mistyped = if &mistyped == acme { format!("{}1", &acme[..acme.len() - 1]) } else { mistyped };

    let expected = keys.bearer(&unknown).await;
    assert_eq!((expected.status, expected.code().as_str()), (StatusCode::UNAUTHORIZED, "credential-invalid"));
    for (what, text) in [
        ("revoked", &revoked_text),
        ("expired", &expired_text),
        ("ended meanwhile", &ending_text),
        ("another's secret", &mixed),
        ("another environment", &test),
        ("mistyped", &mistyped),
        ("cut", &acme[..30].to_owned()),
        ("only the beginning", &"acme_".to_owned()),
        ("long", &format!("acme_live_{}", "a".repeat(6000))),
        ("two", &format!("{acme}, Bearer {globex}")),
        ("with a space", &format!("{acme} ")),
    ] {
        let answer = keys.bearer(text).await;
        assert_eq!(answer.status, expected.status, "{what}");
        assert_eq!(answer.body, expected.body, "{what}");
        assert_eq!(answer.headers, expected.headers, "{what}");
    }
    for text in [&unknown, &mixed, &mistyped, &"x".to_owned(), &String::new(), &format!("{acme},{acme}")] {
        let answer = keys.send("example.com", &[("x-api-key", text)]).await;
        assert_eq!((answer.status, &answer.body), (expected.status, &expected.body), "{text}");
    }
    assert_eq!(keys.bearer(acme).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_holds_one_key_in_one_place() {
    let keys = keys().await;
    let (acme, globex) = (&keys.acme.1, &keys.globex.1);
    let bearer = |text: &str| format!("Bearer {text}");
    for headers in [
        vec![("authorization", bearer(acme)), ("x-api-key", acme.clone())],
        vec![("authorization", bearer(acme)), ("x-api-key", globex.clone())],
        vec![("authorization", bearer(acme)), ("authorization", bearer(acme))],
        vec![("authorization", bearer(acme)), ("authorization", "Bearer x.y.z".to_owned())],
        vec![("x-api-key", acme.clone()), ("x-api-key", acme.clone())],
        vec![("x-api-key", acme.clone()), ("x-api-key", globex.clone())],
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(keys.send("example.com", &headers).await.code(), "credential-invalid", "{headers:?}");
    }
    // A text that is no key of this service is left to other sources.
    for (name, value) in [
        ("authorization", "Bearer eyJhbGciOiJub25lIn0.e30."),
        ("authorization", "Bearer other_live_x"),
        ("authorization", "Basic YTpi"),
        ("x_api_key", acme.as_str()),
        ("api-key", acme.as_str()),
        ("cookie", &format!("x-api-key={acme}")),
    ] {
        assert_eq!(keys.send("example.com", &[(name, value)]).await.code(), "tenant-missing", "{value}");
    }
    let no_header = ApiKeySource::new(format(), keys.fixture.store.clone());
    let request = OwnedRequest::get("/").with_header("x-api-key", acme.as_str());
    assert!(
        matches!(no_header.read(&request), SourceOutcome::Absent),
        "that header is not read unless it was named"
    );
    for bad in ["", "x api", "x_api_key", "x:y"] {
        let source = ApiKeySource::new(format(), keys.fixture.store.clone());
        assert_eq!(source.header(bad).unwrap_err().kind(), ErrorKind::Misconfigured);
    }
}

#[tokio::test]
async fn i77_a_key_in_the_url_is_not_read_and_none_is_shown() {
    let keys = keys().await;
    let (key, text) = &keys.acme;
    for path in ["/orders?api_key=", "/orders?x-api-key=", "/orders?access_token=", "/orders?key="] {
        let request = Request::get(format!("{path}{text}")).header("host", "acme.example.com");
        let answer = keys.fixture.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.code(), "credential-missing", "{path}");
    }
    assert_eq!(keys.bearer(text).await.status, StatusCode::OK);
    let source = ApiKeySource::new(format(), keys.fixture.store.clone());
    let SourceOutcome::Pending(signal) = source.read(&bearer_request(text)) else {
        panic!("the store is asked")
    };
    let signal = signal.await;
    let (_, secret) = ApiKey::issue(&format(), key.tenant().clone(), "CI", NOW);
    let shown = format!("{:?} {source:?} {key:?} {signal:?} {secret:?}", keys.fixture.store);
    assert!(shown.contains(key.id()), "{shown}");
    for text in [&keys.acme.1, &keys.globex.1, secret.expose_secret()] {
        let secret = text.split('_').nth(3).unwrap();
        assert!(!shown.contains(secret), "the debug text holds a secret");
    }
    let hash = format!("{:?}", key.hash());
    assert!(!shown.contains(&hash), "the debug text holds a hash");
}

/// Counts the queries and delays their results until they are released.
#[derive(Debug)]
struct Probe {
    inner: MemoryStore,
    asked: AtomicUsize,
    answers: Semaphore,
    down: AtomicBool,
}

#[derive(Debug, Clone)]
struct Probed(Arc<Probe>);

impl Probed {
    fn new() -> Self {
        Self(Arc::new(Probe {
            inner: MemoryStore::new(),
            asked: AtomicUsize::new(0),
            answers: Semaphore::new(Semaphore::MAX_PERMITS),
            down: AtomicBool::new(false),
        }))
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl ApiKeyStore for Probed {
    async fn insert_key(&self, key: &ApiKey) -> Result<()> {
        self.0.inner.insert_key(key).await
    }

    /// The result is the state at the start of the query.
    async fn key(&self, id: &str) -> Result<Option<Arc<ApiKey>>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.0.inner.key(id).await;
        let _permit = self.0.answers.acquire().await.unwrap();
        if self.0.down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::StoreUnavailable, "down"));
        }
        answer
    }

    async fn revoke_key(&self, tenant: &TenantId, id: &str, now: Timestamp) -> Result<Arc<ApiKey>> {
        self.0.inner.revoke_key(tenant, id, now).await
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Arc<ApiKey>>> {
        self.0.inner.keys(tenant).await
    }
}

/// Reads a key through a source and waits for the outcome.
async fn ask(source: &ApiKeySource, text: &str) -> Result<TenantId> {
    let mut signal = source.read(&bearer_request(text));
    while let SourceOutcome::Pending(later) = signal {
        signal = later.await;
    }
    match signal {
        SourceOutcome::Verified { candidate: tenancy::resolve::Candidate::Id(tenant), .. } => Ok(tenant),
        SourceOutcome::Invalid(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

/// `I78`: the node that revokes a key rejects it at once, another node when its copy expires.
#[tokio::test]
async fn i78_a_revoked_key_is_rejected_at_once_here_and_after_the_ttl_elsewhere() {
    let probe = Probed::new();
    let ttl = Duration::from_millis(400);
    let here = Arc::new(CachedStore::new(probe.clone(), CacheOptions::new()));
    let there = Arc::new(CachedStore::new(probe.clone(), CacheOptions::new().ttl(ttl)));
    let (acme, globex) = (TenantId::random(), TenantId::random());
    let ((key, text), (other, other_text)) = (issue(&acme), issue(&globex));
    for key in [&key, &other] {
        here.insert_key(key).await.unwrap();
    }
    let sources = [&here, &there].map(|store| ApiKeySource::new(format(), store.clone()));
    for source in &sources {
        assert_eq!(ask(source, &text).await.unwrap(), acme);
        assert_eq!(ask(source, &other_text).await.unwrap(), globex);
        assert_eq!(ask(source, &text).await.unwrap(), acme, "from the cache");
    }
    assert_eq!(probe.asked(), 4);

    here.revoke_key(&acme, key.id(), NOW).await.unwrap();
    assert_eq!(ask(&sources[0], &text).await.unwrap_err().kind(), ErrorKind::CredentialInvalid);
    let until = Instant::now() + Duration::from_secs(20);
    while let Ok(tenant) = ask(&sources[1], &text).await {
        assert_eq!(tenant, acme);
        assert!(Instant::now() < until, "still open after 20 s, with a time to live of {ttl:?}");
        tokio::task::yield_now().await;
    }
    for source in &sources {
        assert_eq!(ask(source, &other_text).await.unwrap(), globex, "the other tenant's key still opens");
    }
}

/// `I78`: a result that was in transit when the key was revoked is not cached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i78_a_slow_answer_does_not_bring_a_revoked_key_back() {
    let probe = Probed::new();
    let store = Arc::new(CachedStore::new(probe.clone(), CacheOptions::new()));
    let acme = TenantId::random();
    let (key, text) = issue(&acme);
    store.insert_key(&key).await.unwrap();
    probe.0.answers.forget_permits(Semaphore::MAX_PERMITS);
    let source = ApiKeySource::new(format(), store.clone());
    let slow = tokio::spawn({
        let (source, text) = (source.clone(), text.clone());
        async move { ask(&source, &text).await }
    });
    until(|| probe.asked() == 1).await;
    let revoking = tokio::spawn({
        let (store, acme, id) = (store.clone(), acme.clone(), key.id().to_owned());
        async move { store.revoke_key(&acme, &id, NOW).await }
    });
    let stored = || probe.0.inner.key(key.id()).now_or_never().expect("it is in memory").unwrap().unwrap();
    until(|| stored().revoked().is_some()).await;
    probe.0.answers.add_permits(Semaphore::MAX_PERMITS);
    assert_eq!(slow.await.unwrap().unwrap(), acme, "it was asked before");
    revoking.await.unwrap().unwrap();
    assert_eq!(ask(&source, &text).await.unwrap_err().kind(), ErrorKind::CredentialInvalid);
}

/// `I93`: concurrent lookups of an unknown key are one query.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i93_concurrent_lookups_of_an_unknown_key_are_one_query() {
    let probe = Probed::new();
    let options = CacheOptions::new().negative_ttl(Duration::from_hours(1));
    let store = Arc::new(CachedStore::new(probe.clone(), options));
    let source = ApiKeySource::new(format(), store.clone());
    let (_, text) = issue(&TenantId::random());
    probe.0.answers.forget_permits(Semaphore::MAX_PERMITS);
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let (source, text) = (source.clone(), text.clone());
        tasks.spawn(async move { ask(&source, &text).await.unwrap_err().kind() });
    }
    until(|| probe.asked() == 1).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    probe.0.answers.add_permits(Semaphore::MAX_PERMITS);
    assert!(tasks.join_all().await.iter().all(|kind| *kind == ErrorKind::CredentialInvalid));
    for _ in 0..64 {
        assert_eq!(ask(&source, &text).await.unwrap_err().kind(), ErrorKind::CredentialInvalid);
    }
    assert_eq!(probe.asked(), 1);
    // A mistyped key causes no query.
    assert!(ask(&source, &text[..text.len() - 1]).await.is_err());
    assert!(ask(&source, "acme_live_x_y_z").await.is_err());
    assert_eq!(probe.asked(), 1);
    // A key that is inserted through this node works at once, although it was unknown before.
    let (key, text) = issue(&TenantId::random());
    assert!(ask(&source, &text).await.is_err());
    store.insert_key(&key).await.unwrap();
    assert_eq!(&ask(&source, &text).await.unwrap(), key.tenant());
}

#[tokio::test]
async fn a_store_that_is_down_is_no_wrong_key_and_is_not_remembered() {
    let probe = Probed::new();
    let store = Arc::new(CachedStore::new(probe.clone(), CacheOptions::new()));
    let (key, text) = issue(&TenantId::random());
    store.insert_key(&key).await.unwrap();
    let source = ApiKeySource::new(format(), store);
    probe.0.down.store(true, Ordering::SeqCst);
    assert_eq!(ask(&source, &text).await.unwrap_err().kind(), ErrorKind::StoreUnavailable);
    probe.0.down.store(false, Ordering::SeqCst);
    assert_eq!(&ask(&source, &text).await.unwrap(), key.tenant());
}

async fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "not within 20 s");
        tokio::task::yield_now().await;
    }
}

fn format() -> ApiKeyFormat {
    ApiKeyFormat::new("acme", "live").unwrap()
}

fn issue(tenant: &TenantId) -> (ApiKey, String) {
    let (key, secret) = ApiKey::issue(&format(), tenant.clone(), "CI", NOW);
    (key, secret.expose_secret().to_owned())
}

fn bearer_request(text: &str) -> OwnedRequest {
    OwnedRequest::get("/").with_header("Authorization", format!("Bearer {text}"))
}

/// The parts of a key, joined, with a valid checksum.
fn with_checksum(parts: &[&str]) -> String {
    let body = parts[..4].join("_");
    format!("{body}_{:08x}", crc32fast::hash(body.as_bytes()))
}
