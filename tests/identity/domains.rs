//! A custom domain reaches the tenant that verified it in DNS, and no other.
//!
//! Rows are named as in the list of attacks: `I28`, `I29`, and so on.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use tenancy::clock::{Clock, ManualClock, Timestamp};
use tenancy::context::TenantDirectory;
use tenancy::plan::Catalog;
use tenancy::resolve::{HostSource, OwnedRequest, PathSource, Resolver, TlsInfo};
use tenancy::store::{CacheOptions, CachedStore, MemoryStore, SqlStore};
use tenancy::tenant::{
    Challenge, DnsResolver, Domain, DomainState, DomainStore, DomainVerifier, TenantDomain, TenantId,
    TxtLookup,
};
use tenancy::testing::domain_store;
use tenancy::{ErrorKind, Result};
use tokio::task::JoinSet;

use crate::common::TestBackend;
use crate::dns::{DnsServer, free_address};
use crate::fixture::{self, Fixture, get_from};
use crate::suites;

#[tokio::test]
async fn the_memory_store_keeps_every_promise() {
    domain_store(async |clock| MemoryStore::new().with_clock(clock)).await;
    let cached = async |clock| CachedStore::new(MemoryStore::new().with_clock(clock), CacheOptions::new());
    Box::pin(domain_store(cached)).await;
    let none = || CacheOptions::new().capacity(0).negative_capacity(0);
    Box::pin(domain_store(async |clock| CachedStore::new(MemoryStore::new().with_clock(clock), none())))
        .await;
}

async fn the_sql_store_keeps_every_promise<DB: TestBackend>() {
    let cleanups = std::sync::Mutex::new(Vec::new());
    let fresh = async |clock: Arc<dyn Clock>| {
        let (pool, cleanup) = DB::fresh(8).await;
        cleanups.lock().unwrap().push(cleanup);
        let store = SqlStore::new(pool).with_clock(clock);
        store.migrate().await.unwrap();
        store
    };
    domain_store(fresh).await;
    domain_store(async |clock| CachedStore::new(fresh(clock).await, CacheOptions::new())).await;
}

/// `I28`: twenty tasks on two nodes verify one domain for two tenants, each with its own valid token.
async fn of_many_who_verify_one_domain_exactly_one_wins<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(20).await;
    let nodes: Vec<_> = (0..2)
        .map(|_| Arc::new(CachedStore::new(SqlStore::new(pool.clone()), CacheOptions::new())))
        .collect();
    SqlStore::new(pool).migrate().await.unwrap();
    let tenants = [TenantId::random(), TenantId::random()];
    for round in 0..4 {
        let name = domain(&format!("shop-{round}.acme.com"));
        let mut proofs = Vec::new();
        for tenant in &tenants {
            assert_eq!(nodes[1].by_domain(&name).await.unwrap(), None);
            proofs.push([challenge(&nodes[0].claim_domain(tenant, &name).await.unwrap()).record_text()]);
        }
        let mut tasks = JoinSet::new();
        for n in 0..20 {
            let (node, name) = (nodes[n % 2].clone(), name.clone());
            let (tenant, seen) = (tenants[n / 2 % 2].clone(), proofs[n / 2 % 2].clone());
            tasks.spawn(async move {
                match node.verify_domain(&tenant, &name, &seen).await {
                    Ok(domain) => Ok((domain.is_verified(), tenant)),
                    Err(error) => Err(error.kind()),
                }
            });
        }
        let mut winners = Vec::new();
        let mut losers = 0;
        for result in tasks.join_all().await {
            match result {
                Ok((verified, tenant)) => {
                    assert!(verified);
                    winners.push(tenant);
                }
                Err(ErrorKind::Conflict | ErrorKind::NotFound) => losers += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((winners.len(), losers), (10, 10), "one tenant's ten attempts, and none of the other's");
        winners.dedup();
        assert_eq!(winners.len(), 1);
        for node in &nodes {
            assert_eq!(node.by_domain(&name).await.unwrap(), Some(winners[0].clone()));
        }
    }
}

/// Concurrent claims of one domain each have their own token.
async fn many_claims_at_once_are_all_kept<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(8).await;
    let store = Arc::new(SqlStore::new(pool));
    store.migrate().await.unwrap();
    let name = domain("acme.com");
    let tenants: Vec<_> = (0..10).map(|_| TenantId::random()).collect();
    let mut tasks = JoinSet::new();
    for n in 0..20 {
        let (store, tenant, name) = (store.clone(), tenants[n % 10].clone(), name.clone());
        tasks.spawn(async move {
            challenge(&store.claim_domain(&tenant, &name).await.unwrap()).token().to_owned()
        });
    }
    let mut tokens = tasks.join_all().await;
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 10, "two claims of one tenant are one claim");
}

