//! [`Outdated`]: the mark of a tenant that was read before a move.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a place refused the tenant, because it is being moved or was moved. A cache then reads it again.
///
/// It says nothing about the tenant itself: a changed copy begins without it, and two tenants are equal without it.
#[derive(Debug, Default)]
pub(super) struct Outdated(AtomicBool);

impl Outdated {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for Outdated {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Outdated {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Outdated {}
