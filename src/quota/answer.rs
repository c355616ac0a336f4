//! How long to wait for a store, and when it last answered.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::decision::{DecisionSource, until};
use super::metrics;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Waits for the answer of a store of `what`, at most for this time.
///
/// A change whose confirmation was lost is like an answer that came too late: it may be counted.
pub(super) async fn in_time<T>(
    wait: Duration,
    what: &str,
    answer: impl Future<Output = Result<T>>,
) -> Result<T> {
    match timeout(wait, answer).await {
        Err(_) => {
            let text = format!("the store of {what} did not answer in {} ms", wait.as_millis());
            Err(Error::new(ErrorKind::StoreUnavailable, text))
        }
        Ok(Err(error)) if error.kind() == ErrorKind::OutcomeUnknown => {
            let text = format!("the store of {what} did not confirm the change, which may be counted");
            Err(Error::new(ErrorKind::StoreUnavailable, text).with_source(error))
        }
        Ok(answer) => answer,
    }
}

/// Whether the store is down, so that the rule decides. A store that asks to try again has answered.
pub(super) fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StoreUnavailable | ErrorKind::ConnectionLimit)
}

/// How long to wait for what no rule has a time for: reading usage.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits for what is read of the store of quotas.
pub(super) async fn read<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    in_time(READ_TIMEOUT, "quotas", answer).await
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

    /// The source of a decision that the store did not make, for what is counted by `kind`.
    pub(super) fn fallback(&self, kind: &'static str, now: Timestamp) -> DecisionSource {
        metrics::fallback(kind);
        let last = self.0.load(Ordering::Relaxed);
        let age = (last != NEVER).then(|| until(now, Timestamp::from_micros(last)));
        DecisionSource::Fallback { age }
    }
}
