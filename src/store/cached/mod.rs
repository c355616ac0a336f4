//! [`CachedStore`] and [`CachedMembership`]: caches in front of a store and of a membership check.

#[cfg(feature = "api-keys")]
mod api_keys;
#[cfg(feature = "custom-domains")]
mod domains;
mod epochs;
mod l1;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod listening;
#[cfg(any(feature = "api-keys", feature = "custom-domains"))]
mod loading;
mod members;
mod options;
mod store_calls;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use moka::future::Cache;
use moka::ops::compute::{CompResult, Op};

use self::epochs::{Epochs, Stamp, Stamped};
use self::l1::L1Cache;
#[cfg(any(feature = "api-keys", feature = "custom-domains"))]
use self::loading::LoadingCache;
pub use self::members::CachedMembership;
pub use self::options::CacheOptions;
use self::store_calls::StoreCalls;
use super::invalidation::Invalidation;
use super::metrics;
use super::publisher::Publisher;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStore};

/// Caches the tenants, domains and API keys of a store in memory.
///
/// - Concurrent lookups of the same tenant make one query.
/// - An older version never replaces a newer one, even if its query returns later.
/// - An id, slug, domain or API key that does not exist is cached too: for a short time, and in bounded memory.
/// - An error is never cached.
/// - A tenant that a place refuses, because it is being moved or was moved, is read again.
///
/// # Security
/// A change by another process is seen after the [`ttl`](CacheOptions::ttl) at the latest. Until then a suspended
/// tenant is still served, a removed domain still selects its tenant, and a revoked API key is still accepted. With an
/// `InvalidationListener` (features `postgres` or `redis`) it is seen at once, as long as the listener is connected.
///
/// If the future of a change is dropped before it completes, as when a client disconnects, the change may have been
/// made, and this cache sees it as late as any other process does. Run changes that must be seen at once in a task of
/// their own.
///
/// ```
/// use tenancy::store::{CacheOptions, CachedStore, MemoryStore};
/// # use tenancy::tenant::{NewTenant, Slug, TenantStore};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
/// let store = CachedStore::new(MemoryStore::new(), CacheOptions::new().capacity(50_000));
/// let acme = store.insert(NewTenant::new(Slug::parse("acme")?, "Acme", "free")).await?;
/// assert!(store.peek_id(acme.id()).is_some());
/// # Ok(()) }
/// ```
pub struct CachedStore<S> {
    store: S,
    tenants: Cache<TenantId, Stamped<Arc<Tenant>>>,
    /// A hint: an entry is valid only if the tenant still has the slug.
    slugs: Cache<Slug, TenantId>,
    /// An entry is valid until any tenant changes: a change can give a tenant any slug.
    absent: Cache<TenantKey, Stamp>,
    l1: L1Cache,
    epochs: Epochs,
    calls: StoreCalls,
    publisher: Publisher,
    #[cfg(feature = "custom-domains")]
    domains: LoadingCache<crate::tenant::Domain, TenantId>,
    #[cfg(feature = "api-keys")]
    api_keys: LoadingCache<String, Arc<crate::tenant::ApiKey>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum TenantKey {
    Id(TenantId),
    Slug(Slug),
}

impl<S> CachedStore<S> {
    /// A cache in front of `store`.
    ///
    /// # Panics
    /// If one of the time-to-live values is longer than 1000 years.
    #[expect(clippy::needless_pass_by_value, reason = "options are built in place and used up")]
    pub fn new(store: S, options: CacheOptions) -> Self {
        #[cfg(feature = "custom-domains")]
        let domains = LoadingCache::new(&options);
        #[cfg(feature = "api-keys")]
        let api_keys = LoadingCache::new(&options);
        let CacheOptions { capacity, ttl, negative_capacity, negative_ttl } = options;
        // An entry can enter the L1 cache at the end of its time in the main cache: both times together are `ttl`.
        let l1_ttl = ttl / 16;
        let ttl = ttl.saturating_sub(l1_ttl);
        Self {
            store,
            l1: L1Cache::new(capacity, l1_ttl),
            tenants: Cache::builder().max_capacity(capacity).time_to_live(ttl).build(),
            slugs: Cache::builder().max_capacity(capacity).time_to_live(ttl).build(),
            absent: Cache::builder().max_capacity(negative_capacity).time_to_live(negative_ttl).build(),
            epochs: Epochs::new(),
            calls: StoreCalls::default(),
            publisher: Publisher::default(),
            #[cfg(feature = "custom-domains")]
            domains,
            #[cfg(feature = "api-keys")]
            api_keys,
        }
    }
}

impl<S> CachedStore<S> {
    /// Publishes each change that is made through this cache to the other processes, after it was committed.
    ///
    /// `SqlStore` on PostgreSQL notifies the others by itself, in the transaction of the change.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn publish_to(mut self, redis: super::RedisInvalidation) -> Self {
        self.publisher = Publisher::new(redis);
        self
    }

