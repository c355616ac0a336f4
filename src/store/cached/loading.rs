use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use moka::future::Cache;
use moka::ops::compute::Op;

use super::CacheOptions;
use crate::error::{Error, ErrorKind, Result};

/// Answers of a store, kept for a time: what is there, and apart from it what is not. A failure is never kept.
pub(super) struct LoadingCache<K, V> {
    kept: Cache<K, V>,
    absent: Cache<K, ()>,
    failures: AtomicU64,
}

impl<K, V> LoadingCache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(options: &CacheOptions) -> Self {
        let CacheOptions { capacity, ttl, negative_capacity, negative_ttl } = options;
        Self {
            kept: Cache::builder().max_capacity(*capacity).time_to_live(*ttl).build(),
            absent: Cache::builder().max_capacity(*negative_capacity).time_to_live(*negative_ttl).build(),
            failures: AtomicU64::new(0),
        }
    }

    /// What is at hand.
    pub(super) fn peek(&self, key: &K) -> Option<V> {
        self.kept.get(key).now_or_never().flatten()
    }

    /// What is at hand, or what the question is answered with; one question at a time for each key.
    pub(super) async fn get(
        &self,
        key: &K,
        question: impl Future<Output = Result<Option<V>>>,
    ) -> Result<Option<V>> {
        // Both are looked into, so that the time does not tell which of them has it.
        let (kept, absent) = (self.kept.get(key).await, self.absent.get(key).await);
        if kept.is_some() || absent.is_some() {
            return Ok(kept);
        }
        let seen = self.failures.load(Ordering::Acquire);
        let mut answer = None;
        self.kept
            .entry_by_ref(key)
            .and_try_compute_with(|entry| async {
                // Somebody may have asked while we waited for our turn.
                answer = entry.map(moka::Entry::into_value);
                if answer.is_some() || self.absent.contains_key(key) {
                    return Ok::<_, Error>(Op::Nop);
                }
                answer = self.ask(seen, question).await?;
                if let Some(value) = answer.clone() {
                    return Ok(Op::Put(value));
                }
                self.absent.insert(key.clone(), ()).await;
                Ok(Op::Nop)
            })
            .await?;
        Ok(answer)
    }

    /// Forgets what was known of a key, after the store was told of a change. Whoever asked before the change has put its
    /// answer here by then.
    pub(super) async fn forget(&self, key: &K) {
        self.kept
            .entry_by_ref(key)
            .and_compute_with(|_| async {
                self.absent.invalidate(key).await;
                Op::Remove
            })
            .await;
    }

    /// Asks, unless asking failed since `seen` was read.
    async fn ask<T>(&self, seen: u64, question: impl Future<Output = Result<T>>) -> Result<T> {
        if self.failures.load(Ordering::Acquire) != seen {
            return Err(Error::new(ErrorKind::StoreUnavailable, "the store cannot be reached"));
        }
        let answer = question.await;
        if answer.as_ref().is_err_and(Error::is_transient) {
            self.failures.fetch_add(1, Ordering::AcqRel);
        }
        answer
    }
}
