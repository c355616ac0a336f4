//! [`TenantCache`]: an in-memory cache with tenant-prefixed keys, based on [moka](https://docs.rs/moka).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use moka::ops::compute::Op;

use super::CacheKey;
use crate::context::TenantContext;
use crate::error::Result;

/// An in-memory cache for the values of all tenants. Each value has a [`CacheKey`], which contains its tenant.
///
/// ```
/// use std::time::Duration;
/// use tenancy::TenantContext;
/// use tenancy::namespace::moka::TenantCache;
///
/// # async fn count(_: &TenantContext) -> tenancy::Result<u64> { Ok(7) }
/// # async fn dashboard(cache: &TenantCache<u64>, ctx: &TenantContext) -> tenancy::Result<()> {
/// // At start-up: TenantCache::new(10_000, Duration::from_secs(30))
/// let open_orders = cache.get_with(&ctx.key(("orders", "open"))?, count(ctx)).await?;
/// # let _ = open_orders; Ok(()) }
/// ```
///
/// # Security
/// The key identifies the tenant, not the user. For a value that depends on the user, such as permissions, add the
/// actor as a part of the key.
pub struct TenantCache<V> {
    values: Cache<CacheKey, V>,
    flushes: AtomicU64,
}

impl<V: Clone + Send + Sync + 'static> TenantCache<V> {
    /// Creates a cache of at most `capacity` values, for all tenants together. Each value expires after `ttl`.
    ///
    /// # Panics
    /// If `ttl` is longer than 1000 years.
    pub fn new(capacity: u64, ttl: Duration) -> Self {
        let builder = Cache::builder().max_capacity(capacity).time_to_live(ttl);
        Self { values: builder.support_invalidation_closures().build(), flushes: AtomicU64::new(0) }
    }

    /// The cached value, if there is one.
    pub async fn get(&self, key: &CacheKey) -> Option<V> {
        self.values.get(key).await
    }

    /// Returns the cached value, or loads and caches it. Of concurrent calls for one key, only one loads.
    ///
    /// An error is not cached: the next waiting call loads again.
    ///
    /// # Errors
    /// The error of `load`.
    #[expect(clippy::missing_panics_doc, reason = "without an error, the value was cached or loaded")]
    pub async fn get_with<E>(&self, key: &CacheKey, load: impl Future<Output = Result<V, E>>) -> Result<V, E>
    where
        E: Send + Sync + 'static,
    {
        if let Some(value) = self.get(key).await {
            return Ok(value);
        }
        let flushes_before = self.flushes.load(Ordering::SeqCst);
        let mut loaded = None;
        self.values
            .entry_by_ref(key)
            .and_try_compute_with(|entry| async {
                // A concurrent call may have loaded the value in the meantime.
                let value = match entry {
                    Some(entry) => {
                        loaded = Some(entry.into_value());
                        return Ok(Op::Nop);
                    }
                    None => load.await?,
                };
                loaded = Some(value.clone());
                Ok::<_, E>(Op::Put(value))
            })
            .await?;
        // After a flush during the load, the loaded value may be stale.
        if self.flushes.load(Ordering::SeqCst) != flushes_before {
            self.values.invalidate(key).await;
        }
        Ok(loaded.expect("the value was cached or loaded"))
    }

    /// Caches a value and replaces the previous one.
    pub async fn insert(&self, key: CacheKey, value: V) {
        self.values.insert(key, value).await;
    }

    /// Removes a value. If a load of this key is in progress, waits for it and removes its value.
    pub async fn invalidate(&self, key: &CacheKey) {
        self.values.entry_by_ref(key).and_compute_with(|_| std::future::ready(Op::Remove)).await;
    }

    /// Removes all values of this tenant. Values of other tenants stay.
    ///
    /// A load in progress still returns its value, which is not cached.
    ///
    /// # Errors
    /// [`ErrorKind::CrossTenantContext`](crate::ErrorKind::CrossTenantContext) for the context of a cross-tenant
    /// read.
    #[expect(clippy::missing_panics_doc, reason = "the cache was built to support it")]
    pub fn flush(&self, ctx: &TenantContext) -> Result<()> {
        let prefix = ctx.prefix()?;
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.values
            .invalidate_entries_if(move |key, _| key.as_str().starts_with(prefix.keys()))
            .expect("the cache was built to support it");
        Ok(())
    }
}

impl<V> fmt::Debug for TenantCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantCache").finish_non_exhaustive()
    }
}
