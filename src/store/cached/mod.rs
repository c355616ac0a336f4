#[cfg(feature = "api-keys")]
mod api_keys;
mod domains;
mod l1;
mod loading;
mod members;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use moka::future::Cache;
use moka::ops::compute::{CompResult, Op};

use self::l1::L1Cache;
use self::loading::LoadingCache;
pub use self::members::CachedMembership;
use super::metrics;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Domain, NewTenant, Slug, Tenant, TenantId, TenantStore};

/// A store in front of which the tenants that are asked for often are kept in memory, and their domains and API keys.
///
/// - However many ask for one tenant at once, the store is asked once.
/// - An older version never replaces a newer one, even if it was slower to arrive.
/// - That a tenant does not exist is remembered apart, for a short time and in bounded space; that the store
///   failed is never remembered.
///
/// # Security
/// What another process changes is seen after the [`ttl`](CacheOptions::ttl) at the latest: so long a
/// suspended tenant is still served, a domain that was removed still reaches its tenant, and an API key that was revoked
/// still opens. Pass changes of tenants on with [`committed`](TenantStore::committed) to have them seen at once.
///
/// A change whose future is dropped before it ended, as when a client hangs up, may have been made, and is then seen here
/// no sooner than elsewhere: make changes that must not wait in a task of their own.
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
    /// Only a hint: what it says counts if the tenant still has the slug.
    slugs: Cache<Slug, TenantId>,
    absent: Cache<Name, ()>,
    l1: L1Cache,
    failures: AtomicU64,
    domains: LoadingCache<Domain, TenantId>,
    #[cfg(feature = "api-keys")]
    api_keys: LoadingCache<String, Arc<crate::tenant::ApiKey>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Id(TenantId),
    Slug(Slug),
}

/// How much a [`CachedStore`] store keeps, and for how long.
#[derive(Debug, Clone)]
#[must_use]
pub struct CacheOptions {
    capacity: u64,
    ttl: Duration,
    negative_capacity: u64,
    negative_ttl: Duration,
}

impl CacheOptions {
    /// 10,000 tenants for 60 seconds, and 10,000 names that do not exist for 5 seconds. As many domains, and as many API
    /// keys.
    pub fn new() -> Self {
        Self {
            capacity: 10_000,
            ttl: Duration::from_mins(1),
            negative_capacity: 10_000,
            negative_ttl: Duration::from_secs(5),
        }
    }

    /// How many tenants are kept.
    pub fn capacity(self, capacity: u64) -> Self {
        Self { capacity, ..self }
    }

    /// How long a tenant is kept: how stale it can be when another process changed it.
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// How many names that do not exist are kept.
    pub fn negative_capacity(self, negative_capacity: u64) -> Self {
        Self { negative_capacity, ..self }
    }

    /// How long a name that does not exist is kept: how late it can be seen when another process inserted it.
    pub fn negative_ttl(self, negative_ttl: Duration) -> Self {
        Self { negative_ttl, ..self }
    }
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> CachedStore<S> {
    /// A cache in front of `store`.
    ///
    /// # Panics
    /// If one of the times is longer than 1000 years.
    #[expect(clippy::needless_pass_by_value, reason = "options are built in place and used up")]
    pub fn new(store: S, options: CacheOptions) -> Self {
        let domains = LoadingCache::new(&options);
        #[cfg(feature = "api-keys")]
        let api_keys = LoadingCache::new(&options);
        let CacheOptions { capacity, ttl, negative_capacity, negative_ttl } = options;
        // What is seen in front may have stood in the cache for all its time: together they are as old as was allowed.
        let l1 = ttl / 16;
        let ttl = ttl.saturating_sub(l1);
        Self {
            store,
            l1: L1Cache::new(capacity, l1),
            tenants: Cache::builder().max_capacity(capacity).time_to_live(ttl).build(),
            slugs: Cache::builder().max_capacity(capacity).time_to_live(ttl).build(),
            absent: Cache::builder().max_capacity(negative_capacity).time_to_live(negative_ttl).build(),
            failures: AtomicU64::new(0),
            domains,
            #[cfg(feature = "api-keys")]
            api_keys,
        }
    }
}

impl<S: TenantStore> CachedStore<S> {
    /// Asks the store, unless it failed since `seen` was read: who waited for somebody else's failed attempt
    /// fails with it, instead of queueing up for attempts of their own.
    async fn ask<T>(&self, seen: u64, question: impl Future<Output = Result<T>>) -> Result<T> {
        if self.failures.load(Ordering::Acquire) != seen {
            return Err(Error::new(ErrorKind::StoreUnavailable, "the tenant store cannot be reached"));
        }
        let answer = question.await;
        if answer.as_ref().is_err_and(Error::is_transient) {
            self.failures.fetch_add(1, Ordering::AcqRel);
        }
        answer
    }