on_every_database!(
    the_sql_store_keeps_every_promise,
    of_many_who_verify_one_domain_exactly_one_wins,
    many_claims_at_once_are_all_kept,
);

/// A memory store with one deliberate fault.
#[derive(Debug)]
struct Broken {
    inner: MemoryStore,
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    BelievesAnyRecord,
    FindsWhatIsPending,
    ForgetsTheRest,
    IgnoresWhoseItIs,
    LosesVerifications,
    NeverRemoves,
}

#[async_trait]
impl DomainStore for Broken {
    async fn claim_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<TenantDomain> {
        self.inner.claim_domain(tenant, domain).await
    }

    async fn verify_domain(
        &self,
        tenant: &TenantId,
        domain: &Domain,
        seen: &[String],
    ) -> Result<TenantDomain> {
        match self.fault {
            Fault::BelievesAnyRecord => {
                let claimed = self.inner.claim_domain(tenant, domain).await?;
                let DomainState::Pending { challenge, .. } = &claimed.state else { return Ok(claimed) };
                self.inner.verify_domain(tenant, domain, &[challenge.record_text()]).await
            }
            Fault::LosesVerifications => {
                let state = DomainState::Verified { since: Timestamp::from_seconds(0) };
                Ok(TenantDomain { domain: domain.clone(), tenant: tenant.clone(), state })
            }
            _ => self.inner.verify_domain(tenant, domain, seen).await,
        }
    }

    async fn remove_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<()> {
        match self.fault {
            Fault::NeverRemoves => Ok(()),
            Fault::IgnoresWhoseItIs => {
                let owner = self.inner.by_domain(domain).await?;
                self.inner.remove_domain(owner.as_ref().unwrap_or(tenant), domain).await
            }
            _ => self.inner.remove_domain(tenant, domain).await,
        }
    }

    async fn domains(&self, tenant: &TenantId) -> Result<Vec<TenantDomain>> {
        self.inner.domains(tenant).await
    }

    async fn by_domain(&self, domain: &Domain) -> Result<Option<TenantId>> {
        match self.inner.by_domain(domain).await? {
            None if self.fault == Fault::FindsWhatIsPending => Ok(Some(TenantId::random())),
            found => Ok(found),
        }
    }
}

#[tokio::test]
async fn the_suite_rejects_broken_stores() {
    for fault in [
        Fault::BelievesAnyRecord,
        Fault::FindsWhatIsPending,
        Fault::ForgetsTheRest,
        Fault::IgnoresWhoseItIs,
        Fault::LosesVerifications,
        Fault::NeverRemoves,
    ] {
        let run = domain_store(async |clock| {
            let inner = MemoryStore::new().with_clock(clock);
            let restless = fault == Fault::ForgetsTheRest;
            let inner = if restless { inner.domain_cooldown(std::time::Duration::ZERO) } else { inner };
            Broken { inner, fault }
        });
        let text = suites::panic_of(run).await;
        assert!(text.contains("promise broken: "), "{fault:?}: {text}");
    }
}

/// The fixture with custom domains as a host source, and a path source beside it.
async fn hosts() -> Fixture {
    let mut fixture = Fixture::new().await;
    let hosts = HostSource::new(["example.com"]).unwrap().custom_domains(fixture.store.clone());
    let resolver = Resolver::new(directory(&fixture)).source(hosts).source(PathSource::new("/t").unwrap());
    fixture.app = fixture::app(Arc::new(resolver));
    fixture
}

fn directory(fixture: &Fixture) -> TenantDirectory {
    let catalog =
        "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";
    TenantDirectory::new(fixture.store.clone(), Arc::new(Catalog::from_toml(catalog).unwrap()))
}

