//! [`Epochs`]: which cached values were read before another process changed them.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the changes of keys. Keys share the entries of a table of fixed size, so a change of one key makes the values
/// of a few others outdated too.
///
/// A value carries the [`Stamp`] of the moment before its read began. It is current until a change is counted. A change
/// never waits for a read in progress: the result of that read is outdated when it is stored.
pub(super) struct Epochs {
    changes: AtomicU64,
    /// The last change of all keys.
    all: AtomicU64,
    /// The last change of the keys of each entry.
    keys: Box<[AtomicU64]>,
    hasher: RandomState,
}

const ENTRIES: usize = 1024;

/// How many changes were counted when the read of a value began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(u64);

impl Stamp {
    /// It is not known when the value was read. It is current only while no change of its key was ever counted.
    pub(super) const UNKNOWN: Self = Self(0);
}

/// A value, and when its read began.
#[derive(Debug, Clone)]
pub(super) struct Stamped<V> {
    pub(super) value: V,
    pub(super) stamp: Stamp,
}

impl Epochs {
    pub(super) fn new() -> Self {
        Self {
            changes: AtomicU64::new(0),
            all: AtomicU64::new(0),
            keys: std::iter::repeat_with(AtomicU64::default).take(ENTRIES).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The stamp of a value whose read begins now.
    pub(super) fn now(&self) -> Stamp {
        Stamp(self.changes.load(Ordering::SeqCst))
    }

    /// Whether no change of the key was counted since the stamp.
    pub(super) fn is_current<K: Hash>(&self, key: &K, stamp: Stamp) -> bool {
        stamp.0 >= self.all.load(Ordering::SeqCst) && stamp.0 >= self.entry(key).load(Ordering::SeqCst)
    }

    /// Whether no change of any key was counted since the stamp.
    pub(super) fn is_latest(&self, stamp: Stamp) -> bool {
        stamp == self.now()
    }

    /// Counts a change of a key.
    pub(super) fn change<K: Hash>(&self, key: &K) {
        let change = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        self.entry(key).fetch_max(change, Ordering::SeqCst);
    }

    /// Counts a change of all keys.
    pub(super) fn change_all(&self) {
        let change = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        self.all.fetch_max(change, Ordering::SeqCst);
    }

    #[expect(clippy::cast_possible_truncation, reason = "any entry of the table will do")]
    fn entry<K: Hash>(&self, key: &K) -> &AtomicU64 {
        &self.keys[self.hasher.hash_one(key) as usize % ENTRIES]
    }
}

#[cfg(test)]
mod tests {
    use super::{Epochs, Stamp};

    #[test]
    fn a_value_read_before_a_change_is_outdated() {
        let epochs = Epochs::new();
        let before = epochs.now();
        assert!(epochs.is_current(&"acme", before) && epochs.is_latest(before));
        assert!(epochs.is_current(&"acme", Stamp::UNKNOWN));
        epochs.change(&"acme");
        let after = epochs.now();
        for outdated in [before, Stamp::UNKNOWN] {
            assert!(!epochs.is_current(&"acme", outdated) && !epochs.is_latest(outdated));
        }
        assert!(epochs.is_current(&"acme", after) && epochs.is_latest(after));
        let others = (0..100).filter(|other| epochs.is_current(other, before)).count();
        assert!(others > 90, "{others} of 100 other keys are current");
        epochs.change_all();
        assert!(!epochs.is_current(&"acme", after));
        assert!((0..100).all(|other| !epochs.is_current(&other, after)));
        assert!(epochs.is_current(&"acme", epochs.now()));
    }
}
