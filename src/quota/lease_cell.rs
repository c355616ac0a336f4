//! [`LeaseCell`]: what is left of a lease, spent by many requests at once.

#[cfg(test)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(test))]
use std::sync::atomic::{AtomicU64, Ordering};

/// What is not spent yet; [`STOPPED`] after the end.
#[derive(Debug)]
pub(super) struct LeaseCell(AtomicU64);

/// No amount is so large.
const STOPPED: u64 = u64::MAX;

impl LeaseCell {
    pub(super) fn new(amount: u64) -> Self {
        Self(AtomicU64::new(amount))
    }

    /// Spends `n`, if there is so much left. Returns what is left then.
    pub(super) fn spend(&self, n: u64) -> Option<u64> {
        let spend = |left: u64| if left == STOPPED { None } else { left.checked_sub(n) };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend).ok().map(|left| left - n)
    }

    /// Ends it: nothing is spent any more. Returns what was left, or `None` if it had ended.
    pub(super) fn stop(&self) -> Option<u64> {
        match self.0.swap(STOPPED, Ordering::AcqRel) {
            STOPPED => None,
            left => Some(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// loom runs every order in which the threads can read and write the cell.
    #[test]
    fn in_every_order_what_is_spent_is_what_the_end_reports() {
        loom::model(|| {
            let cell = Arc::new(LeaseCell::new(3));
            let spenders = [1, 2].map(|n| {
                let cell = cell.clone();
                thread::spawn(move || cell.spend(n).map_or(0, |_| n))
            });
            let left = cell.stop();
            let spent: u64 = spenders.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert_eq!(left, Some(3 - spent), "nothing is spent after the end, and nothing is lost");
            assert_eq!((cell.stop(), cell.spend(1)), (None, None), "it ends once");
        });
    }

    #[test]
    fn in_every_order_exactly_what_there_is_can_be_spent() {
        loom::model(|| {
            let cell = Arc::new(LeaseCell::new(1));
            let spenders = [(); 2].map(|()| {
                let cell = cell.clone();
                thread::spawn(move || u64::from(cell.spend(1).is_some()))
            });
            let spent: u64 = spenders.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert_eq!((spent, cell.stop()), (1, Some(0)));
        });
    }
}