async fn own(store: &impl DomainStore, tenant: &TenantId, name: &str) {
    let claimed = store.claim_domain(tenant, &domain(name)).await.unwrap();
    let seen = [challenge(&claimed).record_text()];
    assert!(store.verify_domain(tenant, &domain(name), &seen).await.unwrap().is_verified());
}

fn get(host: &str, path: &str) -> Request<Body> {
    get_from(host, path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_verified_domain_reaches_its_own_tenant() {
    let fixture = hosts().await;
    own(&*fixture.store, fixture.acme.id(), "shop.acme.com").await;
    own(&*fixture.store, fixture.globex.id(), "globex.org").await;
    own(&*fixture.store, fixture.globex.id(), "xn--mnchen-3ya.de").await;
    for (host, slug) in [
        ("shop.acme.com", "acme"),
        ("SHOP.acme.COM.", "acme"),
        ("shop.acme.com:8443", "acme"),
        ("globex.org", "globex"),
        ("xn--mnchen-3ya.de", "globex"),
        ("acme.example.com", "acme"),
    ] {
        let answer = fixture.send(get(host, "/login")).await;
        assert_eq!(answer.body, format!("{slug} anonymous host"), "{host}");
    }
    // A custom domain is an unverified hint.
    assert_eq!(fixture.send(get("shop.acme.com", "/orders")).await.code(), "credential-missing");
    // Domain and path of one tenant agree; those of two tenants conflict.
    assert_eq!(fixture.send(get("shop.acme.com", "/t/acme/login")).await.status, StatusCode::OK);
    assert_eq!(fixture.send(get("shop.acme.com", "/t/globex/login")).await.code(), "tenant-conflict");
    assert_eq!(fixture.send(get("globex.org", "/t/acme/login")).await.code(), "tenant-conflict");
}

#[tokio::test]
async fn i28_a_claim_reaches_no_tenant_until_verified_and_the_first_wins() {
    let fixture = hosts().await;
    let name = domain("acme.com");
    let [acme, globex] = [fixture.acme.id(), fixture.globex.id()];
    let mine = challenge(&fixture.store.claim_domain(acme, &name).await.unwrap());
    let theirs = challenge(&fixture.store.claim_domain(globex, &name).await.unwrap());
    let unknown = fixture.send(get("nobody.com", "/login")).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (StatusCode::NOT_FOUND, "tenant-unknown"));
    assert_eq!(fixture.send(get("acme.com", "/login")).await, unknown, "pending and unknown look alike");

    // DNS contains the record of the other tenant.
    let seen = [mine.record_text()];
    assert!(!fixture.store.verify_domain(globex, &name, &seen).await.unwrap().is_verified());
    assert!(fixture.store.verify_domain(acme, &name, &seen).await.unwrap().is_verified());
    let late = fixture.store.verify_domain(globex, &name, &[theirs.record_text()]).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NotFound);
    assert_eq!(fixture.send(get("acme.com", "/login")).await.body, "acme anonymous host");
}

#[tokio::test]
async fn i29_a_removed_domain_cools_down_and_then_needs_a_token_of_its_next_tenant() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(fixture::NOW)));
    let store = CachedStore::new(MemoryStore::new().with_clock(clock.clone()), CacheOptions::new());
    let (acme, globex, name) = (TenantId::random(), TenantId::random(), domain("acme.com"));
    let first = challenge(&store.claim_domain(&acme, &name).await.unwrap());
    // A stale DNS record proves nothing later.
    let dangling = [first.record_text()];
    assert!(store.verify_domain(&acme, &name, &dangling).await.unwrap().is_verified());
    assert_eq!(store.by_domain(&name).await.unwrap().as_ref(), Some(&acme));
    store.remove_domain(&acme, &name).await.unwrap();
    assert_eq!(store.by_domain(&name).await.unwrap(), None, "seen at once, cache or not");

    assert_eq!(store.claim_domain(&globex, &name).await.unwrap_err().kind(), ErrorKind::Conflict);
    clock.advance_seconds(30 * 24 * 60 * 60);
    let claimed = challenge(&store.claim_domain(&globex, &name).await.unwrap());
    assert!(!store.verify_domain(&globex, &name, &dangling).await.unwrap().is_verified());
    assert_eq!(store.by_domain(&name).await.unwrap(), None);
    let fresh = [claimed.record_text()];
    assert!(store.verify_domain(&globex, &name, &fresh).await.unwrap().is_verified());
    assert_eq!(store.by_domain(&name).await.unwrap(), Some(globex), "seen at once, cache or not");
}

