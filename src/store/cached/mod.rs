//! [`CachedStore`] and [`CachedMembership`]: caches in front of a store and of a membership check.

#[cfg(feature = "api-keys")]
mod api_keys;
#[cfg(feature = "custom-domains")]
mod domains;
mod l1;
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

use self::l1::L1Cache;
#[cfg(any(feature = "api-keys", feature = "custom-domains"))]
use self::loading::LoadingCache;
pub use self::members::CachedMembership;
pub use self::options::CacheOptions;
use self::store_calls::StoreCalls;
use super::metrics;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStore};

/// Caches the tenants, domains and API keys of a store in memory.
///
/// - Concurrent lookups of the same tenant make one query.
/// - An older version never replaces a newer one, even if its query returns later.
/// - An id, slug, domain or API key that does not exist is cached too: for a short time, and in bounded memory.
/// - An error is never cached.
///
/// # Security
/// A change by another process is seen after the [`ttl`](CacheOptions::ttl) at the latest. Until then a suspended
/// tenant is still served, a removed domain still selects its tenant, and a revoked API key is still accepted. To
/// apply a change of a tenant at once, pass it to [`committed`](TenantStore::committed).
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
    tenants: Cache<TenantId, Arc<Tenant>>,
    /// A hint: an entry is valid only if the tenant still has the slug.
    slugs: Cache<Slug, TenantId>,
    absent: Cache<TenantKey, ()>,
    l1: L1Cache,
    calls: StoreCalls,
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
            calls: StoreCalls::default(),
            #[cfg(feature = "custom-domains")]
            domains,
            #[cfg(feature = "api-keys")]
            api_keys,
        }
    }
}

impl<S: TenantStore> CachedStore<S> {
    /// Caches a tenant unless a newer version is cached. Returns the cached version.
    async fn cache(&self, tenant: Arc<Tenant>) -> Arc<Tenant> {
        let candidate = tenant.clone();
        let _change = self.l1.begin_change();
        let cached = self
            .tenants
            .entry_by_ref(tenant.id())
            .and_compute_with(|entry| {
                let newer = entry.is_some_and(|entry| entry.value().version() > candidate.version());
                async move {
                    self.absent.invalidate(&TenantKey::Id(candidate.id().clone())).await;
                    if newer { Op::Nop } else { Op::Put(candidate) }
                }
            })
            .await;
        match cached {
            CompResult::Unchanged(entry) | CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) => {
                entry.into_value()
            }
            CompResult::StillNone(_) | CompResult::Removed(_) => tenant,
        }
    }

    /// Caches a tenant that was just written, by id and by slug.
    async fn cache_written(&self, tenant: Arc<Tenant>) {
        let cached = self.cache(tenant).await;
        self.slugs
            .entry_by_ref(cached.slug())
            .and_compute_with(|_| async {
                self.absent.invalidate(&TenantKey::Slug(cached.slug().clone())).await;
                Op::Put(cached.id().clone())
            })
            .await;
    }

    /// Evicts a tenant whose stored state is uncertain, unless a newer version is cached.
    async fn evict(&self, tenant: &Tenant) {
        let _change = self.l1.begin_change();
        self.tenants
            .entry_by_ref(tenant.id())
            .and_compute_with(|entry| {
                let newer = entry.is_some_and(|entry| entry.value().version() > tenant.version());
                std::future::ready(if newer { Op::Nop } else { Op::Remove })
            })
            .await;
    }

    fn cached_by_id(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.get(id).now_or_never().flatten()
    }

    fn cached_by_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        let id = self.slugs.get(slug).now_or_never().flatten()?;
        self.cached_by_id(&id).filter(|tenant| tenant.slug() == slug)
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
                if loaded.is_some() || self.absent.contains_key(&TenantKey::Slug(slug.clone())) {
                    return Ok::<_, Error>(Op::Nop);
                }
                let Some(tenant) = self.calls.run(failures, self.store.by_slug(slug)).await? else {
                    self.absent.insert(TenantKey::Slug(slug.clone()), ()).await;
                    return Ok(Op::Remove);
                };
                let cached = self.cache(tenant).await;
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

#[async_trait]
impl<S: TenantStore> TenantStore for CachedStore<S> {
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        if let Some(tenant) = self.tenants.get(id).await {
            metrics::hit();
            return Ok(Some(tenant));
        }
        let absent = TenantKey::Id(id.clone());
        if self.absent.contains_key(&absent) {
            metrics::absent();
            return Ok(None);
        }
        metrics::miss();
        let failures = self.calls.failures();
        let mut changed = None;
        let change = &mut changed;
        let result = self
            .tenants
            .entry_by_ref(id)
            .and_try_compute_with(|entry| async move {
                // Another task may have loaded the tenant while this one waited for the entry.
                if entry.is_some() || self.absent.contains_key(&absent) {
                    return Ok::<_, Error>(Op::Nop);
                }
                if let Some(tenant) = self.calls.run(failures, self.store.by_id(id)).await? {
                    *change = Some(self.l1.begin_change());
                    return Ok(Op::Put(tenant));
                }
                self.absent.insert(absent, ()).await;
                Ok(Op::Nop)
            })
            .await?;
        drop(changed);
        Ok(result.into_entry().map(moka::Entry::into_value))
    }

    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        if let Some(tenant) = self.cached_by_slug(slug) {
            metrics::hit();
            return Ok(Some(tenant));
        }
        if self.absent.contains_key(&TenantKey::Slug(slug.clone())) {
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
        let tenant = self.store.insert(tenant).await?;
        self.cache_written(tenant.clone()).await;
        Ok(tenant)
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        match self.store.update(tenant).await {
            Ok(next) => {
                self.cache_written(next.clone()).await;
                Ok(next)
            }
            Err(error) => {
                // Another writer changed the tenant, or it is not known whether this change was made: the next read
                // must query the store.
                self.evict(tenant).await;
                Err(error)
            }
        }
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
        self.cache_written(tenant.clone()).await;
        self.store.committed(tenant).await;
    }
}

impl<S: fmt::Debug> fmt::Debug for CachedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore").field("store", &self.store).finish_non_exhaustive()
    }
}
