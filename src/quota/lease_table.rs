//! [`LeaseTable`]: the current leases of one node.

use std::sync::Arc;
use std::time::Instant;

use dashmap::DashMap;
use tokio::sync::Mutex;

use super::count_key::{CountHash, CountKey};
use super::lease::{Lease, Terms};
use super::line::Line;
use super::meter::LineCount;

/// The current lease of each counter, and who may take the next one.
#[derive(Debug, Default)]
pub(super) struct LeaseTable(DashMap<CountKey, Slot, CountHash>);

#[derive(Debug, Default)]
struct Slot {
    lease: Option<Arc<Lease>>,
    refresh: Refresh,
}

/// Locked while the store is asked: of many requests that find the lease spent, one asks.
pub(super) type Refresh = Arc<Mutex<Asked>>;

/// What the store answered lately.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) refused: Option<Refusal>,
    /// Until then it is not asked again, because it did not answer.
    pub(super) down_until: Option<Instant>,
}

/// What the store denied. Until some time the same amount is denied without asking it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) terms: Terms,
    pub(super) line: Line,
    pub(super) count: LineCount,
    pub(super) until: Instant,
}

impl LeaseTable {
    /// Spends `n` of the current lease. Returns whether the next lease should be taken.
    #[inline]
    pub(super) fn spend(&self, key: &CountKey, n: u64, terms: &Terms) -> Option<bool> {
        let slot = self.0.get(key)?;
        let lease = slot.lease.as_ref()?;
        lease.spend(n, terms).map(|left| lease.is_nearly_spent(left))
    }

    pub(super) fn lease(&self, key: &CountKey) -> Option<Arc<Lease>> {
        self.0.get(key)?.lease.clone()
    }

    /// Sets the current lease, and returns the last one.
    pub(super) fn replace(&self, key: &CountKey, next: Option<Arc<Lease>>) -> Option<Arc<Lease>> {
        std::mem::replace(&mut self.0.entry(key.clone()).or_default().lease, next)
    }

    pub(super) fn refresh(&self, key: &CountKey) -> Refresh {
        self.0.entry(key.clone()).or_default().refresh.clone()
    }

    /// Every counter.
    pub(super) fn all(&self) -> Vec<(CountKey, Refresh)> {
        self.0.iter().map(|slot| (slot.key().clone(), slot.refresh.clone())).collect()
    }

    /// Removes a counter without a lease, unless a task is about to take one. The caller has one clone of its `refresh`.
    pub(super) fn remove_idle(&self, key: &CountKey) {
        self.0.remove_if(key, |_, slot| slot.lease.is_none() && Arc::strong_count(&slot.refresh) <= 2);
    }
}