    /// Keeps a tenant, unless a newer version is kept, and answers with what is kept.
    async fn keep(&self, tenant: Arc<Tenant>) -> Arc<Tenant> {
        let offered = tenant.clone();
        let _change = self.l1.change();
        let kept = self
            .tenants
            .entry_by_ref(tenant.id())
            .and_compute_with(|entry| {
                let newer = entry.is_some_and(|entry| entry.value().version() > offered.version());
                async move {
                    self.absent.invalidate(&Name::Id(offered.id().clone())).await;
                    if newer { Op::Nop } else { Op::Put(offered) }
                }
            })
            .await;
        match kept {
            CompResult::Unchanged(entry) | CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) => {
                entry.into_value()
            }
            CompResult::StillNone(_) | CompResult::Removed(_) => tenant,
        }
    }

    /// Keeps a tenant that was just written, under its slug as well.
    async fn keep_written(&self, tenant: Arc<Tenant>) {
        let kept = self.keep(tenant).await;
        self.slugs
            .entry_by_ref(kept.slug())
            .and_compute_with(|_| async {
                self.absent.invalidate(&Name::Slug(kept.slug().clone())).await;
                Op::Put(kept.id().clone())
            })
            .await;
    }

    /// Forgets a tenant whose state is in doubt, unless a newer version is kept.
    async fn forget(&self, tenant: &Tenant) {
        let _change = self.l1.change();
        self.tenants
            .entry_by_ref(tenant.id())
            .and_compute_with(|entry| {
                let newer = entry.is_some_and(|entry| entry.value().version() > tenant.version());
                std::future::ready(if newer { Op::Nop } else { Op::Remove })
            })
            .await;
    }

    fn kept_id(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.get(id).now_or_never().flatten()
    }

    fn kept_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        let id = self.slugs.get(slug).now_or_never().flatten()?;
        self.kept_id(&id).filter(|tenant| tenant.slug() == slug)
    }

    /// Asks the store by slug; one at a time for each slug.
    async fn load_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        let seen = self.failures.load(Ordering::Acquire);
        let mut loaded = None;
        self.slugs
            .entry_by_ref(slug)
            .and_try_compute_with(|_| async {
                // Somebody may have loaded it while we waited for our turn.
                loaded = self.kept_slug(slug);
                if loaded.is_some() || self.absent.contains_key(&Name::Slug(slug.clone())) {
                    return Ok::<_, Error>(Op::Nop);
                }
                let Some(tenant) = self.ask(seen, self.store.by_slug(slug)).await? else {
                    self.absent.insert(Name::Slug(slug.clone()), ()).await;
                    return Ok(Op::Remove);
                };
                let kept = self.keep(tenant).await;
                if kept.slug() != slug {
                    // The store answered with an older state than was committed already.
                    return Err(Error::new(
                        ErrorKind::StoreUnavailable,
                        "the tenant was renamed while it was read; try again",
                    ));
                }
                let id = kept.id().clone();
                loaded = Some(kept);
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
        let absent = Name::Id(id.clone());
        if self.absent.contains_key(&absent) {
            metrics::absent();
            return Ok(None);
        }
        metrics::miss();
        let seen = self.failures.load(Ordering::Acquire);
        let mut changed = None;
        let change = &mut changed;
        let result = self
            .tenants
            .entry_by_ref(id)
            .and_try_compute_with(|entry| async move {
                // Somebody may have loaded it while we waited for our turn.
                if entry.is_some() || self.absent.contains_key(&absent) {
                    return Ok::<_, Error>(Op::Nop);
                }
                if let Some(tenant) = self.ask(seen, self.store.by_id(id)).await? {
                    *change = Some(self.l1.change());
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
        if let Some(tenant) = self.kept_slug(slug) {
            metrics::hit();
            return Ok(Some(tenant));
        }
        if self.absent.contains_key(&Name::Slug(slug.clone())) {
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
        self.keep_written(tenant.clone()).await;
        Ok(tenant)
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        match self.store.update(tenant).await {
            Ok(next) => {
                self.keep_written(next.clone()).await;
                Ok(next)
            }
            Err(error) => {
                // It was changed meanwhile, or it is not known whether this change was made: who reads again
                // must read from the store.
                self.forget(tenant).await;
                Err(error)
            }
        }
    }

    fn peek_id(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        let tenant = self.l1.find(id, |tenant| tenant.id() == id, || self.kept_id(id));
        tenant.inspect(|_| metrics::hit())
    }

    fn peek_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        let tenant = self.l1.find(slug, |tenant| tenant.slug() == slug, || self.kept_slug(slug));
        tenant.inspect(|_| metrics::hit())
    }

    async fn committed(&self, tenant: &Arc<Tenant>) {
        self.keep_written(tenant.clone()).await;
        self.store.committed(tenant).await;
    }
}

impl<S: fmt::Debug> fmt::Debug for CachedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("store", &self.store).finish_non_exhaustive()
    }
}