#[tokio::test]
async fn i31_a_foreign_name_reaches_no_tenant_whatever_else_the_request_says() {
    let fixture = hosts().await;
    own(&*fixture.store, fixture.acme.id(), "acme.com").await;
    for host in [
        "evil.com",
        "www.acme.com",
        "acme.com.evil.com",
        "notacme.com",
        "acme.example.com.evil.com",
        "acme",
        "xn--a.com",
    ] {
        for path in ["/login", "/t/acme/login", "/t/globex/login"] {
            let answer = fixture.send(get(host, path)).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{host}{path}");
            assert_eq!(answer.code(), "tenant-unknown", "{host}{path}");
        }
    }
    // Hosts of the service and IP addresses select no tenant, so that another source can.
    for host in ["example.com", "www.example.com", "127.0.0.1", "[::1]:80"] {
        assert_eq!(fixture.send(get(host, "/login")).await.code(), "tenant-missing", "{host}");
        assert_eq!(fixture.send(get(host, "/t/acme/login")).await.status, StatusCode::OK, "{host}");
    }
    // A malformed host is still an error.
    for host in ["acme.com..", "a@acme.com", "acme.com, evil.com", "-acme.com", "acme.com:0"] {
        assert_eq!(fixture.send(get(host, "/login")).await.code(), "invalid-authority", "{host}");
    }
}

