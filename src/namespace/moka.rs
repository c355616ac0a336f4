//! A cache in memory whose keys are those of a tenant, on [moka](https://docs.rs/moka).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use moka::ops::compute::Op;

use super::CacheKey;
use crate::context::TenantContext;
use crate::error::Result;

/// Values of any tenant, each under a [`CacheKey`], which holds its tenant.
///
/// ```
/// use std::time::Duration;
/// use tenancy::TenantContext;
/// use tenancy::namespace::moka::TenantCache;
///
/// # async fn count(_: &TenantContext) -> tenancy::Result<u64> { Ok(7) }
/// # async fn dashboard(cache: &TenantCache<u64>, ctx: &TenantContext) -> tenancy::Result<()> {
/// // Once: TenantCache::new(10_000, Duration::from_secs(30))
/// let open = cache.get_with(&ctx.key(("orders", "open"))?, count(ctx)).await?;
/// # let _ = open; Ok(()) }
/// ```
///
/// # Security
/// What is the same for a whole tenant belongs here. What depends on who asks, such as permissions, needs the actor as
/// one of the key's parts.
pub struct TenantCache<V> {
    values: Cache<CacheKey, V>,
    flushes: AtomicU64,
}

impl<V: Clone + Send + Sync + 'static> TenantCache<V> {
    /// A cache of at most this many values, of all tenants together, each kept for at most this long.
    ///
    /// # Panics
    /// If the time is longer than 1000 years.
    pub fn new(capacity: u64, ttl: Duration) -> Self {
        let builder = Cache::builder().max_capacity(capacity).time_to_live(ttl);
        Self { values: builder.support_invalidation_closures().build(), flushes: AtomicU64::new(0) }
    }

    /// The value, if it is kept.
    pub async fn get(&self, key: &CacheKey) -> Option<V> {
        self.values.get(key).await
    }

    /// The value; loaded and kept, if it is not. However many ask for one key at once, one of them loads.
    ///
    /// An error is not kept: the next of those who wait tries.
    ///
    /// # Errors
    /// That of `load`.
    #[expect(clippy::missing_panics_doc, reason = "what was neither kept nor loaded was an error")]
    pub async fn get_with<E>(&self, key: &CacheKey, load: impl Future<Output = Result<V, E>>) -> Result<V, E>
    where
        E: Send + Sync + 'static,
    {
        if let Some(value) = self.get(key).await {
            return Ok(value);
        }
        let seen = self.flushes.load(Ordering::SeqCst);
        let mut loaded = None;
        self.values
            .entry_by_ref(key)
            .and_try_compute_with(|entry| async {
                // Somebody may have loaded it while we waited for our turn.
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
        // It may have been read before what the flush was for.
        if self.flushes.load(Ordering::SeqCst) != seen {
            self.values.invalidate(key).await;
        }
        Ok(loaded.expect("it was kept or loaded"))
    }

    /// Keeps a value, in place of one that is kept.
    pub async fn insert(&self, key: CacheKey, value: V) {
        self.values.insert(key, value).await;
    }

    /// Forgets a value. Waits for a load of it that is under way, so what that one has read is not kept.
    pub async fn invalidate(&self, key: &CacheKey) {
        self.values.entry_by_ref(key).and_compute_with(|_| std::future::ready(Op::Remove)).await;
    }

    /// Forgets everything of this tenant, and nothing of another's.
    ///
    /// What a load that is under way has read is handed to those who wait for it, and not kept.
    ///
    /// # Errors
    /// [`ErrorKind::CrossTenantContext`](crate::ErrorKind::CrossTenantContext) for a context that belongs to a cross-tenant read.
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
