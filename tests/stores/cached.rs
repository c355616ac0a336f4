//! The cache of a tenant store loads once for concurrent callers, never returns an older state, and keeps no error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tenancy::clock::{Clock, SystemClock, Timestamp};
use tenancy::store::{CacheOptions, CachedStore, Invalidation, MemoryStore};
use tenancy::tenant::{
    ApiKey, ApiKeyFormat, ApiKeyStore, NewTenant, Slug, Tenant, TenantId, TenantStatus, TenantStore,
};
use tenancy::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

/// Counts the queries and delays their results until they are released.
#[derive(Debug)]
struct Probe {
    inner: MemoryStore,
    asked: AtomicUsize,
    answers: Semaphore,
    down: AtomicBool,
}

impl Probe {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(),
            asked: AtomicUsize::new(0),
            answers: Semaphore::new(Semaphore::MAX_PERMITS),
            down: AtomicBool::new(false),
        })
    }

    fn hold(&self) {
        self.answers.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn let_go(&self) {
        self.answers.add_permits(Semaphore::MAX_PERMITS);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn answer<T>(&self, answer: Result<T>) -> Result<T> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _permit = self.answers.acquire().await.expect("the semaphore is open");
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::StoreUnavailable, "down"));
        }
        answer
    }
}

/// The probe as a store: a result is the state at the start of the query.
#[derive(Debug, Clone)]
struct Probed(Arc<Probe>);

#[async_trait]
impl TenantStore for Probed {
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        let answer = self.0.inner.by_id(id).await;
        self.0.answer(answer).await
    }

    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        let answer = self.0.inner.by_slug(slug).await;
        self.0.answer(answer).await
    }

    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>> {
        self.0.inner.list(after, limit).await
    }

    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        self.0.inner.insert(tenant).await
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        self.0.inner.update(tenant).await
    }
}

#[async_trait]
impl ApiKeyStore for Probed {
    async fn insert_key(&self, key: &ApiKey) -> Result<()> {
        self.0.inner.insert_key(key).await
    }

    async fn key(&self, id: &str) -> Result<Option<Arc<ApiKey>>> {
        let answer = self.0.inner.key(id).await;
        self.0.answer(answer).await
    }

