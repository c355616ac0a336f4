//! [`UseCount`]: how many connections of a pool are in use; [`ConnectionCount`], which a health report shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;

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

/// How many connections there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConnectionCount {
    /// How many are in use.
    pub in_use: u32,
    /// How many are open, in use or idle.
    pub open: u32,
    /// How many may be open.
    pub max: u32,
}

/// One connection that is in use.
#[derive(Debug)]
pub(super) struct InUse(Arc<AtomicU32>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
