//! [`Line`]: one counter of a charge, by the rule of the tenant's plan.

use std::time::Duration;

use super::amount::checked_amount;
use super::count_key::subject_of;
use super::decision::{Decision, DecisionSource, concurrency_limit, quota_exceeded, until};
use super::key::{Concurrency, Quota};
use super::meter::{ChargeLine, CounterKey, LineCount};
use crate::clock::Timestamp;
use crate::context::TenantContext;
use crate::error::{Error, Result};
use crate::plan::{Failure, Overage, Period, PeriodWindow, Rule};

/// One line of a charge with its quota; without one it is a concurrency limit.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) quota: Option<Quota>,
    pub(super) feature: &'static str,
    pub(super) charge: ChargeLine,
    pub(super) failure: Failure,
}

/// How long a request for these lines waits for the store: as long as the least patient rule.
pub(super) fn timeout(lines: &[Line]) -> Duration {
    lines.iter().map(|line| line.failure.timeout).min().unwrap_or_default()
}

pub(super) fn decisions(
    lines: &[Line],
    counts: Vec<LineCount>,
    source: DecisionSource,
    now: Timestamp,
) -> Vec<Decision> {
    let decision = |(line, count): (&Line, LineCount)| Decision {
        feature: line.feature,
        limit: line.charge.limit,
        used: count.used,
        held: count.held,
        period: line.quota.map(|_| line.charge.window.clone()),
        resets_after: line.charge.window.end.map(|end| until(end, now)),
        reached: count.reached,
        source,
    };
    lines.iter().zip(counts).map(decision).collect()
}

pub(super) fn denied(ctx: &TenantContext, line: &Line, count: &LineCount, now: Timestamp) -> Error {
    if line.quota.is_none() {
        return concurrency_limit(ctx.entitlements(), line.feature, line.charge.limit, count.held);
    }
    quota_exceeded(ctx.entitlements(), line.feature, line.charge.limit, count, &line.charge.window, now)
}

/// The line of a charge of `n` by this context at this time.
pub(super) fn quota_line(
    ctx: &TenantContext,
    quota: Quota,
    subject: Option<&str>,
    n: u64,
    now: Timestamp,
) -> Result<Line> {
    let entitlements = ctx.entitlements();
    let rule = quota.rule(entitlements)?;
    let window = rule.period().window(now, entitlements.billing_anchor())?;
    let counter = CounterKey {
        feature: quota.feature().to_owned(),
        subject: subject_of(ctx, rule.per(), subject, quota.feature())?,
        period: window.id.clone(),
    };
    let charge = charge_line(rule, counter, window, checked_amount(n)?);
    Ok(Line { quota: Some(quota), feature: quota.feature(), charge, failure: rule.failure() })
}

/// The line of one place of a concurrency limit.
pub(super) fn concurrency_line(
    ctx: &TenantContext,
    limit: Concurrency,
    subject: Option<&str>,
    now: Timestamp,
) -> Result<Line> {
    let rule = limit.rule(ctx.entitlements())?;
    let window = Period::Lifetime.window(now, None)?;
    let counter = CounterKey {
        feature: limit.feature().to_owned(),
        subject: subject_of(ctx, rule.per(), subject, limit.feature())?,
        period: window.id.clone(),
    };
    let (amount, hard_limit) = (1, rule.limit());
    let charge =
        ChargeLine { counter, window, amount, limit: hard_limit, hard_limit, grace: None, warn: Vec::new() };
    Ok(Line { quota: None, feature: limit.feature(), charge, failure: rule.failure() })
}

fn charge_line(rule: &Rule, counter: CounterKey, window: PeriodWindow, amount: u64) -> ChargeLine {
    let grace = match rule.overage() {
        Overage::Grace { seconds: Some(seconds), .. } => Some(Duration::from_secs(seconds.into())),
        _ => None,
    };
    let (limit, hard_limit) = (rule.limit(), rule.hard_limit());
    ChargeLine { counter, window, amount, limit, hard_limit, grace, warn: rule.warn_counts().collect() }
}