    async fn revoke_key(&self, tenant: &TenantId, id: &str, now: Timestamp) -> Result<Arc<ApiKey>> {
        self.0.inner.revoke_key(tenant, id, now).await
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Arc<ApiKey>>> {
        self.0.inner.keys(tenant).await
    }
}

fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

fn acme() -> NewTenant {
    NewTenant::new(slug("acme"), "Acme", "free").status(TenantStatus::Active)
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done().await {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::task::yield_now().await;
    }
}

/// A tenant's id can equal the slug of another tenant.
#[tokio::test]
async fn r13_a_slug_and_an_id_of_one_text_are_two_tenants() {
    let probe = Probe::new();
    let store = CachedStore::new(Probed(probe.clone()), CacheOptions::new());
    let id = |text: &str| TenantId::parse(text).unwrap();
    for (own, name) in [("acme", "globex"), ("globex", "acme")] {
        store
            .insert(NewTenant::new(slug(name), name, "free").id(id(own)).status(TenantStatus::Active))
            .await
            .unwrap();
    }
    // The second lookup comes from memory.
    for _ in 0..2 {
        for (own, name) in [("acme", "globex"), ("globex", "acme")] {
            let by_id = store.by_id(&id(own)).await.unwrap().unwrap();
            let by_slug = store.by_slug(&slug(name)).await.unwrap().unwrap();
            assert_eq!((by_id.slug(), by_slug.id()), (&slug(name), &id(own)));
        }
    }
    // An integer is never a slug.
    assert!(Slug::parse("42").is_err() && TenantId::parse("42").is_ok());
}

/// `I93`: concurrent lookups are one query.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_lookups_are_one_query() {
    let probe = Probe::new();
    let tenant = probe.inner.insert(acme()).await.unwrap();
    let store = Arc::new(CachedStore::new(Probed(probe.clone()), CacheOptions::new()));
    probe.hold();
    let mut tasks = Vec::new();
    for n in 0..64 {
        let (store, id) = (store.clone(), tenant.id().clone());
        tasks.push(tokio::spawn(async move {
            // Half of the tasks look up a tenant that does not exist, which is also one query.
            if n % 2 == 0 { store.by_id(&id).await } else { store.by_slug(&slug("nobody")).await }
        }));
    }
    until("both questions arrive", async || probe.asked() == 2).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    probe.let_go();
    let mut found = 0;
    for task in tasks {
        found += usize::from(task.await.unwrap().unwrap().is_some());
    }
    assert_eq!((found, probe.asked()), (32, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_answer_never_replaces_a_newer_one() {
    for by_slug in [true, false] {
        let probe = Probe::new();
        let old = probe.inner.insert(acme()).await.unwrap();
        let store = Arc::new(CachedStore::new(Probed(probe.clone()), CacheOptions::new()));

        probe.hold();
        let slow = tokio::spawn({
            let (store, id) = (store.clone(), old.id().clone());
            async move { if by_slug { store.by_slug(&slug("acme")).await } else { store.by_id(&id).await } }
        });
        until("the slow question arrives", async || probe.asked() == 1).await;

        // Before the result arrives, another process commits a newer state and notifies the cache.
        let new = probe.inner.update(&old.with_status(TenantStatus::Suspended).unwrap()).await.unwrap();
        let told = tokio::spawn({
            let (store, new) = (store.clone(), new.clone());
            async move { store.committed(&new).await }
        });
        if by_slug {
            until("the newer state is kept", async || store.peek_id(new.id()).is_some()).await;
        }
        probe.let_go();
        slow.await.unwrap().unwrap();
        told.await.unwrap();

        assert_eq!(store.peek_id(new.id()), Some(new.clone()));
        assert_eq!(store.by_id(new.id()).await.unwrap(), Some(new.clone()));
        assert_eq!(store.by_slug(new.slug()).await.unwrap(), Some(new.clone()));

        // A late notification of the older state has no effect.
        store.committed(&old).await;
        assert_eq!(store.peek_id(new.id()), Some(new));
    }
}

#[tokio::test]
async fn a_late_result_under_an_old_slug_is_not_used() {
    let probe = Probe::new();
    let old = probe.inner.insert(acme()).await.unwrap();
    let store = Arc::new(CachedStore::new(Probed(probe.clone()), CacheOptions::new()));
    probe.hold();
    let slow = tokio::spawn({
        let store = store.clone();
        async move { store.by_slug(&slug("acme")).await }
    });
    until("the slow question arrives", async || probe.asked() == 1).await;
    let new = probe.inner.update(&old.with_slug(slug("acme-corp"))).await.unwrap();
    store.committed(&new).await;
    probe.let_go();
    assert_eq!(slow.await.unwrap().unwrap_err().kind(), ErrorKind::StoreUnavailable);
    assert_eq!(store.by_slug(&slug("acme")).await.unwrap(), None);
    assert_eq!(store.by_slug(&slug("acme-corp")).await.unwrap(), Some(new));
}

/// `I93`: names without a tenant.
#[tokio::test]
async fn what_does_not_exist_is_remembered_in_bounded_space_and_time() {
    let probe = Probe::new();
    let options = CacheOptions::new().negative_capacity(10).negative_ttl(Duration::from_millis(50));
    let store =
        CachedStore::new(Probed(probe.clone()), options.clone().negative_ttl(Duration::from_hours(1)));
    for _ in 0..5 {
        assert_eq!(store.by_slug(&slug("nobody")).await.unwrap(), None);
    }
    assert_eq!(probe.asked(), 1, "asked once, remembered after that");

    let names: Vec<Slug> = (0..1000).map(|n| slug(&format!("nobody-{n}"))).collect();
    let ask_for_all = async || {
        for name in &names {
            assert_eq!(store.by_slug(name).await.unwrap(), None);
        }
    };
    ask_for_all().await;
    assert_eq!(probe.asked(), 1 + names.len());
    until("old names make room for new ones", async || {
        let before = probe.asked();
        ask_for_all().await;
        probe.asked() - before >= 500
    })
    .await;

    let store = CachedStore::new(Probed(probe.clone()), options);
    assert_eq!(store.by_slug(&slug("late")).await.unwrap(), None);
    // Another process inserts the tenant.
    let late = probe.inner.insert(NewTenant::new(slug("late"), "Late", "free")).await.unwrap();
    until("the tenant shows up", async || store.by_slug(&slug("late")).await.unwrap().is_some()).await;
    assert_eq!(store.by_id(late.id()).await.unwrap(), Some(late));
}

#[tokio::test]
async fn an_insert_clears_what_was_remembered_as_absent() {
    let store = CachedStore::new(MemoryStore::new(), CacheOptions::new());
    let new = acme();
    let id = new.clone().into_tenant().id().clone();
    assert_eq!(store.by_slug(&slug("acme")).await.unwrap(), None);
    assert_eq!(store.by_id(&id).await.unwrap(), None);
    let acme = store.insert(new).await.unwrap();
    assert_eq!(store.by_slug(&slug("acme")).await.unwrap(), Some(acme.clone()));
    assert_eq!(store.by_id(&id).await.unwrap(), Some(acme));
}

#[tokio::test]
async fn a_tenant_that_is_forgotten_is_not_absent_again() {
    // A negative entry from before the insert would outlive the insert.
    let options = CacheOptions::new().ttl(Duration::from_millis(1)).negative_ttl(Duration::from_hours(1));
    let store = CachedStore::new(MemoryStore::new(), options);
    let new = acme();
    let id = new.clone().into_tenant().id().clone();
    assert_eq!(store.by_slug(&slug("acme")).await.unwrap(), None);
    assert_eq!(store.by_id(&id).await.unwrap(), None);
    let acme = store.insert(new).await.unwrap();
    until("the tenant is forgotten", async || store.peek_id(&id).is_none()).await;
    assert_eq!(store.by_id(&id).await.unwrap(), Some(acme.clone()));
    until("the tenant is forgotten", async || store.peek_slug(&slug("acme")).is_none()).await;
    assert_eq!(store.by_slug(&slug("acme")).await.unwrap(), Some(acme));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_is_down_is_unavailable_and_not_remembered_as_such() {
    let probe = Probe::new();
    let tenant = probe.inner.insert(acme()).await.unwrap();
    let store = Arc::new(CachedStore::new(Probed(probe.clone()), CacheOptions::new()));

    probe.down.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let error = store.by_id(tenant.id()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
        let error = store.by_slug(&slug("acme")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    }
    assert_eq!(probe.asked(), 6, "a failure is not an answer to keep");

    // Every caller that waits for a failed query gets its error.
    probe.hold();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (store, id) = (store.clone(), tenant.id().clone());
            tokio::spawn(async move { store.by_id(&id).await })
        })
        .collect();
    until("the question arrives", async || probe.asked() == 7).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    probe.let_go();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::StoreUnavailable);
    }
    assert!(probe.asked() < 7 + 32, "64 who wait are not 64 questions: {}", probe.asked());

    probe.down.store(false, Ordering::SeqCst);
    assert_eq!(store.by_id(tenant.id()).await.unwrap(), Some(tenant.clone()));
    assert_eq!(store.by_slug(&slug("acme")).await.unwrap(), Some(tenant));
}

#[tokio::test]
async fn the_loser_of_a_race_reads_the_winner() {
    let probe = Probe::new();
    let store = CachedStore::new(Probed(probe.clone()), CacheOptions::new());
    let read = store.insert(acme()).await.unwrap();
    // Another process wins, and nothing notifies the cache.
    let winner = probe.inner.update(&read.with_name("Winner")).await.unwrap();
    let lost = store.update(&read.with_name("Loser")).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::StaleVersion);
    assert_eq!(store.by_id(read.id()).await.unwrap(), Some(winner));
}

