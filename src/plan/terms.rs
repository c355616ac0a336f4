//! [`PlanTerms`]: what one tenant has beside its plan, such as add-ons and [`Override`]s.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::compile::feature_of;
use super::feature::FeatureKind;
use super::file::{Declaration, LimitValue, Value, ValueTable};
use super::limit::Limit;
use super::memo::Memo;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// What one tenant has beside its plan: a pinned version of the plan, add-ons, seats, a billing day, and overrides.
///
/// A [`Tenant`](crate::tenant::Tenant) contains its terms, and a store writes them with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlanTerms {
    /// The plan and the version of it that the tenant keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pinned: Option<(String, u32)>,
    /// The keys of the add-ons that the tenant has bought.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) addons: Vec<String>,
    /// The number of seats that the tenant has bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seats: Option<u64>,
    /// The start of the first billing period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) billing_anchor: Option<Timestamp>,
    /// Every override in the order in which it was added, also those that have ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) overrides: Vec<Override>,
    #[serde(skip)]
    pub(super) compiled: Memo,
}

impl PlanTerms {
    /// Whether the tenant has its plan and nothing else.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The version of the plan that the tenant keeps, if it is pinned to one.
    pub fn pinned_version(&self, plan: &str) -> Option<u32> {
        self.pinned.as_ref().filter(|(pinned, _)| pinned == plan).map(|(_, version)| *version)
    }

    /// The keys of the add-ons that the tenant has bought.
    pub fn addons(&self) -> &[String] {
        &self.addons
    }

    /// The number of seats that the tenant has bought; `None` without a subscription that has seats.
    pub fn seats(&self) -> Option<u64> {
        self.seats
    }

    /// The start of the first billing period.
    pub fn billing_anchor(&self) -> Option<Timestamp> {
        self.billing_anchor
    }

    /// Every override in the order in which it was added, also those that have ended.
    pub fn overrides(&self) -> &[Override] {
        &self.overrides
    }

    /// When an override starts or ends.
    pub(super) fn changes(&self) -> impl Iterator<Item = Timestamp> {
        self.overrides.iter().flat_map(|one| [Some(one.starts), one.ends]).flatten()
    }

    /// Pins the tenant to a version of a plan. With `None` it has the current version.
    pub(crate) fn pin(&mut self, plan: &str, version: Option<u32>) {
        self.compiled = Memo::default();
        self.pinned = version.map(|version| (plan.to_owned(), version));
    }

    /// Replaces what a subscription decides.
    #[cfg(feature = "stripe")]
    pub(crate) fn set_bought(&mut self, addons: Vec<String>, seats: Option<u64>) {
        self.compiled = Memo::default();
        (self.addons, self.seats) = (addons, seats);
    }

    pub(crate) fn set_billing_anchor(&mut self, anchor: Option<Timestamp>) {
        self.compiled = Memo::default();
        self.billing_anchor = anchor;
    }

    pub(crate) fn add(&mut self, new: NewOverride, actor: String, now: Timestamp) -> Result<()> {
        self.compiled = Memo::default();
        let NewOverride { id, feature, change, starts, ends, reason } = new;
        let starts = starts.unwrap_or(now);
        if reason.trim().is_empty() {
            return Err(invalid(
                "an override needs a reason; state who agreed to it, or where it is written",
            ));
        }
        if ends.is_some_and(|ends| ends <= starts) {
            return Err(invalid("the override ends before it starts; swap the two times"));
        }
        self.overrides.push(Override { id, feature, change, starts, ends, reason, actor, ended_by: None });
        Ok(())
    }

    /// Ends an override now. It stays in the list.
    pub(crate) fn end(&mut self, id: Uuid, actor: String, reason: String, now: Timestamp) -> Result<()> {
        self.compiled = Memo::default();
        let found = self.overrides.iter_mut().find(|one| one.id == id);
        let Some(found) = found.filter(|one| one.ends.is_none_or(|ends| ends > now)) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                "the tenant has no such override, or the override has ended",
            ));
        };
        if reason.trim().is_empty() {
            return Err(invalid("the end of an override needs a reason"));
        }
        found.ends = Some(now.max(found.starts));
        found.ended_by = Some(Ending { actor, reason });
        Ok(())
    }
}

fn invalid(text: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, text)
}

/// A change of one feature for one tenant, with its dates, its reason and its actor. Overrides are never removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    pub(super) id: Uuid,
    pub(super) feature: String,
    pub(super) change: OverrideChange,
    starts: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ends: Option<Timestamp>,
    reason: String,
    actor: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ended_by: Option<Ending>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ending {
    actor: String,
    reason: String,
}

impl Override {
    /// The id, for [`Tenant::with_override_ended`](crate::tenant::Tenant::with_override_ended).
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The feature's key.
    pub fn feature(&self) -> &str {
        &self.feature
    }

