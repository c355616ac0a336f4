//! [`StoreCalls`]: callers that wait for the same failing call to the store fail with it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// Counts the failed calls to a store. A caller that waited while a call failed does not start a call of its own.
#[derive(Debug, Default)]
pub(super) struct StoreCalls {
    failures: AtomicU64,
}

impl StoreCalls {
    /// The number of failures so far. Read it before you wait for a lock, and pass it to [`run`](Self::run) after.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Runs a call to the store, unless another call failed since `failures` was read.
    pub(super) async fn run<T>(&self, failures: u64, call: impl Future<Output = Result<T>>) -> Result<T> {
        if self.failures() != failures {
            return Err(Error::new(ErrorKind::StoreUnavailable, "the store cannot be reached"));
        }
        let result = call.await;
        if result.as_ref().is_err_and(Error::is_transient) {
            self.failures.fetch_add(1, Ordering::AcqRel);
        }
        result
    }
}
