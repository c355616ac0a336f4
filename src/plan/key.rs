//! The typed keys of features: [`Flag`] and [`Config`]. Those of what is counted are in the module `quota`.

use super::entitlements::{Entitlements, wrong_kind};
use super::feature::{ConfigValue, Feature, FeatureKind};
use super::feature_id::FeatureId;
use crate::error::Result;

/// A typed key of a feature, which [`Catalog::require`](super::Catalog::require) checks at start.
///
/// The keys are [`Flag`], [`Config`], and `Gauge`, `Quota`, `Rate` and `Concurrency` of the module `quota`.
pub trait CatalogKey: sealed::Sealed {
    /// The feature's key in the catalog.
    fn feature(&self) -> &'static str;

    /// The kind that the catalog must declare for it.
    fn kind(&self) -> FeatureKind;
}

pub(crate) mod sealed {
    #[expect(unnameable_types, reason = "seals the trait")]
    pub trait Sealed {}
}

macro_rules! catalog_key {
    ($key:ty, $kind:ident) => {
        impl $crate::plan::sealed::Sealed for $key {}

        impl $crate::plan::CatalogKey for $key {
            fn feature(&self) -> &'static str {
                self.id.name
            }

            fn kind(&self) -> $crate::plan::FeatureKind {
                $crate::plan::FeatureKind::$kind
            }
        }
    };
}
#[cfg(any(feature = "quota", feature = "sqlite", feature = "postgres"))]
pub(crate) use catalog_key;

/// A flag of the catalog, as a constant.
///
/// ```
/// use tenancy::plan::{Catalog, Flag};
///
/// const EXPORT: Flag = Flag::new("export");
///
/// let catalog = Catalog::from_toml(r#"
///     version = 1
///     [features]
///     export = { kind = "flag" }
///     [plans.free]
///     features = { export = false }
/// "#)?.require(&[&EXPORT])?; // a key that the catalog lacks is an error here, at start
/// let free = catalog.entitlements("free")?;
/// assert!(!EXPORT.is_on(&free)?);
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flag {
    id: FeatureId,
}

catalog_key!(Flag, Flag);

impl Flag {
    /// Creates the key of a feature that the catalog declares as `{ kind = "flag" }`.
    pub const fn new(feature: &'static str) -> Self {
        Self { id: FeatureId::new(feature) }
    }

    /// Whether the tenant has the feature. It takes about 5 ns.
    ///
    /// # Errors
    /// [`UnknownFeature`](crate::ErrorKind::UnknownFeature) if the catalog does not declare it as a flag.
    #[inline]
    pub fn is_on(&self, entitlements: &Entitlements) -> Result<bool> {
        match entitlements.get(&self.id) {
            Some(Feature::Flag(on)) => Ok(*on),
            found => Err(wrong_kind(self.id.name, FeatureKind::Flag, found)),
        }
    }

    /// Returns an error unless the tenant has the feature.
    ///
    /// # Errors
    /// [`FeatureNotInPlan`](crate::ErrorKind::FeatureNotInPlan); otherwise as [`is_on`](Self::is_on).
    pub fn require(&self, entitlements: &Entitlements) -> Result<()> {
        if self.is_on(entitlements)? { Ok(()) } else { Err(entitlements.not_included(self.id.name)) }
    }
}

/// A config value of the catalog, as a constant.
///
/// ```
/// use tenancy::plan::{Catalog, Config};
///
/// const RETENTION_DAYS: Config = Config::new("retention_days");
///
/// let catalog = Catalog::from_toml(r#"
///     version = 1
///     [features]
///     retention_days = { kind = "config" }
///     [plans.free]
///     features = { retention_days = 30 }
/// "#)?.require(&[&RETENTION_DAYS])?;
/// let free = catalog.entitlements("free")?;
/// assert_eq!(RETENTION_DAYS.integer(&free)?, 30);
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Config {
    id: FeatureId,
}

catalog_key!(Config, Config);

impl Config {
    /// Creates the key of a feature that the catalog declares as `{ kind = "config" }`.
    pub const fn new(feature: &'static str) -> Self {
        Self { id: FeatureId::new(feature) }
    }

    /// The value.
    ///
    /// # Errors
    /// [`UnknownFeature`](crate::ErrorKind::UnknownFeature) if the catalog does not declare it as a config value.
    pub fn value<'a>(&self, entitlements: &'a Entitlements) -> Result<&'a ConfigValue> {
        match entitlements.get(&self.id) {
            Some(Feature::Config(value)) => Ok(value),
            found => Err(wrong_kind(self.id.name, FeatureKind::Config, found)),
        }
    }

    /// The value, which must be a whole number.
    ///
    /// # Errors
    /// [`UnknownFeature`](crate::ErrorKind::UnknownFeature) if the catalog has no such number.
    pub fn integer(&self, entitlements: &Entitlements) -> Result<i64> {
        match self.value(entitlements)? {
            ConfigValue::Integer(value) => Ok(*value),
            ConfigValue::Text(_) => Err(other_type(self.id.name, "a text, not a whole number")),
        }
    }

    /// The value, which must be a text.
    ///
    /// # Errors
    /// [`UnknownFeature`](crate::ErrorKind::UnknownFeature) if the catalog has no such text.
    pub fn text<'a>(&self, entitlements: &'a Entitlements) -> Result<&'a str> {
        match self.value(entitlements)? {
            ConfigValue::Text(value) => Ok(value),
            ConfigValue::Integer(_) => Err(other_type(self.id.name, "a whole number, not a text")),
        }
    }
}

fn other_type(key: &str, types: &str) -> crate::error::Error {
    crate::error::Error::new(
        crate::error::ErrorKind::UnknownFeature,
        format!("the value of `{key}` is {types}; fix the catalog, or read the other type"),
    )
}
