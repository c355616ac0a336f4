//! [`LoadingCache`]: a cache that loads a missing entry once, however many callers wait for it. Used for domains and
//! API keys; tenants have versions and two names, so [`CachedStore`](super::CachedStore) caches them itself.

use std::hash::Hash;

use futures_util::FutureExt;
use moka::future::Cache;
use moka::ops::compute::Op;

use super::options::CacheOptions;
use super::store_calls::StoreCalls;
use crate::error::{Error, Result};

/// Caches values of a store by key, and separately the keys that do not exist. Errors are never cached.
pub(super) struct LoadingCache<K, V> {
    present: Cache<K, V>,
    absent: Cache<K, ()>,
    calls: StoreCalls,
}

impl<K, V> LoadingCache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(options: &CacheOptions) -> Self {
        let CacheOptions { capacity, ttl, negative_capacity, negative_ttl } = options;
        Self {
            present: Cache::builder().max_capacity(*capacity).time_to_live(*ttl).build(),
            absent: Cache::builder().max_capacity(*negative_capacity).time_to_live(*negative_ttl).build(),
            calls: StoreCalls::default(),
        }
    }

    /// Returns the cached value, without loading it.
    pub(super) fn peek(&self, key: &K) -> Option<V> {
        self.present.get(key).now_or_never().flatten()
    }

    /// Returns the cached value or loads it. One load runs at a time for each key.
    pub(super) async fn get(
        &self,
        key: &K,
        load: impl Future<Output = Result<Option<V>>>,
    ) -> Result<Option<V>> {
        // Both caches are always read, so that the time does not reveal which of them has the key.
        let (present, absent) = (self.present.get(key).await, self.absent.get(key).await);
        if present.is_some() || absent.is_some() {
            return Ok(present);
        }
        let failures = self.calls.failures();
        let mut loaded = None;
        self.present
            .entry_by_ref(key)
            .and_try_compute_with(|entry| async {
                // Another task may have loaded the value while this one waited for the entry.
                loaded = entry.map(moka::Entry::into_value);
                if loaded.is_some() || self.absent.contains_key(key) {
                    return Ok::<_, Error>(Op::Nop);
                }
                loaded = self.calls.run(failures, load).await?;
                if let Some(value) = loaded.clone() {
                    return Ok(Op::Put(value));
                }
                self.absent.insert(key.clone(), ()).await;
                Ok(Op::Nop)
            })
            .await?;
        Ok(loaded)
    }

    /// Removes a key after its row changed in the store. Loads that began before the change have ended by then, and
    /// their results are removed too.
    pub(super) async fn evict(&self, key: &K) {
        self.present
            .entry_by_ref(key)
            .and_compute_with(|_| async {
                self.absent.invalidate(key).await;
                Op::Remove
            })
            .await;
    }
}
