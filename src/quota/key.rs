//! The typed keys of what is counted beside gauges: [`Quota`], [`Rate`] and [`Concurrency`].

use crate::error::Result;
use crate::plan::{
    ConcurrencyRule, Entitlements, Feature, FeatureId, FeatureKind, RateRule, Rule, catalog_key, wrong_kind,
};

/// A quota of the catalog, as a constant: how much a tenant may use in a period.
///
/// ```
/// use tenancy::quota::Quota;
///
/// const API_CALLS: Quota = Quota::new("api_calls");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    pub(super) id: FeatureId,
}

/// A rate of the catalog, as a constant: how often something may happen.
///
/// ```
/// use tenancy::quota::Rate;
///
/// const REQUESTS: Rate = Rate::new("requests");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    pub(super) id: FeatureId,
}

/// A concurrency limit of the catalog, as a constant: how much may be in work at a time.
///
/// ```
/// use tenancy::quota::Concurrency;
///
/// const EXPORTS: Concurrency = Concurrency::new("exports");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Concurrency {
    pub(super) id: FeatureId,
}

catalog_key!(Quota, Quota);
catalog_key!(Rate, Rate);
catalog_key!(Concurrency, Concurrency);

macro_rules! methods {
    ($key:ident, $rule:ty, $text:literal) => {
        impl $key {
            #[doc = concat!("Creates the key of a feature that the catalog declares as `{ kind = \"", $text, "\" }`.")]
            pub const fn new(feature: &'static str) -> Self {
                Self { id: FeatureId::new(feature) }
            }

            /// The feature's key.
            pub const fn feature(&self) -> &'static str {
                self.id.name
            }

            /// What the tenant may use.
            ///
            /// # Errors
            /// [`UnknownFeature`](crate::ErrorKind::UnknownFeature) if the catalog declares no such feature.
            pub fn rule<'a>(&self, entitlements: &'a Entitlements) -> Result<&'a $rule> {
                match entitlements.get(&self.id) {
                    Some(Feature::$key(rule)) => Ok(rule),
                    found => Err(wrong_kind(self.id.name, FeatureKind::$key, found)),
                }
            }
        }
    };
}

methods!(Quota, Rule, "quota");
methods!(Rate, RateRule, "rate");
methods!(Concurrency, ConcurrencyRule, "concurrency");
