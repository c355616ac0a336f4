//! The values of features that count: [`Rule`] of gauges and quotas, [`RateRule`], [`ConcurrencyRule`], and what they
//! are made of.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limit::{Limit, MAX_NUMBER};
use super::period::Period;

/// What happens at the limit of a gauge or a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Overage {
    /// The limit holds: more is rejected.
    #[default]
    Block,
    /// More is allowed, by a percentage of the limit and, for a quota, for some time.
    Grace {
        /// How much more, in percent of the limit; at least 1.
        percent: u16,
        /// For how many seconds after the limit was exceeded; `None` until the end of the period.
        #[serde(default)]
        seconds: Option<u32>,
    },
    /// The limit only counts and warns.
    Allow,
}

/// What a quota, a rate or a concurrency limit answers while its store cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailurePolicy {
    /// Rejects with [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable). The default of quotas and concurrency.
    Closed,
    /// Allows, without counting, and marks the decision. The default of rates.
    Open,
    /// Allows what the node still has of its lease, then rejects. For quotas that are charged by `LeasedQuotas`; without
    /// leases it is as [`Closed`](Self::Closed).
    LastLease,
}

/// What a quota, a rate or a concurrency limit counts separately, within a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CountPer {
    /// One count for the tenant.
    #[default]
    Tenant,
    /// One count for each [`Actor::User`](crate::context::Actor::User).
    User,
    /// One count for each [`Actor::ApiKey`](crate::context::Actor::ApiKey).
    ApiKey,
    /// One count for each subject that the caller names.
    Subject,
}

/// The limit of a gauge or a quota, with everything that the plan says about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Rule {
    pub(super) limit: Limit,
    pub(super) period: Period,
    pub(super) overage: Overage,
    pub(super) warn_percent: Arc<[u16]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<Arc<str>>,
    pub(super) per: CountPer,
    #[serde(skip)]
    pub(super) failure: Failure,
}

/// What a rule does while its store is slow or cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Failure {
    pub(crate) policy: FailurePolicy,
    pub(crate) timeout: Duration,
}

/// What all rules have whose counts are in a store.
macro_rules! counted_in_a_store {
    () => {
        /// What is counted separately.
        pub fn per(&self) -> CountPer {
            self.per
        }

        /// What is answered while the store cannot be reached.
        pub fn on_failure(&self) -> FailurePolicy {
            self.failure.policy
        }

        /// How long a request waits for the store.
        pub fn timeout(&self) -> Duration {
            self.failure.timeout
        }
    };
}

impl Rule {
    /// The limit of the plan.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// The period of a quota; [`Period::Lifetime`] for a gauge.
    pub fn period(&self) -> Period {
        self.period
    }

    /// What happens at the limit.
    pub fn overage(&self) -> Overage {
        self.overage
    }

    /// The warning levels, in percent of the limit, ascending.
    pub fn warn_percent(&self) -> &[u16] {
        &self.warn_percent
    }

    /// The unit of the catalog, such as `requests`.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    counted_in_a_store!();

    /// The limit that is enforced: that of the plan plus what [`Overage`] allows.
    pub fn hard_limit(&self) -> Limit {
        match (self.limit, self.overage) {
            (Limit::Unlimited, _) | (_, Overage::Allow) => Limit::Unlimited,
            (limit, Overage::Block) => limit,
            (Limit::AtMost(max), Overage::Grace { percent, .. }) => {
                Limit::AtMost(max.saturating_add(percent_of(max, percent)).min(MAX_NUMBER))
            }
        }
    }

    /// The warning levels that a count reaches when it rises from `old` to `new`, ascending.
    ///
    /// A level is reached at that percentage of the limit, rounded up. An unlimited rule and a limit of 0 have none.
    ///
    /// ```
    /// # use tenancy::plan::Catalog;
    /// let catalog = Catalog::from_toml(r#"
    ///     version = 1
    ///     [features]
    ///     calls = { kind = "quota", period = "month", warn = [80, 100] }
    ///     [plans.free]
    ///     features = { calls = 3 }
    /// "#)?;
    /// let free = catalog.entitlements("free")?;
    /// let calls = free.rule("calls")?;
    /// assert!(calls.crossed(0, 2).is_empty());
    /// assert_eq!(calls.crossed(2, 3), [80, 100]); // 80 % of 3 is 3, rounded up
    /// # Ok::<(), tenancy::Error>(())
    /// ```
    pub fn crossed(&self, old: u64, new: u64) -> Vec<u16> {
        let reached = |(percent, level)| (old < level && level <= new).then_some(percent);
        self.warn_counts().filter_map(reached).collect()
    }

    /// The warning levels, each with the count at which it is reached.
    pub(crate) fn warn_counts(&self) -> impl Iterator<Item = (u16, u64)> {
        let max = self.limit.max().unwrap_or(0);
        let levels = if max == 0 { &[] } else { &*self.warn_percent };
        levels.iter().map(move |percent| (*percent, percent_of(max, *percent)))
    }

    #[cfg(feature = "quota")]
    pub(crate) fn failure(&self) -> Failure {
        self.failure
    }
}

/// The percentage of a number, rounded up.
fn percent_of(number: u64, percent: u16) -> u64 {
    let product = u128::from(number) * u128::from(percent);
    u64::try_from(product.div_ceil(100)).unwrap_or(u64::MAX)
}

/// How often something may happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct RateRule {
    pub(super) limit: Limit,
    pub(super) seconds: u32,
    pub(super) burst: u32,
    pub(super) per: CountPer,
    #[serde(skip)]
    pub(super) failure: Failure,
}

impl RateRule {
    /// How often in [`seconds`](Self::seconds).
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// The length of the window in seconds.
    pub fn seconds(&self) -> u32 {
        self.seconds
    }

    /// How often at once, at most.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    counted_in_a_store!();
}

/// How much may be in work at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ConcurrencyRule {
    pub(super) limit: Limit,
    pub(super) lease_seconds: u32,
    pub(super) per: CountPer,
    #[serde(skip)]
    pub(super) failure: Failure,
}

impl ConcurrencyRule {
    /// How many at a time.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// After how many seconds the place of a crashed program is free again.
    pub fn lease_seconds(&self) -> u32 {
        self.lease_seconds
    }

    counted_in_a_store!();

    #[cfg(feature = "quota")]
    pub(crate) fn failure(&self) -> Failure {
        self.failure
    }
}