#[tokio::test]
async fn concurrent_readers_never_see_an_older_version() {
    let store = Arc::new(CachedStore::new(MemoryStore::new(), CacheOptions::new()));
    let mut acme = store.insert(acme()).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, done, id) = (store.clone(), done.clone(), acme.id().clone());
            std::thread::spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::SeqCst) {
                    for tenant in [store.peek_id(&id), store.peek_slug(&slug("acme"))] {
                        let version = tenant.expect("it is at hand").version();
                        assert!(version >= seen, "{version} after {seen}");
                        seen = version;
                    }
                }
                seen
            })
        })
        .collect();
    for n in 0..2000 {
        acme = store.update(&acme.with_name(format!("Acme {n}"))).await.unwrap();
        assert_eq!(store.peek_id(acme.id()).as_ref(), Some(&acme), "what was written is what is seen");
        assert_eq!(store.peek_slug(acme.slug()).as_ref(), Some(&acme), "what was written is what is seen");
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.join().unwrap() > 1, "the readers saw changes");
    }
    let renamed = store.update(&acme.with_slug(slug("acme-corp"))).await.unwrap();
    assert_eq!(store.peek_slug(&slug("acme")), None, "the old name is nobody's at once");
    assert_eq!(store.peek_slug(renamed.slug()), Some(renamed));
}

fn changed(tenant: &Tenant) -> Invalidation {
    Invalidation::Tenant(tenant.id().clone())
}

