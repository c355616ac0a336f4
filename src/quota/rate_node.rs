//! [`NodeRates`]: the states of rates in the memory of one process, with the crate
//! [governor](https://docs.rs/governor).

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::runtime::Handle;

use super::bucket::{Bucket, RateOutcome};
use super::count_key::CountKey;
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

impl governor::clock::Clock for RateClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.elapsed().into()
    }
}

/// After so many keys that may be new, the states that equal a new one are deleted.
const NEW_KEYS: u32 = 1 << 16;

/// The rates of one process. A state is deleted only when it equals a new one, so that no limit starts again early.
pub(super) struct NodeRates {
    clock: RateClock,
    limiters: RwLock<BTreeMap<Bucket, Limiter>>,
    new_keys: AtomicU32,
}

impl fmt::Debug for NodeRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRates").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl NodeRates {
    pub(super) fn new(clock: RateClock) -> Self {
        Self { clock, limiters: RwLock::default(), new_keys: AtomicU32::new(0) }
    }

    /// `n` is at most the burst.
    pub(super) fn take(
        self: &Arc<Self>,
        bucket: Bucket,
        key: &CountKey,
        n: NonZeroU32,
    ) -> Result<RateOutcome> {
        let outcome = self.take_known(bucket, key, n)?;
        // A new key has the whole burst.
        if let RateOutcome::Allowed { remaining, .. } = outcome
            && remaining + n.get() == bucket.burst
            && self.new_keys.fetch_add(1, Ordering::Relaxed) + 1 == NEW_KEYS
        {
            self.clean_later();
        }
        Ok(outcome)
    }

    fn take_known(&self, bucket: Bucket, key: &CountKey, n: NonZeroU32) -> Result<RateOutcome> {
        {
            let limiters = self.limiters.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(limiter) = limiters.get(&bucket) {
                return Ok(limiter.take(key, n));
            }
        }
        let new = Limiter::new(bucket, key.feature, self.clock.clone())?;
        let mut limiters = self.limiters.write().unwrap_or_else(PoisonError::into_inner);
        Ok(limiters.entry(bucket).or_insert(new).take(key, n))
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
        for limiter in self.limiters.read().unwrap_or_else(PoisonError::into_inner).values() {
            limiter.clean();
        }
        // Under this lock no check runs.
        let mut limiters = self.limiters.write().unwrap_or_else(PoisonError::into_inner);
        limiters.retain(|_, limiter| !limiter.states.is_empty());
    }

    pub(super) fn tracked_keys(&self) -> usize {
        let limiters = self.limiters.read().unwrap_or_else(PoisonError::into_inner);
        limiters.values().map(|limiter| limiter.states.len()).sum()
    }
}

type States = RateLimiter<CountKey, DashMapStateStore<CountKey>, RateClock, StateInformationMiddleware>;

/// The states of one bucket: governor has one quota for all keys of a limiter.
struct Limiter {
    interval: Duration,
    states: States,
}

impl Limiter {
    fn new(bucket: Bucket, feature: &str, clock: RateClock) -> Result<Self> {
        let interval = bucket.interval(feature)?;
        let burst = NonZeroU32::new(bucket.burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(interval).expect("an interval is longer than 0").allow_burst(burst);
        Ok(Self { interval, states: RateLimiter::dashmap_with_clock(quota, clock).with_middleware() })
    }

    fn take(&self, key: &CountKey, n: NonZeroU32) -> RateOutcome {
        match self.states.check_key_n(key, n) {
            Ok(Ok(state)) => {
                RateOutcome::Allowed { remaining: state.remaining_burst_capacity(), interval: self.interval }
            }
            Ok(Err(denied)) => {
                let now = governor::clock::Clock::now(self.states.clock());
                RateOutcome::Denied { wait: denied.wait_time_from(now) }
            }
            // Not reached: `Rates` rejects such a call.
            Err(_) => RateOutcome::Denied { wait: Duration::MAX },
        }
    }

    fn clean(&self) {
        let before = self.states.len();
        self.states.retain_recent();
        if self.states.len() < before / 4 {
            self.states.shrink_to_fit();
        }
    }
}
