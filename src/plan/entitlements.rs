//! [`Entitlements`]: what a tenant's plan allows, and [`KeyTable`], which finds a feature in a few nanoseconds.

use std::sync::Arc;

use serde::Serialize;
use serde::ser::SerializeMap;

use super::database_limits::DatabaseLimits;
use super::feature::{Feature, FeatureKind};
use super::feature_id::{FeatureId, fnv1a};
use super::limit::Limit;
use super::rule::Rule;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, PlanDenial, Result};

/// What a tenant may use: the value of each feature in its plan, with its add-ons and overrides.
///
/// Tenants without add-ons and overrides share the value of their plan.
///
/// ```
/// # use tenancy::plan::Catalog;
/// # let catalog = Catalog::from_toml("version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }").unwrap();
/// let entitlements = catalog.entitlements("free")?;
/// assert!(!entitlements.flag("sso")?);
/// assert!(entitlements.flag("ssso").is_err(), "a typo is an error, not a `false`");
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entitlements {
    pub(super) plan: Arc<str>,
    pub(super) plan_version: u32,
    pub(super) catalog_version: u32,
    #[serde(serialize_with = "as_map", rename = "features")]
    pub(super) values: Values,
    #[serde(skip)]
    pub(super) order: Arc<[String]>,
    #[serde(skip)]
    pub(super) upgrade_url: Option<Arc<str>>,
    #[serde(skip)]
    pub(super) usage_in_trial: bool,
    #[serde(skip)]
    pub(super) database_limits: DatabaseLimits,
    #[serde(skip)]
    pub(super) billing_anchor: Option<Timestamp>,
}

/// The features with their values, in the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) keys: Arc<KeyTable>,
    pub(super) features: Vec<Feature>,
}

fn as_map<S: serde::Serializer>(values: &Values, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(values.features.len()))?;
    for (key, feature) in values.keys.names.iter().zip(&values.features) {
        map.serialize_entry(key, feature)?;
    }
    map.end()
}

impl Entitlements {
    /// The key of the plan.
    pub fn plan(&self) -> &str {
        &self.plan
    }

    /// The version of the plan. An older one than the catalog's current if the tenant is pinned to it.
    pub fn plan_version(&self) -> u32 {
        self.plan_version
    }

    /// The version of the catalog.
    pub fn catalog_version(&self) -> u32 {
        self.catalog_version
    }

    /// The URL where a person can change the plan, if the catalog has one.
    pub fn upgrade_url(&self) -> Option<&str> {
        self.upgrade_url.as_deref()
    }

    /// Whether usage during a trial is billed; `true` unless the plan has `usage_in_trial = false`.
    pub fn usage_in_trial(&self) -> bool {
        self.usage_in_trial
    }

    /// What the plan allows in the database: time, rows and connections.
    pub fn database_limits(&self) -> &DatabaseLimits {
        &self.database_limits
    }

    /// The start of the tenant's first billing period, from which its billing periods are counted; `None` without a
    /// subscription.
    pub fn billing_anchor(&self) -> Option<Timestamp> {
        self.billing_anchor
    }

    /// Every feature with its value, sorted by key.
    pub fn features(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.values.keys.names.iter().map(String::as_str).zip(&self.values.features)
    }

    #[inline]
    pub(crate) fn get(&self, id: &FeatureId) -> Option<&Feature> {
        self.values.keys.find(id.hash, id.name).map(|at| &self.values.features[at])
    }

    /// The value of a feature.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog does not declare it.
    pub fn feature(&self, key: &str) -> Result<&Feature> {
        match self.values.keys.find(fnv1a(key), key) {
            Some(at) => Ok(&self.values.features[at]),
            None => Err(unknown_feature(key)),
        }
    }

