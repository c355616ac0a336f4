//! [`LoadingCache`]: a cache that loads a missing entry once, however many callers wait for it. Used for domains and
//! API keys; tenants have versions and two names, so [`CachedStore`](super::CachedStore) caches them itself.

use std::hash::Hash;

#[cfg(feature = "custom-domains")]
use futures_util::FutureExt;
use moka::future::Cache;
use moka::ops::compute::Op;

use super::epochs::{Epochs, Stamp, Stamped};
use super::options::CacheOptions;
use super::store_calls::StoreCalls;
use crate::error::{Error, Result};

/// Caches values of a store by key, and separately the keys that do not exist. Errors are never cached.
pub(super) struct LoadingCache<K, V> {
    present: Cache<K, Stamped<V>>,
    absent: Cache<K, Stamp>,
    epochs: Epochs,
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
            epochs: Epochs::new(),
            calls: StoreCalls::default(),
        }
    }

    /// Returns the cached value, without loading it.
    #[cfg(feature = "custom-domains")]
    pub(super) fn peek(&self, key: &K) -> Option<V> {
        self.current(key, self.present.get(key).now_or_never().flatten())
    }

    /// Returns the cached value or loads it. One load runs at a time for each key.
    pub(super) async fn get(
        &self,
        key: &K,
        load: impl Future<Output = Result<Option<V>>>,
    ) -> Result<Option<V>> {
        // Both caches are always read, so that the time does not reveal which of them has the key.
        let (present, absent) = (self.present.get(key).await, self.absent.get(key).await);
        let (present, absent) = (self.current(key, present), self.is_absent(key, absent));
        if present.is_some() || absent {
            return Ok(present);
        }
        let failures = self.calls.failures();
        let mut loaded = None;
        self.present
            .entry_by_ref(key)
            .and_try_compute_with(|entry| async {
                // Another task may have loaded the value while this one waited for the entry.
                loaded = self.current(key, entry.map(moka::Entry::into_value));
                if loaded.is_some() || self.is_absent(key, self.absent.get(key).await) {
                    return Ok::<_, Error>(Op::Nop);
                }
                let stamp = self.epochs.now();
                loaded = self.calls.run(failures, load).await?;
                if let Some(value) = loaded.clone() {
                    return Ok(Op::Put(Stamped { value, stamp }));
                }
                self.absent.insert(key.clone(), stamp).await;
                Ok(Op::Nop)
            })
            .await?;
        Ok(loaded)
    }

    /// Makes what is cached of a key outdated, after its row changed in the store. So are the results of loads that began
    /// before.
    pub(super) fn invalidate(&self, key: &K) {
        self.epochs.change(key);
    }

    /// As [`invalidate`](Self::invalidate), for all keys.
    pub(super) fn invalidate_all(&self) {
        self.epochs.change_all();
    }

    fn current(&self, key: &K, cached: Option<Stamped<V>>) -> Option<V> {
        cached.filter(|cached| self.epochs.is_current(key, cached.stamp)).map(|cached| cached.value)
    }

    fn is_absent(&self, key: &K, cached: Option<Stamp>) -> bool {
        cached.is_some_and(|stamp| self.epochs.is_current(key, stamp))
    }
}
