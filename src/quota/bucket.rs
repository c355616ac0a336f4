//! [`Bucket`]: the numbers of a rate, and [`RateStore`], which a store of rates for several nodes implements.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::RateRule;
use crate::tenant::TenantId;

/// The shortest time between two, so that rounding it to nanoseconds changes a rate by at most one percent.
const SHORTEST_INTERVAL: u128 = 100;

/// The longest time until a burst is free again: the numbers of every store are exact within it.
const LONGEST_REFILL: u128 = 100 * 365 * 24 * 3_600 * 1_000_000_000;

/// The numbers of a rate. Each has its own states, so a changed rule begins with a free burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Bucket {
    /// How many are free again in `seconds`; at least 1.
    pub(crate) limit: u64,
    pub(crate) seconds: u32,
    /// How many may come at once; at least 1.
    pub(crate) burst: u32,
}

impl Bucket {
    pub(super) fn new(limit: u64, rule: &RateRule) -> Self {
        // A plan without the feature has a burst of 0, and keeps it when an add-on raises the limit.
        let burst = match rule.burst() {
            0 => u32::try_from(limit).unwrap_or(u32::MAX),
            burst => burst,
        };
        Self { limit, seconds: rule.seconds(), burst }
    }

    /// The time after which one more is free.
    pub(super) fn interval(self, feature: &str) -> Result<Duration> {
        let Self { limit, seconds, burst } = self;
        let nanos = u128::from(seconds) * 1_000_000_000 / u128::from(limit);
        let invalid = |why: &str| {
            Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the rate `{feature}` allows {limit} in {seconds} s and {burst} at once, which is {why}"
                ),
            ))
        };
        if nanos < SHORTEST_INTERVAL {
            return invalid("more than 10,000,000 in a second; count larger units, or make it unlimited");
        }
        if nanos * u128::from(burst) > LONGEST_REFILL {
            return invalid("free again after more than 100 years; raise the limit, or lower the burst");
        }
        Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

/// One check of a rate.
#[derive(Debug)]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "a store for several nodes needs Redis"))]
pub(crate) struct RateCall<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) feature: &'static str,
    /// Empty for the whole tenant.
    pub(crate) subject: &'a str,
    pub(crate) bucket: Bucket,
    pub(crate) interval: Duration,
    pub(crate) n: u32,
}

/// What a check changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateOutcome {
    /// All are allowed, and so many more may come at once.
    Allowed { remaining: u32, interval: Duration },
    /// None is allowed, and nothing changed. All would be after this time.
    Denied { wait: Duration },
}

/// Keeps the states of rates for several nodes. A check and its change are one operation.
#[async_trait]
pub(crate) trait RateStore: Send + Sync + fmt::Debug {
    async fn take(&self, call: &RateCall<'_>) -> Result<RateOutcome>;
}