    /// Makes this cache query the store again for what another process changed. Does not wait.
    ///
    /// An `InvalidationListener` calls it. The result of a query that began before is not cached.
    pub fn invalidate(&self, change: &Invalidation) {
        match change {
            Invalidation::Tenant(id) => self.invalidate_tenant(id),
            #[cfg(feature = "api-keys")]
            Invalidation::ApiKey(id) => self.api_keys.invalidate(id),
            #[cfg(feature = "custom-domains")]
            Invalidation::Domain(domain) => self.invalidate_domain(domain),
            Invalidation::All => self.invalidate_all(),
            _ => {}
        }
    }

    fn invalidate_all(&self) {
        let _change = self.l1.begin_change();
        self.epochs.change_all();
        #[cfg(feature = "custom-domains")]
        self.domains.invalidate_all();
        #[cfg(feature = "api-keys")]
        self.api_keys.invalidate_all();
    }

    fn invalidate_tenant(&self, id: &TenantId) {
        let _change = self.l1.begin_change();
        self.epochs.change(id);
    }

    fn is_current(&self, tenant: &Stamped<Arc<Tenant>>) -> bool {
        !tenant.value.is_outdated() && self.epochs.is_current(tenant.value.id(), tenant.stamp)
    }

    fn is_absent(&self, key: &TenantKey) -> bool {
        let stamp = self.absent.get(key).now_or_never().flatten();
        stamp.is_some_and(|stamp| self.epochs.is_latest(stamp))
    }

    fn cached_by_id(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        let cached = self.tenants.get(id).now_or_never().flatten();
        cached.filter(|cached| self.is_current(cached)).map(|cached| cached.value)
    }

    fn cached_by_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        let id = self.slugs.get(slug).now_or_never().flatten()?;
        self.cached_by_id(&id).filter(|tenant| tenant.slug() == slug)
    }
}

impl<S: TenantStore> CachedStore<S> {
    /// Caches a tenant unless a newer version is cached, be it outdated. Returns the newer of both.
    async fn cache(&self, tenant: Arc<Tenant>, stamp: Stamp) -> Arc<Tenant> {
        let tenant = fresh(tenant);
        let candidate = Stamped { value: tenant.clone(), stamp };
        let _change = self.l1.begin_change();
        let cached = self
            .tenants
            .entry_by_ref(tenant.id())
            .and_compute_with(|entry| {
                let put = self.replace(entry.map(moka::Entry::into_value), candidate);
                async {
                    self.absent.invalidate(&TenantKey::Id(tenant.id().clone())).await;
                    put.map_or(Op::Nop, Op::Put)
                }
            })
            .await;
        match cached {
            CompResult::Unchanged(entry) | CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) => {
                entry.into_value().value
            }
            CompResult::StillNone(_) | CompResult::Removed(_) => tenant,
        }
    }

    /// What replaces a cached tenant; `None` if its version is newer. A newer version is current for as long as a current
    /// older one is.
    fn replace(
        &self,
        cached: Option<Stamped<Arc<Tenant>>>,
        mut candidate: Stamped<Arc<Tenant>>,
    ) -> Option<Stamped<Arc<Tenant>>> {
        if let Some(cached) = cached {
            if cached.value.version() > candidate.value.version() {
                return None;
            }
            if self.is_current(&cached) {
                candidate.stamp = candidate.stamp.max(cached.stamp);
            }
        }
        Some(candidate)
    }

    /// Caches a tenant that was just written, by id and by slug.
    async fn cache_written(&self, tenant: Arc<Tenant>, stamp: Stamp) {
        let cached = self.cache(tenant, stamp).await;
        self.slugs
            .entry_by_ref(cached.slug())
            .and_compute_with(|_| async {
                self.absent.invalidate(&TenantKey::Slug(cached.slug().clone())).await;
                Op::Put(cached.id().clone())
            })
            .await;
    }

    /// Loads a tenant by id. One load runs at a time for each id.
    async fn load_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        let failures = self.calls.failures();
        let (mut loaded, mut changed) = (None, None);
        self.tenants
            .entry_by_ref(id)
            .and_try_compute_with(|entry| async {
                // Another task may have loaded the tenant while this one waited for the entry.
                let cached = entry.map(moka::Entry::into_value);
                if let Some(current) = cached.as_ref().filter(|cached| self.is_current(cached)) {
                    loaded = Some(current.value.clone());
                    return Ok::<_, Error>(Op::Nop);
                }
                let absent = TenantKey::Id(id.clone());
                if self.is_absent(&absent) {
                    return Ok(Op::Nop);
                }
                let stamp = self.epochs.now();
                let Some(tenant) = self.calls.run(failures, self.store.by_id(id)).await?.map(fresh) else {
                    self.absent.insert(absent, stamp).await;
                    return Ok(Op::Remove);
                };
                changed = Some(self.l1.begin_change());
                let newer = cached.as_ref().map(|cached| cached.value.clone());
                let put = self.replace(cached, Stamped { value: tenant.clone(), stamp });
                loaded = if put.is_some() { Some(tenant) } else { newer };
                Ok(put.map_or(Op::Nop, Op::Put))
            })
            .await?;
        drop(changed);
        Ok(loaded)
    }

    /// Loads a tenant by slug. One load runs at a time for each slug.
    async fn load_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        let failures = self.calls.failures();
        let mut loaded = None;
        self.slugs
            .entry_by_ref(slug)
            .and_try_compute_with(|_| async {
                // Another task may have loaded the tenant while this one waited for the entry.
                loaded = self.cached_by_slug(slug);
                if loaded.is_some() || self.is_absent(&TenantKey::Slug(slug.clone())) {
                    return Ok::<_, Error>(Op::Nop);
                }
                let stamp = self.epochs.now();
                let Some(tenant) = self.calls.run(failures, self.store.by_slug(slug)).await? else {
                    self.absent.insert(TenantKey::Slug(slug.clone()), stamp).await;
                    return Ok(Op::Remove);
                };
                let cached = self.cache(tenant, stamp).await;
                if cached.slug() != slug {
                    // The query read an older state than the one that is cached.
                    return Err(Error::new(
                        ErrorKind::StoreUnavailable,
                        "the tenant was renamed while it was read; try again",
                    ));
                }
                let id = cached.id().clone();
                loaded = Some(cached);
                Ok(Op::Put(id))
            })
            .await?;
        Ok(loaded)
    }
}

