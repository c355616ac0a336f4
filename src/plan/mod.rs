//! What a tenant may do: the [`Catalog`] of plans, read from TOML, and the [`Entitlements`] a plan compiles to.
//!
//! Every feature is declared once, with its kind, and every plan says something about every feature: there is
//! no default and no sentinel for "unlimited". A key that the catalog does not know is an error, never a "yes".
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

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

pub use self::catalog::{Catalog, Plan};
use crate::error::{Error, ErrorKind, PlanDenial, Result};

/// How much of something a plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is no third answer to `how much?`")]
pub enum Limit {
    /// As much as one likes. It is counted all the same.
    Unlimited,
    /// At most this much; `AtMost(0)` is none.
    AtMost(u64),
}

impl Limit {
    /// Whether `total` is within the limit.
    pub const fn allows(self, total: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::AtMost(most) => total <= most,
        }
    }

    /// The number, or `None` for unlimited.
    pub const fn max(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::AtMost(most) => Some(most),
        }
    }
}

/// A number, or `null` for unlimited.
impl Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.max().serialize(serializer)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::AtMost(most) => most.fmt(f),
        }
    }
}

/// What a plan says of one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Feature {
    /// The plan has it, or not.
    Flag(bool),
    /// A count of things that exist now (seats, projects) stays within the limit.
    Gauge(Limit),
}

/// What one plan allows, compiled once and shared by every request.
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
}

fn as_map<S: serde::Serializer>(features: &[(String, Feature)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(features.iter().map(|(key, feature)| (key, feature)))
}

impl Entitlements {
    /// The key of the plan these come from.
    pub fn plan(&self) -> &str {
        &self.plan
    }

    /// The version of the catalog these come from.
    pub fn catalog_version(&self) -> u32 {
        self.catalog_version
    }

    /// Where a person can change the plan, when the catalog says so.
    pub fn upgrade_url(&self) -> Option<&str> {
        self.upgrade_url.as_deref()
    }

    /// Every feature with what the plan says of it, sorted by key.
    pub fn features(&self) -> impl Iterator<Item = (&str, Feature)> {
        self.features.iter().map(|(key, feature)| (key.as_str(), *feature))
    }

    /// What the plan says of a feature.
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
                        "the catalog declares no feature `{key}`; add it under [features], or mend the key"
                    ),
                )
            })
    }

    /// Whether the plan has a flag.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog does not declare it, or declares another kind.
    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.feature(key)? {
            Feature::Flag(on) => Ok(on),
            Feature::Gauge(_) => Err(wrong_kind(key, "a gauge, not a flag")),
        }
    }

    /// The limit of a gauge.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog does not declare it, or declares another kind.
    pub fn limit(&self, key: &str) -> Result<Limit> {
        match self.feature(key)? {
            Feature::Gauge(limit) => Ok(limit),
            Feature::Flag(_) => Err(wrong_kind(key, "a flag, not a gauge")),
        }
    }

    /// Passes if the plan has the flag.
    ///
    /// # Errors
    /// [`ErrorKind::FeatureNotInPlan`] if it does not; its [`plan_denial`](Error::plan_denial) says where to
    /// upgrade. [`ErrorKind::UnknownFeature`] as [`flag`](Self::flag).
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

    /// The error for a gauge that is full.
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

fn wrong_kind(key: &str, what: &str) -> Error {
    Error::new(ErrorKind::UnknownFeature, format!("the catalog declares `{key}` as {what}"))
}
