//! [`Line`]: one counter of a charge, by the rule of the tenant's plan.

use std::time::Duration;

use super::decision::{Decision, DecisionSource, quota_exceeded, until};
use super::key::Quota;
use super::meter::{ChargeLine, CounterKey, LineCount, MAX_COUNT};
use crate::clock::Timestamp;
use crate::context::{Actor, TenantContext};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{CountPer, Overage, PeriodWindow, Rule};

/// One line of a charge with its quota; without one it is a concurrency limit.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) quota: Option<Quota>,
    pub(super) feature: &'static str,
    pub(super) charge: ChargeLine,
}

pub(super) fn unknown(lines: &[Line]) -> Vec<LineCount> {
    lines.iter().map(|_| LineCount::default()).collect()
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
    let charge = charge_line(rule, counter, window, checked(n)?);
    Ok(Line { quota: Some(quota), feature: quota.feature(), charge })
}

fn charge_line(rule: &Rule, counter: CounterKey, window: PeriodWindow, amount: u64) -> ChargeLine {
    let grace = match rule.overage() {
        Overage::Grace { seconds: Some(seconds), .. } => Some(Duration::from_secs(seconds.into())),
        _ => None,
    };
    let (limit, hard_limit) = (rule.limit(), rule.hard_limit());
    ChargeLine { counter, window, amount, limit, hard_limit, grace, warn: rule.warn_counts() }
}

/// The subject of a counter: empty for the whole tenant.
pub(super) fn subject_of(
    ctx: &TenantContext,
    per: CountPer,
    subject: Option<&str>,
    feature: &str,
) -> Result<String> {
    let missing = |what: &str| {
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("`{feature}` counts per {what}, and the request has none"),
        ))
    };
    match (per, ctx.actor()) {
        (CountPer::Tenant, _) => Ok(String::new()),
        (CountPer::User, actor @ Actor::User(_)) | (CountPer::ApiKey, actor @ Actor::ApiKey(_)) => {
            Ok(actor.to_string())
        }
        (CountPer::User, _) => missing("user"),
        (CountPer::ApiKey, _) => missing("API key"),
        (CountPer::Subject, _) => match subject {
            Some(subject) if !subject.is_empty() => Ok(subject.to_owned()),
            _ => missing("subject"),
        },
    }
}

pub(super) fn checked(n: u64) -> Result<u64> {
    match n {
        1..=MAX_COUNT => Ok(n),
        _ => Err(Error::new(ErrorKind::InvalidInput, "the amount must be 1 to 2^53 - 1")),
    }
}
