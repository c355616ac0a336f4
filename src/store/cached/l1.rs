use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::tenant::Tenant;

/// The tenants that were asked for last, in front of the cache: a look at one costs a fraction of a look into the cache,
/// which counts who is asked for. What falls on a place that is taken replaces it.
///
/// Nothing of it counts any more once something in the cache has changed, or after its time.
pub(super) struct L1Cache {
    places: Box<[RwLock<Option<Hot>>]>,
    hasher: RandomState,
    generation: AtomicU64,
    changes: AtomicU64,
    time: Duration,
}

struct Hot {
    tenant: Arc<Tenant>,
    generation: u64,
    until: Instant,
}

impl L1Cache {
    pub(super) fn new(capacity: u64, time: Duration) -> Self {
        let places = usize::try_from(capacity).unwrap_or(usize::MAX).clamp(1, 1 << 15).next_power_of_two();
        Self {
            places: std::iter::repeat_with(RwLock::default).take(places).collect(),
            hasher: RandomState::new(),
            generation: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            time,
        }
    }

    /// Something in the cache is about to change: until that is done nothing is found here, and nothing that was.
    pub(super) fn change(&self) -> Change<'_> {
        self.changes.fetch_add(1, Ordering::SeqCst);
        Change(self)
    }

    /// The tenant of this name, or else what `look` finds in the cache.
    pub(super) fn find<K: Hash>(
        &self,
        name: &K,
        is_named: impl Fn(&Tenant) -> bool,
        look: impl FnOnce() -> Option<Arc<Tenant>>,
    ) -> Option<Arc<Tenant>> {
        // In this order, and before the cache is looked into: a change that is seen to be over has turned the
        // generation, and one that comes meanwhile makes what was found count no more.
        if self.changes.load(Ordering::SeqCst) != 0 {
            return look();
        }
        let generation = self.generation.load(Ordering::SeqCst);
        let now = Instant::now();
        #[expect(clippy::cast_possible_truncation, reason = "a place, whichever")]
        let place = &self.places[self.hasher.hash_one(name) as usize & (self.places.len() - 1)];
        if let Some(hot) = &*place.read().unwrap_or_else(PoisonError::into_inner)
            && hot.generation == generation
            && now < hot.until
            && is_named(&hot.tenant)
        {
            return Some(hot.tenant.clone());
        }
        let tenant = look()?;
        let hot = Hot { tenant: tenant.clone(), generation, until: now + self.time };
        *place.write().unwrap_or_else(PoisonError::into_inner) = Some(hot);
        Some(tenant)
    }
}

/// A change of the cache, under way.
pub(super) struct Change<'a>(&'a L1Cache);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
        self.0.changes.fetch_sub(1, Ordering::SeqCst);
    }
}
