//! Plans and their limits: the [`Catalog`] of plans, read from TOML, and the [`Entitlements`] of each plan.
//!
//! The catalog declares each feature once, with its kind, and each plan has a value for each feature. There is no
//! default and no magic number for "unlimited". An unknown feature key is an error, never "allowed".
//!
//! The gauges that count what a tenant uses are in the module [`quota`](crate#modules).
//!
//! ```
//! use tenancy::plan::{Limit, Catalog};
//!
//! let catalog = Catalog::from_toml(r#"
//!     version = 1
//!     upgrade_url = "/upgrade"
//!
//!     [features]
//!     projects = { kind = "gauge", unit = "projects" }
//!     export   = { kind = "flag" }
//!
//!     [plans.free]
//!     features = { projects = 3, export = false }
//!
//!     [plans.pro]
//!     prices   = ["price_pro_monthly"]
//!     features = { projects = "unlimited", export = true }
//! "#)?;
//!
//! let free = catalog.entitlements("free")?;
//! assert_eq!(free.limit("projects")?, Limit::AtMost(3));
//! assert!(free.require("export").is_err());
//! assert_eq!(catalog.plan_for_price("price_pro_monthly").unwrap().key(), "pro");
//! # Ok::<(), tenancy::Error>(())
//! ```

mod catalog;
mod database_limits;
mod products;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

pub use self::catalog::Catalog;
pub use self::database_limits::DatabaseLimits;
#[cfg(feature = "stripe")]
pub(crate) use self::products::Sold;
pub use self::products::{Addon, Plan};
use crate::error::{Error, ErrorKind, PlanDenial, Result};

/// How much of something a plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a limit is a number or none, for good")]
pub enum Limit {
    /// No limit. A gauge still counts.
    Unlimited,
    /// At most this number; `AtMost(0)` allows none.
    AtMost(u64),
}

impl Limit {
    /// Whether `total` is within the limit.
    pub const fn allows(self, total: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::AtMost(max) => total <= max,
        }
    }

    /// The number, or `None` for unlimited.
    pub const fn max(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::AtMost(max) => Some(max),
        }
    }
}

/// Serialises as a number, or as `null` for unlimited.
impl Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.max().serialize(serializer)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::AtMost(max) => max.fmt(f),
        }
    }
}

/// The value of one feature in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Feature {
    /// Whether the plan includes the feature.
    Flag(bool),
    /// How many things (seats, projects) may exist at a time.
    Gauge(Limit),
}

/// What one plan allows: the value of each feature. The catalog builds it once, and all requests share it.
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
    plan: String,
    catalog_version: u32,
    #[serde(serialize_with = "as_map")]
    features: Vec<(String, Feature)>,
    #[serde(skip)]
    upgrade_url: Option<Arc<str>>,
    #[serde(skip)]
    usage_in_trial: bool,
    #[serde(skip)]
    database_limits: DatabaseLimits,
}

fn as_map<S: serde::Serializer>(features: &[(String, Feature)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(features.iter().map(|(key, feature)| (key, feature)))
}

impl Entitlements {
    /// The key of the plan.
    pub fn plan(&self) -> &str {
        &self.plan
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

    /// Every feature with its value in the plan, sorted by key.
    pub fn features(&self) -> impl Iterator<Item = (&str, Feature)> {
        self.features.iter().map(|(key, feature)| (key.as_str(), *feature))
    }

    /// The value of a feature in the plan.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog does not declare it.
    pub fn feature(&self, key: &str) -> Result<Feature> {
        self.features
            .binary_search_by(|(known, _)| known.as_str().cmp(key))
            .map(|at| self.features[at].1)
            .map_err(|_| {
                Error::new(
                    ErrorKind::UnknownFeature,
                    format!(
                        "the catalog declares no feature `{key}`; add it under [features], or fix the key"
                    ),
                )
            })
    }

    /// Whether the plan includes the feature `key`, which must be a flag.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog does not declare it, or declares another kind.
    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.feature(key)? {
            Feature::Flag(on) => Ok(on),
            Feature::Gauge(_) => Err(wrong_kind(key, "a gauge, not a flag")),
        }
    }

    /// The plan's limit of the feature `key`, which must be a gauge.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog does not declare it, or declares another kind.
    pub fn limit(&self, key: &str) -> Result<Limit> {
        match self.feature(key)? {
            Feature::Gauge(limit) => Ok(limit),
            Feature::Flag(_) => Err(wrong_kind(key, "a flag, not a gauge")),
        }
    }

    /// Returns an error unless the plan includes the feature `key`, which must be a flag.
    ///
    /// # Errors
    /// [`ErrorKind::FeatureNotInPlan`] if the plan does not include the feature; the error's
    /// [`plan_denial`](Error::plan_denial) contains the upgrade URL. [`ErrorKind::UnknownFeature`] as
    /// [`flag`](Self::flag).
    pub fn require(&self, key: &str) -> Result<()> {
        if self.flag(key)? {
            return Ok(());
        }
        let denial = self.denial(key, None, None);
        Err(Error::denied(
            ErrorKind::FeatureNotInPlan,
            format!("the plan `{}` does not include `{key}`", self.plan),
            denial,
        ))
    }

    /// The error for a gauge that has reached its limit.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "gauges need SQL")
    )]
    pub(crate) fn limit_reached(&self, key: &str, limit: Limit, used: u64) -> Error {
        Error::denied(
            ErrorKind::LimitReached,
            format!("the plan `{}` allows {limit} `{key}`, and {used} are in use", self.plan),
            self.denial(key, limit.max(), Some(used)),
        )
    }

    fn denial(&self, key: &str, limit: Option<u64>, used: Option<u64>) -> PlanDenial {
        PlanDenial {
            feature: key.to_owned(),
            plan: self.plan.clone(),
            limit,
            used,
            upgrade_url: self.upgrade_url.as_deref().map(str::to_owned),
        }
    }
}

fn wrong_kind(key: &str, kinds: &str) -> Error {
    Error::new(ErrorKind::UnknownFeature, format!("the catalog declares `{key}` as {kinds}"))
}