/// An invalidation does not wait for a load in progress, and the late result of that load is not cached.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_load_that_began_before_an_invalidation_is_not_cached() {
    for by_slug in [true, false] {
        let probe = Probe::new();
        let old = probe.inner.insert(acme()).await.unwrap();
        let store = Arc::new(CachedStore::new(Probed(probe.clone()), CacheOptions::new()));
        let mut others = Vec::new();
        for n in 0..20 {
            let other = probe.inner.insert(NewTenant::active(&format!("other-{n}"), "free").unwrap()).await;
            others.extend(store.by_id(other.unwrap().id()).await.unwrap());
        }
        let asked = probe.asked();
        probe.hold();
        let slow = tokio::spawn({
            let (store, id) = (store.clone(), old.id().clone());
            async move { if by_slug { store.by_slug(&slug("acme")).await } else { store.by_id(&id).await } }
        });
        until("the slow question arrives", async || probe.asked() == asked + 1).await;
        let new = probe.inner.update(&old.with_status(TenantStatus::Suspended).unwrap()).await.unwrap();
        store.invalidate(&changed(&new));
        probe.let_go();
        assert_eq!(slow.await.unwrap().unwrap(), Some(old.clone()), "the state when the load began");

        assert_eq!((store.peek_id(new.id()), store.peek_slug(new.slug())), (None, None));
        assert_eq!(store.by_id(new.id()).await.unwrap(), Some(new.clone()));
        assert_eq!(store.by_slug(new.slug()).await.unwrap(), Some(new.clone()));
        assert_eq!(store.peek_id(new.id()), Some(new));
        // A few other tenants share an entry of the table of changes.
        let cached = others.iter().filter(|other| store.peek_id(other.id()).as_ref() == Some(*other)).count();
        assert!(cached >= 15, "{cached} of 20 others are cached");
        store.invalidate(&Invalidation::All);
        assert!(others.iter().all(|other| store.peek_id(other.id()).is_none()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_absence_from_before_an_invalidation_is_not_cached() {
    for by_slug in [true, false] {
        let probe = Probe::new();
        let options = CacheOptions::new().negative_ttl(Duration::from_hours(1));
        let store = Arc::new(CachedStore::new(Probed(probe.clone()), options));
        let new = acme();
        let id = new.clone().into_tenant().id().clone();
        probe.hold();
        let slow = tokio::spawn({
            let (store, id) = (store.clone(), id.clone());
            async move { if by_slug { store.by_slug(&slug("acme")).await } else { store.by_id(&id).await } }
        });
        until("the slow question arrives", async || probe.asked() == 1).await;
        let acme = probe.inner.insert(new).await.unwrap();
        store.invalidate(&changed(&acme));
        probe.let_go();
        assert_eq!(slow.await.unwrap().unwrap(), None);
        assert_eq!(store.by_slug(&slug("acme")).await.unwrap(), Some(acme.clone()));
        assert_eq!(store.by_id(&id).await.unwrap(), Some(acme));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_is_revoked_while_it_is_loaded_is_not_cached() {
    let probe = Probe::new();
    let store = Arc::new(CachedStore::new(Probed(probe.clone()), CacheOptions::new()));
    let format = ApiKeyFormat::new("acme", "test").unwrap();
    let mut keys = Vec::new();
    for tenant in ["acme", "globex"] {
        let (key, _) = ApiKey::issue(&format, TenantId::parse(tenant).unwrap(), "key", SystemClock.now());
        probe.inner.insert_key(&key).await.unwrap();
        keys.push(key);
    }
    let (acme, globex) = (keys[0].clone(), keys[1].clone());
    probe.hold();
    let slow = tokio::spawn({
        let (store, id) = (store.clone(), acme.id().to_owned());
        async move { store.key(&id).await }
    });
    until("the slow question arrives", async || probe.asked() == 1).await;
    probe.inner.revoke_key(acme.tenant(), acme.id(), SystemClock.now()).await.unwrap();
    store.invalidate(&Invalidation::ApiKey(acme.id().to_owned()));
    probe.let_go();
    assert!(slow.await.unwrap().unwrap().unwrap().revoked().is_none(), "the state when the load began");
    assert!(store.key(acme.id()).await.unwrap().unwrap().revoked().is_some());
    assert!(store.key(globex.id()).await.unwrap().unwrap().revoked().is_none());
}

/// This process committed a version, another one the next. The notification of the second arrives first.
#[tokio::test]
async fn a_version_that_is_committed_late_does_not_hide_the_next_one() {
    let probe = Probe::new();
    let store = CachedStore::new(Probed(probe.clone()), CacheOptions::new());
    let first = probe.inner.insert(acme()).await.unwrap();
    assert_eq!(store.by_id(first.id()).await.unwrap(), Some(first.clone()));
    let second = probe.inner.update(&first.with_plan("pro")).await.unwrap();
    let third = probe.inner.update(&second.with_status(TenantStatus::Suspended).unwrap()).await.unwrap();
    store.invalidate(&changed(&third));
    store.committed(&second).await;
    assert_eq!(store.peek_id(first.id()), None);
    assert_eq!(store.by_id(first.id()).await.unwrap(), Some(third.clone()));
    store.committed(&second).await;
    assert_eq!(store.peek_id(first.id()), Some(third));
}
