//! [`NodeRates`]: the states of rates in the memory of one process.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::runtime::Handle;

use super::bucket::{Bucket, RateOutcome};
use super::count_key::{CountHash, CountKey};
use crate::clock::Clock;
use crate::error::Result;

/// The time since a start: by default of a clock that never goes back.
#[derive(Debug, Clone)]
pub(super) enum RateClock {
    Monotonic(Instant),
    Given { clock: Arc<dyn Clock>, start: i64 },
}

impl RateClock {
    pub(super) fn monotonic() -> Self {
        Self::Monotonic(Instant::now())
    }

    pub(super) fn given(clock: Arc<dyn Clock>) -> Self {
        let start = clock.now().micros();
        Self::Given { clock, start }
    }

    pub(super) fn elapsed(&self) -> Duration {
        match self {
            Self::Monotonic(start) => start.elapsed(),
            Self::Given { clock, start } => {
                Duration::from_micros(u64::try_from(clock.now().micros().saturating_sub(*start)).unwrap_or(0))
            }
        }
    }
}

/// After so many new keys, the states that equal a new one are deleted.
const NEW_KEYS: u32 = 1 << 16;

/// The rates of one process. A state is deleted only when it equals a new one, so that no limit starts again early.
pub(super) struct NodeRates {
    clock: RateClock,
    states: DashMap<RateKey, State, CountHash>,
    new_keys: AtomicU32,
}

/// A state belongs to the numbers of a rule, so a changed rule begins with a whole burst.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct RateKey {
    pub(super) count: CountKey,
    pub(super) bucket: Bucket,
}

impl fmt::Debug for NodeRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRates").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl NodeRates {
    pub(super) fn new(clock: RateClock) -> Self {
        Self { clock, states: DashMap::default(), new_keys: AtomicU32::new(0) }
    }

    /// `n` is at most the burst.
    pub(super) fn take(self: &Arc<Self>, key: &RateKey, n: NonZeroU32) -> Result<RateOutcome> {
        let now = self.now();
        if let Some(state) = self.states.get(key) {
            return Ok(state.take(now, key.bucket.burst, n));
        }
        let new = State::new(key.bucket.interval(key.count.feature())?);
        let outcome = self.states.entry(key.clone()).or_insert(new).take(now, key.bucket.burst, n);
        if self.new_keys.fetch_add(1, Ordering::Relaxed) + 1 == NEW_KEYS {
            self.clean_later();
        }
        Ok(outcome)
    }

    fn now(&self) -> u64 {
        nanos(self.clock.elapsed())
    }

    /// Reading every state takes time, which no request of a tokio runtime waits for.
    fn clean_later(self: &Arc<Self>) {
        match Handle::try_current() {
            Ok(runtime) => {
                let node = Arc::clone(self);
                runtime.spawn_blocking(move || node.clean());
            }
            Err(_) => self.clean(),
        }
    }

    fn clean(&self) {
        self.new_keys.store(0, Ordering::Relaxed);
        let (before, now) = (self.states.len(), self.now());
        self.states.retain(|_, state| !state.is_whole(now));
        if self.states.len() < before / 4 {
            self.states.shrink_to_fit();
        }
    }

    pub(super) fn tracked_keys(&self) -> usize {
        self.states.len()
    }
}

/// What was allowed, as a time (GCRA): each one that is allowed moves it by an interval.
struct State {
    /// When the whole burst is free again, in nanoseconds of the clock.
    whole_at: AtomicU64,
    /// The time after which one more is free, in nanoseconds. Times the burst it is at most 100 years.
    interval: u64,
}

impl State {
    fn new(interval: Duration) -> Self {
        Self { whole_at: AtomicU64::new(0), interval: nanos(interval) }
    }

    fn take(&self, now: u64, burst: u32, n: NonZeroU32) -> RateOutcome {
        let (full, more) = (self.interval * u64::from(burst), self.interval * u64::from(n.get()));
        let mut whole_at = self.whole_at.load(Ordering::Acquire);
        loop {
            let debt = whole_at.saturating_sub(now) + more;
            if debt > full {
                return RateOutcome::Denied { wait: Duration::from_nanos(debt - full) };
            }
            let next = now.saturating_add(debt);
            match self.whole_at.compare_exchange_weak(whole_at, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let remaining = u32::try_from((full - debt) / self.interval).unwrap_or(burst);
                    return RateOutcome::Allowed { remaining, interval: Duration::from_nanos(self.interval) };
                }
                Err(changed) => whole_at = changed,
            }
        }
    }

    fn is_whole(&self, now: u64) -> bool {
        self.whole_at.load(Ordering::Acquire) <= now
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use governor::clock::{Clock as _, FakeRelativeClock};
    use governor::middleware::StateInformationMiddleware;
    use governor::{Quota, RateLimiter};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The crate governor is the reference: the same checks at the same times have the same outcomes.
        #[test]
        fn a_state_does_as_governor_does(
            interval in 100_u64..5_000_000_000,
            burst in 1_u32..50,
            checks in proptest::collection::vec((0_u64..20_000_000_000, 1_u32..60), 1..60),
        ) {
            let interval = Duration::from_nanos(interval);
            let quota = Quota::with_period(interval).unwrap().allow_burst(NonZeroU32::new(burst).unwrap());
            let clock = FakeRelativeClock::default();
            let reference = RateLimiter::direct_with_clock(quota, clock.clone())
                .with_middleware::<StateInformationMiddleware>();
            let (state, mut now) = (State::new(interval), 0);
            for (pause, n) in checks {
                now += pause / 8;
                clock.advance(Duration::from_nanos(pause / 8));
                let n = NonZeroU32::new(n.min(burst)).unwrap();
                let expected = match reference.check_n(n).expect("n is at most the burst") {
                    Ok(allowed) => {
                        RateOutcome::Allowed { remaining: allowed.remaining_burst_capacity(), interval }
                    }
                    Err(denied) => RateOutcome::Denied { wait: denied.wait_time_from(clock.now()) },
                };
                prop_assert_eq!(state.take(now, burst, n), expected);
            }
        }
    }

    #[test]
    fn the_longest_burst_does_not_overflow() {
        let century = 100 * 365 * 24 * 3_600 * 1_000_000_000_u64;
        let state = State::new(Duration::from_nanos(century));
        let one = NonZeroU32::MIN;
        assert!(matches!(state.take(century, 1, one), RateOutcome::Allowed { remaining: 0, .. }));
        let wait = Duration::from_nanos(century - 1);
        assert_eq!(state.take(century + 1, 1, one), RateOutcome::Denied { wait });
        assert!(!state.is_whole(century * 2 - 1) && state.is_whole(century * 2));
    }
}
