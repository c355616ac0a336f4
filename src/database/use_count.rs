//! [`UseCount`]: how many connections of a pool are in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many connections of a pool are in use. It tells a pool whose connections are all in use from a database that
/// cannot be reached: sqlx has one error for both.
#[derive(Debug, Clone, Default)]
pub(crate) struct UseCount(Arc<AtomicU32>);

impl UseCount {
    /// Counts one connection, until the value is dropped.
    pub(super) fn enter(&self) -> InUse {
        self.0.fetch_add(1, Ordering::Relaxed);
        InUse(self.0.clone())
    }

    pub(super) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One connection that is in use.
#[derive(Debug)]
pub(super) struct InUse(Arc<AtomicU32>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
