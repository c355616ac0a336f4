//! The format of the catalog's file, as serde reads it from TOML or JSON. `compile.rs` checks its meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::database_limits::DatabaseEntry;
use super::feature::FeatureKind;
use super::period::Period;
use super::rule::{CountPer, FailurePolicy, Overage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogFile {
    pub(super) version: u32,
    pub(super) upgrade_url: Option<String>,
    pub(super) fallback: Option<String>,
    #[serde(default)]
    pub(super) order: Vec<String>,
    #[serde(default)]
    pub(super) features: BTreeMap<String, Declaration>,
    pub(super) plans: BTreeMap<String, PlanEntry>,
    #[serde(default)]
    pub(super) addons: BTreeMap<String, AddonEntry>,
}

/// What the catalog declares about a feature, for all plans.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declaration {
    pub(super) kind: FeatureKind,
    pub(super) unit: Option<String>,
    pub(super) period: Option<Period>,
    pub(super) overage: Option<Overage>,
    pub(super) warn: Option<Vec<u16>>,
    pub(super) per: Option<CountPer>,
    pub(super) on_failure: Option<FailurePolicy>,
    pub(super) timeout_ms: Option<u32>,
    pub(super) lease_seconds: Option<u32>,
    #[serde(default)]
    pub(super) disabled: bool,
}

impl Declaration {
    /// Whether the values of the feature have a limit.
    pub(super) fn has_limit(&self) -> bool {
        !matches!(self.kind, FeatureKind::Flag | FeatureKind::Config)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanEntry {
    pub(super) title: Option<String>,
    pub(super) extends: Option<String>,
    #[serde(default = "first")]
    pub(super) version: u32,
    #[serde(default)]
    pub(super) prices: Vec<String>,
    #[serde(default)]
    pub(super) seat_prices: Vec<String>,
    #[serde(default = "yes")]
    pub(super) usage_in_trial: bool,
    #[serde(default)]
    pub(super) features: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) database: DatabaseEntry,
    #[serde(default)]
    pub(super) versions: BTreeMap<String, VersionEntry>,
}

/// An older version of a plan, which pinned tenants keep.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionEntry {
    pub(super) features: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddonEntry {
    pub(super) title: Option<String>,
    pub(super) prices: Vec<String>,
    #[serde(default)]
    pub(super) grants: BTreeMap<String, Value>,
}

fn first() -> u32 {
    1
}

fn yes() -> bool {
    true
}

/// The value of a feature, before its kind is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a feature is `true`, `false`, a whole number from 0, a text, \"unlimited\", or a table with `limit`"
)]
pub(super) enum Value {
    Flag(bool),
    Number(i64),
    Text(String),
    Table(ValueTable),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueTable {
    pub(super) limit: LimitValue,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) per_seat: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) overage: Option<Overage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) warn: Option<Vec<u16>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) burst: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged, expecting = "a limit is a whole number from 0, or \"unlimited\"")]
pub(super) enum LimitValue {
    Number(u64),
    Keyword(Keyword),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Keyword {
    Unlimited,
}
