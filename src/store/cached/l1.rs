//! [`L1Cache`]: a small table in front of the tenant cache, for reads that keep no usage statistics.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::tenant::Tenant;

/// Recently read tenants. A read here costs a fraction of a read of the main cache, which records each access.
///
/// A fixed number of slots; an insert replaces what its slot holds. All entries become invalid when the main cache
/// changes, and each entry after `ttl`.
pub(super) struct L1Cache {
    slots: Box<[RwLock<Option<Entry>>]>,
    hasher: RandomState,
    generation: AtomicU64,
    pending_changes: AtomicU64,
    ttl: Duration,
}

struct Entry {
    tenant: Arc<Tenant>,
    generation: u64,
    expires: Instant,
}

impl L1Cache {
    pub(super) fn new(capacity: u64, ttl: Duration) -> Self {
        let slots = usize::try_from(capacity).unwrap_or(usize::MAX).clamp(1, 1 << 15).next_power_of_two();
        Self {
            slots: std::iter::repeat_with(RwLock::default).take(slots).collect(),
            hasher: RandomState::new(),
            generation: AtomicU64::new(0),
            pending_changes: AtomicU64::new(0),
            ttl,
        }
    }

    /// Announces a change of the main cache. Until the guard is dropped, this cache returns nothing; after that,
    /// nothing from before the change.
    pub(super) fn begin_change(&self) -> ChangeGuard<'_> {
        self.pending_changes.fetch_add(1, Ordering::SeqCst);
        ChangeGuard(self)
    }

    /// Returns the tenant of this id or slug, or else what `read_main` finds in the main cache.
    pub(super) fn get_or<K: Hash>(
        &self,
        key: &K,
        matches: impl Fn(&Tenant) -> bool,
        read_main: impl FnOnce() -> Option<Arc<Tenant>>,
    ) -> Option<Arc<Tenant>> {
        // The order matters, and both reads come before the main cache is read: a change that has ended has already
        // incremented the generation, and a change that begins later makes the entry stored below invalid.
        if self.pending_changes.load(Ordering::SeqCst) != 0 {
            return read_main();
        }
        let generation = self.generation.load(Ordering::SeqCst);
        let now = Instant::now();
        #[expect(clippy::cast_possible_truncation, reason = "any slot will do")]
        let slot = &self.slots[self.hasher.hash_one(key) as usize & (self.slots.len() - 1)];
        if let Some(entry) = &*slot.read().unwrap_or_else(PoisonError::into_inner)
            && entry.generation == generation
            && now < entry.expires
            && !entry.tenant.is_outdated()
            && matches(&entry.tenant)
        {
            return Some(entry.tenant.clone());
        }
        let tenant = read_main()?;
        let entry = Entry { tenant: tenant.clone(), generation, expires: now + self.ttl };
        *slot.write().unwrap_or_else(PoisonError::into_inner) = Some(entry);
        Some(tenant)
    }
}

/// A change of the main cache in progress.
pub(super) struct ChangeGuard<'a>(&'a L1Cache);

impl Drop for ChangeGuard<'_> {
    fn drop(&mut self) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
        self.0.pending_changes.fetch_sub(1, Ordering::SeqCst);
    }
}