/// `I32`: a wildcard is no domain.
#[tokio::test]
async fn i32_and_names_of_the_service_itself_cannot_be_claimed() {
    let hosts = HostSource::new(["example.com", "eu.example.org"]).unwrap();
    for bad in [
        "*.acme.com",
        "*.com",
        "*",
        "example.com",
        "EXAMPLE.com.",
        "globex.example.com",
        "a.b.example.com",
        "eu.example.org",
        "acme.eu.example.org",
        "127.0.0.1",
        "localhost",
    ] {
        assert_eq!(hosts.parse_custom(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
    }
    for good in ["acme.com", "notexample.com", "example.com.acme.com", "example.org"] {
        assert!(hosts.parse_custom(good).is_ok(), "{good}");
    }
    // A claimed domain below the base domain is never looked up: the slug decides.
    let fixture = self::hosts().await;
    own(&*fixture.store, fixture.globex.id(), "acme.example.com").await;
    assert_eq!(fixture.send(get("acme.example.com", "/login")).await.body, "acme anonymous host");
}

/// `I33`: all spellings of one name are one row.
#[tokio::test]
async fn i33_a_domain_has_one_form() {
    let store = MemoryStore::new();
    let (acme, globex) = (TenantId::random(), TenantId::random());
    own(&store, &acme, "Shop.Acme.Com").await;
    for spelling in ["shop.acme.com", "SHOP.ACME.COM", "shop.acme.com."] {
        let error = store.claim_domain(&globex, &domain(spelling)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{spelling}");
    }
    assert_eq!(store.domains(&acme).await.unwrap().len(), 1);
}

#[tokio::test]
async fn ports_and_the_name_of_the_connection_are_held_for_custom_domains_too() {
    let fixture = Fixture::new().await;
    own(&*fixture.store, fixture.acme.id(), "acme.com").await;
    own(&*fixture.store, fixture.globex.id(), "globex.com").await;
    let hosts = HostSource::new(["example.com"])
        .unwrap()
        .custom_domains(fixture.store.clone())
        .ports([443])
        .require_sni_match();
    let resolver = Resolver::new(directory(&fixture)).source(hosts);
    let ask = async |host: &str, asked: Option<&str>| {
        let request = OwnedRequest::get("/").with_header("Host", host);
        let request = match asked {
            Some(asked) => request.with_tls(TlsInfo::new().with_server_name(asked)),
            None => request,
        };
        let found = resolver.resolve_unauthenticated(&request).await;
        found.map(|ctx| ctx.tenant().slug().to_string()).map_err(|error| error.kind())
    };
    assert_eq!(ask("acme.com", Some("acme.com")).await, Ok("acme".to_owned()));
    assert_eq!(ask("acme.com:443", Some("ACME.com")).await, Ok("acme".to_owned()));
    assert_eq!(ask("globex.com", Some("acme.com")).await, Err(ErrorKind::Misdirected));
    assert_eq!(ask("acme.com", Some("globex.com")).await, Err(ErrorKind::Misdirected));
    assert_eq!(ask("acme.com", None).await, Ok("acme".to_owned()));
    assert_eq!(ask("acme.com:8080", None).await, Err(ErrorKind::InvalidAuthority));
}

/// A store that is unreachable.
#[derive(Debug)]
struct Down;

#[async_trait]
impl TxtLookup for Down {
    async fn txt(&self, _: &str) -> Result<Vec<String>> {
        Err(tenancy::Error::new(ErrorKind::StoreUnavailable, "down"))
    }
}

#[tokio::test]
async fn a_domain_is_verified_by_its_dns_record() {
    let store = Arc::new(MemoryStore::new());
    let (acme, globex, name) = (TenantId::random(), TenantId::random(), domain("shop.acme.com"));
    let mine = challenge(&store.claim_domain(&acme, &name).await.unwrap());
    let theirs = challenge(&store.claim_domain(&globex, &name).await.unwrap());
    let record = mine.record_name();
    assert_eq!(record, "_tenancy-challenge.shop.acme.com");
    let text = mine.record_text();

    // The record is missing, under another name, or has another text.
    let cut = &text[..text.len() - 1];
    let wrong: [(&str, &[&str]); 4] = [
        ("shop.acme.com", &[&text]),
        ("_tenancy-challenge.acme.com", &[&text]),
        (&record, &["v=spf1 -all"]),
        (&record, &[cut]),
    ];
    let server = DnsServer::start(&wrong).await;
    let verifier = DomainVerifier::new(server.lookup(), store.clone());
    for tenant in [&acme, &globex] {
        assert!(!verifier.verify(tenant, &name).await.unwrap().is_verified());
    }
    assert_eq!(server.lookup().txt("nobody.com").await.unwrap(), Vec::<String>::new(), "NXDOMAIN");

    // The record among others, and in two strings of one record.
    let (head, tail) = text.split_at(20);
    let right: [(&str, &[&str]); 2] = [(&record, &["something else"]), (&record, &[head, tail])];
    let server = DnsServer::start(&right).await;
    let verifier = DomainVerifier::new(server.lookup(), store.clone());
    assert!(!verifier.verify(&globex, &name).await.unwrap().is_verified(), "that is acme's token");
    assert!(verifier.verify(&acme, &name).await.unwrap().is_verified());
    assert_eq!(store.by_domain(&name).await.unwrap(), Some(acme.clone()));
    assert_eq!(verifier.verify(&globex, &name).await.unwrap_err().kind(), ErrorKind::NotFound);
    let _ = theirs;
}

#[tokio::test]
async fn dns_that_does_not_answer_changes_nothing() {
    let store = Arc::new(MemoryStore::new());
    let (acme, name, pending) = (TenantId::random(), domain("acme.org"), domain("shop.acme.org"));
    own(&*store, &acme, "acme.org").await;
    store.claim_domain(&acme, &pending).await.unwrap();
    // This server rejects names below `org`; the other address has no listener.
    let server = DnsServer::start(&[]).await;
    let nobody = || DnsResolver::new([free_address()]).unwrap();
    let verifiers = [
        DomainVerifier::new(server.lookup(), store.clone()),
        DomainVerifier::new(nobody(), store.clone()),
        DomainVerifier::new(Down, store.clone()),
    ];
    for verifier in verifiers {
        for name in [&name, &pending] {
            let error = verifier.verify(&acme, name).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error:?}");
        }
    }
    assert_eq!(store.by_domain(&name).await.unwrap().as_ref(), Some(&acme), "what is verified stays so");
    let listed = store.domains(&acme).await.unwrap();
    assert_eq!(listed.iter().map(TenantDomain::is_verified).collect::<Vec<_>>(), [true, false]);
    assert_eq!(DnsResolver::new([]).unwrap_err().kind(), ErrorKind::Misconfigured);
}

fn challenge(claimed: &TenantDomain) -> Challenge {
    match &claimed.state {
        DomainState::Pending { challenge, .. } => challenge.clone(),
        state => panic!("not pending: {state:?}"),
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}