    /// Whether the tenant has the feature `key`, which must be a flag.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog does not declare it, or declares another kind.
    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.feature(key)? {
            Feature::Flag(on) => Ok(*on),
            found => Err(wrong_kind(key, FeatureKind::Flag, Some(found))),
        }
    }

    /// The limit of the feature `key`, which must not be a flag and not a config value.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog does not declare it, or declares another kind.
    pub fn limit(&self, key: &str) -> Result<Limit> {
        let found = self.feature(key)?;
        found.limit().ok_or_else(|| wrong_kind(key, FeatureKind::Gauge, Some(found)))
    }

    /// The rule of the feature `key`, which must be a gauge or a quota.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog does not declare it, or declares another kind.
    pub fn rule(&self, key: &str) -> Result<&Rule> {
        match self.feature(key)? {
            Feature::Gauge(rule) | Feature::Quota(rule) => Ok(rule),
            found => Err(wrong_kind(key, FeatureKind::Quota, Some(found))),
        }
    }

    /// Returns an error unless the tenant has the feature `key`, which must be a flag.
    ///
    /// # Errors
    /// [`ErrorKind::FeatureNotInPlan`] if the plan does not include the feature; the error's
    /// [`plan_denial`](Error::plan_denial) contains the upgrade URL. [`ErrorKind::UnknownFeature`] as
    /// [`flag`](Self::flag).
    pub fn require(&self, key: &str) -> Result<()> {
        if self.flag(key)? { Ok(()) } else { Err(self.not_included(key)) }
    }

    /// Whether the plan is `plan` or a higher one in the catalog's `order`.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownPlan`] if the `order` lacks one of the two plans.
    pub fn is_at_least(&self, plan: &str) -> Result<bool> {
        let rank = |plan: &str| {
            self.order.iter().position(|known| known == plan).ok_or_else(|| {
                Error::new(
                    ErrorKind::UnknownPlan,
                    format!("the `order` of the catalog lacks the plan `{plan}`; add it, from the lowest plan to the highest"),
                )
            })
        };
        Ok(rank(&self.plan)? >= rank(plan)?)
    }

    /// Returns an error unless the plan is `plan` or a higher one in the catalog's `order`.
    ///
    /// # Errors
    /// [`ErrorKind::PlanTooLow`], with the upgrade URL in [`plan_denial`](Error::plan_denial);
    /// [`ErrorKind::UnknownPlan`] as [`is_at_least`](Self::is_at_least).
    pub fn require_plan(&self, plan: &str) -> Result<()> {
        if self.is_at_least(plan)? {
            return Ok(());
        }
        let mut denial = self.denial(None);
        denial.required_plan = Some(plan.to_owned());
        let text =
            format!("this needs the plan `{plan}` or a higher one, and the tenant is on `{}`", self.plan);
        Err(Error::denied(ErrorKind::PlanTooLow, text, denial))
    }

    pub(crate) fn not_included(&self, key: &str) -> Error {
        let text = format!("the plan `{}` does not include `{key}`", self.plan);
        Error::denied(ErrorKind::FeatureNotInPlan, text, self.denial(Some(key)))
    }

    /// The error for a gauge that has reached its limit.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "gauges need SQL")
    )]
    pub(crate) fn limit_reached(&self, key: &str, limit: Limit, used: u64) -> Error {
        let mut denial = self.denial(Some(key));
        (denial.limit, denial.used) = (limit.max(), Some(used));
        let text = format!("the plan `{}` allows {limit} `{key}`, and {used} are in use", self.plan);
        Error::denied(ErrorKind::LimitReached, text, denial)
    }

    /// The details of a rejection, without numbers.
    pub(crate) fn denial(&self, feature: Option<&str>) -> PlanDenial {
        PlanDenial {
            feature: feature.map(str::to_owned),
            plan: self.plan.to_string(),
            required_plan: None,
            limit: None,
            used: None,
            window: None,
            resets_at: None,
            retry_after: None,
            upgrade_url: self.upgrade_url.as_deref().map(str::to_owned),
        }
    }
}

fn unknown_feature(key: &str) -> Error {
    Error::new(
        ErrorKind::UnknownFeature,
        format!("the catalog declares no feature `{key}`; add it under [features], or fix the key"),
    )
}

#[cold]
pub(crate) fn wrong_kind(key: &str, wanted: FeatureKind, found: Option<&Feature>) -> Error {
    match found {
        None => unknown_feature(key),
        Some(found) => Error::new(
            ErrorKind::UnknownFeature,
            format!("the catalog declares `{key}` as {}, not as {wanted}", found.kind()),
        ),
    }
}

/// The keys of a catalog, sorted, with a hash table over them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyTable {
    pub(super) names: Vec<String>,
    /// A power of two of slots, at least twice as many as keys: the hash and the index of a key plus one.
    slots: Vec<(u64, u32)>,
}

impl KeyTable {
    pub(super) fn new(names: Vec<String>) -> Self {
        let mut slots = vec![(0, 0); (names.len() * 2).next_power_of_two().max(2)];
        for (at, name) in names.iter().enumerate() {
            let hash = fnv1a(name);
            let mut slot = Self::first(hash, slots.len());
            while slots[slot].1 != 0 {
                slot = (slot + 1) % slots.len();
            }
            slots[slot] = (hash, u32::try_from(at + 1).expect("a catalog has fewer than 2^32 features"));
        }
        Self { names, slots }
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
    fn first(hash: u64, slots: usize) -> usize {
        (hash ^ (hash >> 32)) as usize & (slots - 1)
    }

    #[inline]
    fn find(&self, hash: u64, name: &str) -> Option<usize> {
        let mut slot = Self::first(hash, self.slots.len());
        loop {
            let (known, at) = self.slots[slot];
            if at == 0 {
                return None;
            }
            if known == hash && self.names[at as usize - 1] == name {
                return Some(at as usize - 1);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.find(fnv1a(name), name)
    }
}
