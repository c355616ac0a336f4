//! Fixture: a node of a deployment, whose caches are notified of changes by others.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgPool, Postgres};
use tenancy::clock::{Clock, SystemClock};
use tenancy::context::Actor;
use tenancy::resolve::Membership;
use tenancy::store::{
    CacheOptions, CachedMembership, CachedStore, Invalidation, InvalidationListener, ListenerTask,
    RedisInvalidation, SqlStore,
};
use tenancy::tenant::{
    ApiKey, ApiKeyFormat, ApiKeyStore, Domain, DomainState, DomainStore, NewTenant, Slug, Tenant, TenantId,
    TenantStore,
};

use crate::common::{Cleanup, TestBackend, redis_url};

/// Long after the end of the test.
const HOUR: Duration = Duration::from_hours(1);

/// How the nodes notify each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Postgres,
    Redis,
}

/// Who is a member of which tenant, as an application stores it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members(pub(crate) Arc<Mutex<HashSet<(TenantId, String)>>>);

#[async_trait]
impl Membership for Members {
    async fn is_member(&self, tenant: &TenantId, actor: &Actor) -> tenancy::Result<bool> {
        Ok(self.0.lock().unwrap().contains(&(tenant.clone(), actor.to_string())))
    }
}

/// What the nodes of a deployment share.
pub(crate) struct Deployment {
    pub(crate) transport: Transport,
    pub(crate) pool: PgPool,
    pub(crate) members: Members,
    pub(crate) redis: String,
    _cleanup: Option<Cleanup>,
}

impl Deployment {
    pub(crate) async fn new(transport: Transport) -> Self {
        let (pool, cleanup) = Postgres::fresh(6).await;
        SqlStore::new(pool.clone()).migrate().await.unwrap();
        let members = Members::default();
        Self { transport, pool, members, redis: redis_url(), _cleanup: Some(cleanup) }
    }

    /// The deployment as another process sees it.
    pub(crate) async fn at(transport: Transport, url: &str) -> Self {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(3).connect(url).await.unwrap();
        Self { transport, pool, members: Members::default(), redis: redis_url(), _cleanup: None }
    }

    pub(crate) fn url(&self) -> String {
        self.pool.connect_options().to_url_lossy().to_string()
    }

    /// The same, whose nodes reach Redis at another address.
    pub(crate) fn redis_at(self, url: &str) -> Self {
        Self { redis: url.to_owned(), ..self }
    }

    /// The same, whose nodes connect to PostgreSQL with these options.
    pub(crate) fn with_options(self, options: PgConnectOptions) -> Self {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(3).connect_lazy_with(options);
        Self { pool, ..self }
    }

    pub(crate) fn channel(&self) -> RedisInvalidation {
        let client = redis::Client::open(self.redis.as_str()).unwrap();
        RedisInvalidation::new(client, self.pool.connect_options().get_database().unwrap())
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        (*self.pool.connect_options()).clone()
    }

    fn cached(&self) -> CachedStore<SqlStore<Postgres>> {
        let options = CacheOptions::new().ttl(HOUR).negative_ttl(HOUR);
        let cache = CachedStore::new(SqlStore::new(self.pool.clone()), options);
        if self.transport == Transport::Redis { cache.publish_to(self.channel()) } else { cache }
    }

    /// A node that is not connected yet.
    pub(crate) fn start(&self) -> Node {
        let cache = Arc::new(self.cached());
        let members = CachedMembership::new(self.members.clone(), HOUR);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listener = match self.transport {
            Transport::Postgres => InvalidationListener::postgres(self.options()),
            Transport::Redis => InvalidationListener::redis(self.channel()),
        };
        let log = seen.clone();
        let listener = listener.cache(&cache).members(&members);
        let listener = listener.on_change(move |change| log.lock().unwrap().push(change.clone()));
        Node { cache, members, seen, listener: listener.spawn(), pool: self.pool.clone() }
    }

    pub(crate) async fn node(&self) -> Node {
        let node = self.start();
        until("the listener is connected", async || node.listener.status().is_connected()).await;
        node
    }

    /// Notifies the nodes of a change that the application stores.
    pub(crate) async fn publish(&self, change: &Invalidation) {
        match self.transport {
            Transport::Postgres => SqlStore::new(self.pool.clone()).publish(change).await.unwrap(),
            Transport::Redis => self.channel().publish(change).await.unwrap(),
        }
    }
}

/// A process with a cache of an hour.
pub(crate) struct Node {
    pub(crate) cache: Arc<CachedStore<SqlStore<Postgres>>>,
    pub(crate) members: CachedMembership,
    /// Every change of which it was notified.
    pub(crate) seen: Arc<Mutex<Vec<Invalidation>>>,
    pub(crate) listener: ListenerTask,
    pub(crate) pool: PgPool,
}

impl Node {
    pub(crate) async fn insert(&self, slug: &str) -> Arc<Tenant> {
        self.cache.insert(NewTenant::active(slug, "free").unwrap()).await.unwrap()
    }

    pub(crate) async fn tenant(&self, slug: &str) -> Option<Arc<Tenant>> {
        self.cache.by_slug(&Slug::parse(slug).unwrap()).await.unwrap()
    }

    pub(crate) async fn key(&self, tenant: &Tenant) -> ApiKey {
        let format = ApiKeyFormat::new("acme", "test").unwrap();
        let (key, _) = ApiKey::issue(&format, tenant.id().clone(), "key", SystemClock.now());
        self.cache.insert_key(&key).await.unwrap();
        key
    }

    pub(crate) async fn revoke(&self, key: &ApiKey) {
        self.cache.revoke_key(key.tenant(), key.id(), SystemClock.now()).await.unwrap();
    }

    pub(crate) async fn is_revoked(&self, key: &ApiKey) -> bool {
        self.cache.key(key.id()).await.unwrap().unwrap().revoked().is_some()
    }

    pub(crate) async fn verify(&self, tenant: &Tenant, domain: &Domain) {
        let claimed = self.cache.claim_domain(tenant.id(), domain).await.unwrap();
        let DomainState::Pending { challenge, .. } = claimed.state else { panic!("{claimed:?}") };
        let seen = [challenge.record_text()];
        self.cache.verify_domain(tenant.id(), domain, &seen).await.unwrap();
    }

    pub(crate) async fn owner(&self, domain: &Domain) -> Option<TenantId> {
        self.cache.by_domain(domain).await.unwrap()
    }

    pub(crate) async fn is_member(&self, tenant: &Tenant, name: &str) -> bool {
        self.members.is_member(tenant.id(), &Actor::user(name)).await.unwrap()
    }
}

/// Waits until `done`, for 30 seconds at most.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done().await {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::task::yield_now().await;
    }
}
