//! How long to wait for a store, and when it last answered.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::decision::{DecisionSource, until};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Waits for the answer of a store of `what`, at most for this time.
pub(super) async fn in_time<T>(
    wait: Duration,
    what: &str,
    answer: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(wait, answer).await.unwrap_or_else(|_| {
        let text = format!("the store of {what} did not answer in {} ms", wait.as_millis());
        Err(Error::new(ErrorKind::StoreUnavailable, text))
    })
}

/// How long an end that no request waits for may take.
pub(super) const END_TIMEOUT: Duration = Duration::from_secs(5);

/// When a store last answered.
#[derive(Debug)]
pub(super) struct LastAnswer(AtomicI64);

const NEVER: i64 = i64::MIN;

impl LastAnswer {
    pub(super) fn never() -> Self {
        Self(AtomicI64::new(NEVER))
    }

    pub(super) fn record(&self, now: Timestamp) {
        self.0.store(now.micros(), Ordering::Relaxed);
    }

    /// The source of a decision that the store did not make.
    pub(super) fn fallback(&self, now: Timestamp) -> DecisionSource {
        let last = self.0.load(Ordering::Relaxed);
        let age = (last != NEVER).then(|| until(now, Timestamp::from_micros(last)));
        DecisionSource::Fallback { age }
    }
}
