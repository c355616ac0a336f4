//! [`Feature`]: the value of a feature in a plan, and [`FeatureKind`].

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::limit::Limit;
use super::rule::{ConcurrencyRule, RateRule, Rule};

/// The kind that the catalog declares for a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FeatureKind {
    /// Included or not.
    Flag,
    /// A text or a number that your program reads.
    Config,
    /// How many things may exist at a time.
    Gauge,
    /// How much may be used in a period.
    Quota,
    /// How often something may happen.
    Rate,
    /// How much may be in work at a time.
    Concurrency,
}

impl fmt::Display for FeatureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "a flag",
            Self::Config => "a config value",
            Self::Gauge => "a gauge",
            Self::Quota => "a quota",
            Self::Rate => "a rate",
            Self::Concurrency => "a concurrency limit",
        })
    }
}

/// A text or a whole number that your program reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum ConfigValue {
    /// A text.
    Text(Arc<str>),
    /// A whole number.
    Integer(i64),
}

/// The value of one feature in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Feature {
    /// Whether the plan includes the feature.
    Flag(bool),
    /// A text or a number that your program reads.
    Config(ConfigValue),
    /// How many things (seats, projects) may exist at a time.
    Gauge(Rule),
    /// How much may be used in a period.
    Quota(Rule),
    /// How often something may happen.
    Rate(RateRule),
    /// How much may be in work at a time.
    Concurrency(ConcurrencyRule),
}

impl Feature {
    /// The kind of the feature.
    pub fn kind(&self) -> FeatureKind {
        match self {
            Self::Flag(_) => FeatureKind::Flag,
            Self::Config(_) => FeatureKind::Config,
            Self::Gauge(_) => FeatureKind::Gauge,
            Self::Quota(_) => FeatureKind::Quota,
            Self::Rate(_) => FeatureKind::Rate,
            Self::Concurrency(_) => FeatureKind::Concurrency,
        }
    }

    /// The limit; `None` for a flag and a config value.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::Flag(_) | Self::Config(_) => None,
            Self::Gauge(rule) | Self::Quota(rule) => Some(rule.limit),
            Self::Rate(rule) => Some(rule.limit),
            Self::Concurrency(rule) => Some(rule.limit),
        }
    }

    pub(super) fn limit_mut(&mut self) -> Option<&mut Limit> {
        match self {
            Self::Flag(_) | Self::Config(_) => None,
            Self::Gauge(rule) | Self::Quota(rule) => Some(&mut rule.limit),
            Self::Rate(rule) => Some(&mut rule.limit),
            Self::Concurrency(rule) => Some(&mut rule.limit),
        }
    }

    /// Turns the feature off: no flag, a limit of 0. A config value stays.
    pub(super) fn deny(&mut self) {
        match self {
            Self::Flag(on) => *on = false,
            Self::Config(_) => {}
            Self::Gauge(rule) | Self::Quota(rule) => {
                rule.limit = Limit::AtMost(0);
                rule.overage = super::Overage::Block;
            }
            Self::Rate(rule) => rule.limit = Limit::AtMost(0),
            Self::Concurrency(rule) => rule.limit = Limit::AtMost(0),
        }
    }

    /// Whether this value allows everything that `other` allows. Config values are not compared.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Flag(on), Self::Flag(wanted)) => *on || !wanted,
            (Self::Config(_), Self::Config(_)) => true,
            (Self::Gauge(own), Self::Gauge(wanted)) | (Self::Quota(own), Self::Quota(wanted)) => {
                covers(own.hard_limit(), wanted.hard_limit())
            }
            (Self::Rate(own), Self::Rate(wanted)) => {
                let per = |rule: &RateRule, other: &RateRule| match rule.limit {
                    Limit::Unlimited => Limit::Unlimited,
                    Limit::AtMost(max) => Limit::AtMost(max.saturating_mul(other.seconds.into())),
                };
                covers(per(own, wanted), per(wanted, own)) && own.burst >= wanted.burst
            }
            (Self::Concurrency(own), Self::Concurrency(wanted)) => covers(own.limit, wanted.limit),
            _ => false,
        }
    }
}

fn covers(own: Limit, wanted: Limit) -> bool {
    match wanted {
        Limit::Unlimited => own == Limit::Unlimited,
        Limit::AtMost(max) => own.allows(max),
    }
}
