//! [`FakeStripeOptions`]: how a fake Stripe delivers events, and what it does after the last failed payment.

use std::time::Duration;

/// Where a [`FakeStripe`](super::FakeStripe) listens, and how it behaves.
///
/// ```
/// use std::time::Duration;
/// use tenancy::testing::FakeStripeOptions;
///
/// let hostile = FakeStripeOptions::new().duplicates(2).reorder(7).delay(Duration::from_millis(20));
/// # let _ = hostile;
/// ```
#[derive(Debug, Clone)]
pub struct FakeStripeOptions {
    pub(super) port: u16,
    pub(super) duplicates: u32,
    pub(super) reorder: Option<u64>,
    pub(super) delay: Duration,
    pub(super) attempts: u32,
    pub(super) backoff: Duration,
    pub(super) final_failure: FinalFailure,
}

/// What happens to a subscription after its last failed payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinalFailure {
    /// It is canceled.
    Cancel,
    /// It becomes `unpaid`.
    Unpaid,
    /// It stays `past_due`.
    PastDue,
}

/// When a planned failure of a request takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is changed.
    BeforeEffect,
    /// The change takes place, and its reply is lost. A repetition with the same idempotency key gets the reply.
    AfterEffect,
}

impl FakeStripeOptions {
    /// A free port; each event once, in order and at once; 10 attempts; a subscription is canceled after its last
    /// failed payment.
    pub fn new() -> Self {
        Self {
            port: 0,
            duplicates: 0,
            reorder: None,
            delay: Duration::ZERO,
            attempts: 10,
            backoff: Duration::from_millis(50),
            final_failure: FinalFailure::Cancel,
        }
    }

    /// Listens on this port of 127.0.0.1.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Delivers each event this many times more than necessary.
    #[must_use]
    pub fn duplicates(self, duplicates: u32) -> Self {
        Self { duplicates, ..self }
    }

    /// Delivers events in another order: of those that wait, one is chosen with this seed, and each waits up to 100 ms.
    #[must_use]
    pub fn reorder(self, seed: u64) -> Self {
        Self { reorder: Some(seed), ..self }
    }

    /// Delivers an event this long after it happened.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Gives up a delivery after this many attempts. The wait after the first is `backoff`, and then doubles, up to 2
    /// seconds.
    #[must_use]
    pub fn attempts(self, attempts: u32, backoff: Duration) -> Self {
        Self { attempts: attempts.max(1), backoff, ..self }
    }

    /// Sets what happens after the last failed payment.
    #[must_use]
    pub fn after_final_failure(self, final_failure: FinalFailure) -> Self {
        Self { final_failure, ..self }
    }
}

impl Default for FakeStripeOptions {
    fn default() -> Self {
        Self::new()
    }
}