    /// What the override changes.
    pub fn change(&self) -> &OverrideChange {
        &self.change
    }

    /// The first instant of the override.
    pub fn starts(&self) -> Timestamp {
        self.starts
    }

    /// The first instant after the override; `None` if it has no end.
    pub fn ends(&self) -> Option<Timestamp> {
        self.ends
    }

    /// Why it was added.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Who added it.
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// Who ended it early, and why; `None` if nobody did.
    pub fn ended_by(&self) -> Option<(&str, &str)> {
        self.ended_by.as_ref().map(|ending| (ending.actor.as_str(), ending.reason.as_str()))
    }

    /// Whether the override has an effect at this time.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.starts <= now && self.ends.is_none_or(|ends| now < ends)
    }
}

/// What an [`Override`] does to a feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OverrideChange {
    /// Replaces the value of the plan and of the add-ons. Of several, the one that was added last counts.
    Set(FeatureValue),
    /// Adds to a limit, or subtracts from it. A limit does not fall below 0.
    Add(i64),
    /// Turns a flag off, or sets a limit to 0. It precedes every other change.
    Deny,
}

/// An override to add. See [`Tenant::with_override`](crate::tenant::Tenant::with_override).
///
/// ```
/// use tenancy::clock::Timestamp;
/// use tenancy::plan::{FeatureValue, NewOverride};
///
/// let more = NewOverride::add("projects", 10, "contract 17").until(Timestamp::from_seconds(1_800_000_000));
/// let trial = NewOverride::set("export", FeatureValue::from(true), "sales trial, ticket 412");
/// # let _ = (more, trial);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct NewOverride {
    pub(crate) id: Uuid,
    pub(crate) feature: String,
    change: OverrideChange,
    starts: Option<Timestamp>,
    ends: Option<Timestamp>,
    reason: String,
}

impl NewOverride {
    fn new(feature: &str, change: OverrideChange, reason: impl Into<String>) -> Self {
        let (feature, reason) = (feature.to_owned(), reason.into());
        Self { id: Uuid::now_v7(), feature, change, starts: None, ends: None, reason }
    }

    /// Replaces the value of the plan.
    pub fn set(feature: &str, value: FeatureValue, reason: impl Into<String>) -> Self {
        Self::new(feature, OverrideChange::Set(value), reason)
    }

    /// Adds to a limit, or subtracts from it.
    pub fn add(feature: &str, number: i64, reason: impl Into<String>) -> Self {
        Self::new(feature, OverrideChange::Add(number), reason)
    }

    /// Turns a flag off, or sets a limit to 0.
    pub fn deny(feature: &str, reason: impl Into<String>) -> Self {
        Self::new(feature, OverrideChange::Deny, reason)
    }

    /// Sets when it starts. Without this call it starts when it is added.
    pub fn from(self, starts: Timestamp) -> Self {
        Self { starts: Some(starts), ..self }
    }

    /// Sets when it ends. Without this call it has no end.
    pub fn until(self, ends: Timestamp) -> Self {
        Self { ends: Some(ends), ..self }
    }

    /// The id that the override gets.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The error continues a sentence that begins with the feature's key.
    pub(super) fn check(&self, declared: &Declaration) -> Result<(), String> {
        match &self.change {
            OverrideChange::Set(value) => feature_of(declared, &value.0).map(|_| ()),
            OverrideChange::Deny if declared.kind == FeatureKind::Config => {
                Err("is a config value, which cannot be denied; set another value".to_owned())
            }
            OverrideChange::Add(_) if !declared.has_limit() => {
                Err(format!("is {}, to which nothing can be added", declared.kind))
            }
            OverrideChange::Add(_) | OverrideChange::Deny => Ok(()),
        }
    }
}

/// The value of a feature, as the file of the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FeatureValue(pub(super) Value);

impl FeatureValue {
    /// A rate: so many in so much time, in whole seconds.
    pub fn rate(limit: u64, window: Duration) -> Self {
        let seconds = u32::try_from(window.as_secs()).unwrap_or(u32::MAX);
        Self(Value::Table(ValueTable {
            limit: LimitValue::Number(limit),
            per_seat: None,
            overage: None,
            warn: None,
            seconds: Some(seconds),
            burst: None,
        }))
    }
}

impl From<bool> for FeatureValue {
    fn from(on: bool) -> Self {
        Self(Value::Flag(on))
    }
}

impl From<i64> for FeatureValue {
    fn from(number: i64) -> Self {
        Self(Value::Number(number))
    }
}

impl From<&str> for FeatureValue {
    fn from(text: &str) -> Self {
        Self(Value::Text(text.to_owned()))
    }
}

impl From<Limit> for FeatureValue {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Unlimited => Self(Value::Text("unlimited".to_owned())),
            Limit::AtMost(max) => Self(Value::Number(i64::try_from(max).unwrap_or(i64::MAX))),
        }
    }
}
