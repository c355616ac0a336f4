//! [`UsageSnapshot`]: what a tenant may use and what it has used, for a user interface.

use serde::{Deserialize, Serialize};

use super::count_key::subject_of;
use super::meter::{CounterKey, CounterState, Meter};
use crate::clock::Timestamp;
use crate::context::TenantContext;
use crate::error::Result;
use crate::plan::{ConfigValue, Feature, FeatureKind, Limit, Overage, Period, PeriodWindow, RateRule, Rule};

/// What a tenant may use, and what it has used in the current periods. For a user interface.
///
/// [`Quotas::snapshot`](crate::quota::Quotas::snapshot) reads it. Gauges are counted in the tenant's own tables: add
/// them with [`with_used`](Self::with_used).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UsageSnapshot {
    /// The key of the plan.
    pub plan: String,
    /// The version of the plan.
    pub plan_version: u32,
    /// The version of the catalog.
    pub catalog_version: u32,
    /// Where a person can change the plan.
    pub upgrade_url: Option<String>,
    /// Every feature, sorted by key.
    pub features: Vec<FeatureUsage>,
}

/// One feature of a [`UsageSnapshot`]. A field that its kind does not have is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FeatureUsage {
    /// The feature's key.
    pub key: String,
    /// The kind of the feature.
    pub kind: FeatureKind,
    /// Whether a flag is on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub on: Option<bool>,
    /// The value of a config value.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<ConfigValue>,
    /// The limit; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u64>,
    /// Whether it has no limit.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub unlimited: bool,
    /// The unit of the catalog, such as `requests`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<String>,
    /// In how many seconds a rate allows its limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seconds: Option<u32>,
    /// How many a rate allows at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub burst: Option<u32>,
    /// The warning levels of a gauge or a quota, in percent.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub warn_percent: Vec<u16>,
    /// What happens at the limit of a gauge or a quota.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub overage: Option<Overage>,
    /// What is used; absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub used: Option<u64>,
    /// What reservations hold; of a concurrency limit, what is in work.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<u64>,
    /// The highest warning level that was reached, in percent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warned_percent: Option<u16>,
    /// The id of the current period.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub period: Option<String>,
    /// When the next period starts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resets_at: Option<Timestamp>,
}

impl FeatureUsage {
    /// What is left of the limit; `None` without a limit, or if what is used is not known.
    pub fn remaining(&self) -> Option<u64> {
        let used = self.used?.saturating_add(self.held.unwrap_or(0));
        Some(self.limit?.saturating_sub(used))
    }
}

impl UsageSnapshot {
    /// Adds what is used of a gauge, as `Gauge::usage` reads it.
    #[must_use]
    pub fn with_used(mut self, feature: &str, used: u64) -> Self {
        if let Some(found) = self.features.iter_mut().find(|one| one.key == feature) {
            found.used = Some(used);
        }
        self
    }

    /// The feature with this key.
    pub fn feature(&self, key: &str) -> Option<&FeatureUsage> {
        self.features.iter().find(|feature| feature.key == key)
    }
}

/// Reads the counters of the current periods in one step.
pub(super) async fn snapshot(
    meter: &dyn Meter,
    ctx: &TenantContext,
    now: Timestamp,
) -> Result<UsageSnapshot> {
    let entitlements = ctx.entitlements();
    let (mut features, mut keys) = (Vec::new(), Vec::new());
    for (key, feature) in entitlements.features() {
        let mut usage = usage_of(key, feature);
        if let Some((counter, window)) = counter_of(ctx, key, feature, now)? {
            (usage.period, usage.resets_at) = match feature {
                Feature::Quota(_) => (Some(window.id), window.end),
                _ => (None, None),
            };
            keys.push((features.len(), counter));
        }
        features.push(usage);
    }
    let names: Vec<_> = keys.iter().map(|(_, key)| key.clone()).collect();
    let states = meter.read(ctx.tenant_id(), &names, now).await?;
    for ((at, _), CounterState { used, held, warned, .. }) in keys.into_iter().zip(states) {
        let is_quota = features[at].kind == FeatureKind::Quota;
        features[at].used = is_quota.then_some(used);
        features[at].held = Some(held);
        features[at].warned_percent = (warned > 0).then_some(warned);
    }
    Ok(UsageSnapshot {
        plan: entitlements.plan().to_owned(),
        plan_version: entitlements.plan_version(),
        catalog_version: entitlements.catalog_version(),
        upgrade_url: entitlements.upgrade_url().map(str::to_owned),
        features,
    })
}

fn usage_of(key: &str, feature: &Feature) -> FeatureUsage {
    let rule = match feature {
        Feature::Gauge(rule) | Feature::Quota(rule) => Some(rule),
        _ => None,
    };
    let rate = if let Feature::Rate(rate) = feature { Some(rate) } else { None };
    FeatureUsage {
        key: key.to_owned(),
        kind: feature.kind(),
        on: if let Feature::Flag(on) = feature { Some(*on) } else { None },
        value: if let Feature::Config(value) = feature { Some(value.clone()) } else { None },
        limit: feature.limit().and_then(Limit::max),
        unlimited: feature.limit() == Some(Limit::Unlimited),
        unit: rule.and_then(Rule::unit).map(str::to_owned),
        seconds: rate.map(RateRule::seconds),
        burst: rate.map(RateRule::burst),
        warn_percent: rule.map(|rule| rule.warn_percent().to_vec()).unwrap_or_default(),
        overage: rule.map(Rule::overage),
        used: None,
        held: None,
        warned_percent: None,
        period: None,
        resets_at: None,
    }
}

/// The counter that the actor of the context has now. `None` for what a meter does not count, and for what is counted
/// for another kind of actor or for a subject.
fn counter_of(
    ctx: &TenantContext,
    key: &str,
    feature: &Feature,
    now: Timestamp,
) -> Result<Option<(CounterKey, PeriodWindow)>> {
    let (per, window) = match feature {
        Feature::Quota(rule) => (rule.per(), rule.period().window(now, ctx.entitlements().billing_anchor())?),
        Feature::Concurrency(rule) => (rule.per(), Period::Lifetime.window(now, None)?),
        _ => return Ok(None),
    };
    let Ok(subject) = subject_of(ctx, per, None, key) else { return Ok(None) };
    let counter = CounterKey { feature: key.to_owned(), subject, period: window.id.clone() };
    Ok(Some((counter, window)))
}