/// The tenant as it was just read. A store in memory returns the value that it returned before, with its mark.
fn fresh(tenant: Arc<Tenant>) -> Arc<Tenant> {
    if tenant.is_outdated() { Arc::new(Tenant::clone(&tenant)) } else { tenant }
}

#[async_trait]
impl<S: TenantStore> TenantStore for CachedStore<S> {
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        let cached = self.tenants.get(id).await;
        if let Some(tenant) = cached.filter(|cached| self.is_current(cached)) {
            metrics::hit();
            return Ok(Some(tenant.value));
        }
        if self.is_absent(&TenantKey::Id(id.clone())) {
            metrics::absent();
            return Ok(None);
        }
        metrics::miss();
        self.load_id(id).await
    }

    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        if let Some(tenant) = self.cached_by_slug(slug) {
            metrics::hit();
            return Ok(Some(tenant));
        }
        if self.is_absent(&TenantKey::Slug(slug.clone())) {
            metrics::absent();
            return Ok(None);
        }
        metrics::miss();
        self.load_slug(slug).await
    }

    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>> {
        self.store.list(after, limit).await
    }

    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        let stamp = self.epochs.now();
        let tenant = self.store.insert(tenant).await?;
        self.cache_written(tenant.clone(), stamp).await;
        self.publisher.publish(Invalidation::Tenant(tenant.id().clone())).await;
        Ok(tenant)
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        let stamp = self.epochs.now();
        let updated = self.store.update(tenant).await;
        match &updated {
            Ok(next) => self.cache_written(next.clone(), stamp).await,
            // Another writer changed the tenant, or it is not known whether this change was made: the next read must
            // query the store.
            Err(_) => self.invalidate_tenant(tenant.id()),
        }
        self.publisher.publish(Invalidation::Tenant(tenant.id().clone())).await;
        updated
    }

    fn peek_id(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        let tenant = self.l1.get_or(id, |tenant| tenant.id() == id, || self.cached_by_id(id));
        tenant.inspect(|_| metrics::hit())
    }

    fn peek_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        let tenant = self.l1.get_or(slug, |tenant| tenant.slug() == slug, || self.cached_by_slug(slug));
        tenant.inspect(|_| metrics::hit())
    }

    async fn committed(&self, tenant: &Arc<Tenant>) {
        self.cache_written(tenant.clone(), Stamp::UNKNOWN).await;
        self.store.committed(tenant).await;
        self.publisher.publish(Invalidation::Tenant(tenant.id().clone())).await;
    }
}

impl<S: fmt::Debug> fmt::Debug for CachedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore").field("store", &self.store).finish_non_exhaustive()
    }
}
