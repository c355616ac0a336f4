//! [`Decision`]: the numbers of an allowed charge, and the errors of a denied one.

use std::time::Duration;

use serde::Serialize;

use super::meter::LineCount;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::plan::{Entitlements, Limit, PeriodWindow};

/// The longest time that a client is told to wait.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// An allowed charge of one quota: what is used, and what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// The feature's key.
    pub feature: &'static str,
    /// The limit of the plan.
    pub limit: Limit,
    /// What is used, with this charge.
    pub used: u64,
    /// What reservations hold.
    pub held: u64,
    /// The period; `None` for a concurrency limit.
    pub period: Option<PeriodWindow>,
    /// How long the period still lasts; `None` if it has no end.
    pub resets_after: Option<Duration>,
    /// The warning levels that this charge reached, in percent. Of all charges in a period, one has a level.
    pub reached: Vec<u16>,
    /// Where the numbers come from.
    pub source: DecisionSource,
}

/// Where a [`Decision`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DecisionSource {
    /// The store counted the charge.
    Counted,
    /// The store had counted the charge before, under the same idempotency key.
    Repeated,
    /// The store did not answer, and the rule allows the charge then. It may not be counted, and the numbers are
    /// unknown. The age is the time since the store last answered; `None` if it never did.
    Fallback {
        /// The time since the store last answered.
        age: Option<Duration>,
    },
}

impl Decision {
    /// What is left: the limit without what is used and held. `None` for unlimited.
    pub fn remaining(&self) -> Option<u64> {
        self.limit.max().map(|max| max.saturating_sub(self.used).saturating_sub(self.held))
    }

    /// The length of the period; `None` if it has no end.
    pub fn window(&self) -> Option<Duration> {
        let period = self.period.as_ref()?;
        period.end.map(|end| until(end, period.start))
    }
}

/// The error of a quota that does not have so much left.
pub(super) fn quota_exceeded(
    entitlements: &Entitlements,
    feature: &str,
    limit: Limit,
    count: &LineCount,
    window: &PeriodWindow,
    now: Timestamp,
) -> Error {
    let mut denial = entitlements.denial(Some(feature));
    denial.limit = limit.max();
    denial.used = Some(count.used.saturating_add(count.held));
    denial.resets_at = window.end;
    denial.window = window.end.map(|end| until(end, window.start));
    denial.retry_after = window.end.map(|end| until(end, now).min(LONGEST_WAIT));
    let plan = entitlements.plan();
    let held = match count.held {
        0 => String::new(),
        held => format!(" and {held} reserved"),
    };
    let text = format!(
        "the plan `{plan}` allows {limit} `{feature}` in a period, and {} are used{held}",
        count.used
    );
    Error::denied(ErrorKind::QuotaExceeded, text, denial)
}

/// The error of a concurrency limit that is full.
pub(super) fn concurrency_limit(
    entitlements: &Entitlements,
    feature: &str,
    limit: Limit,
    held: u64,
) -> Error {
    let mut denial = entitlements.denial(Some(feature));
    (denial.limit, denial.used) = (limit.max(), Some(held));
    denial.retry_after = Some(Duration::from_secs(1));
    let plan = entitlements.plan();
    let text = format!("the plan `{plan}` allows {limit} `{feature}` at a time, and {held} are in work");
    Error::denied(ErrorKind::ConcurrencyLimit, text, denial)
}

pub(super) fn until(end: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(end.micros().saturating_sub(now.micros())).unwrap_or(0))
}
