//! Plans and their limits: the [`Catalog`] of plans, read from TOML, and the [`Entitlements`] of each plan.
//!
//! The catalog declares each feature once, with its kind, and each plan has a value for each feature. There is no
//! default and no magic number for "unlimited". An unknown feature key is an error, never "allowed".
//!
//! | kind | value | read by |
//! |---|---|---|
//! | `flag` | included or not | [`Flag`] |
//! | `config` | a text or a number | [`Config`] |
//! | `gauge` | how many may exist | `Gauge` |
//! | `quota` | how much may be used in a [`Period`] | `Quota` |
//! | `rate` | how often something may happen | `Rate` |
//! | `concurrency` | how much may be in work | `Concurrency` |
//!
//! What counts is in the module [`quota`](crate#modules). What one tenant has beside its plan, such as add-ons and
//! dated overrides, are its [`PlanTerms`].
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

mod apply;
mod catalog;
mod checks;
mod compile;
mod database_limits;
mod entitlements;
mod feature;
mod feature_id;
mod file;
mod key;
mod limit;
mod locate;
mod memo;
mod period;
mod products;
mod rule;
mod terms;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_full;

pub use self::catalog::Catalog;
pub use self::database_limits::DatabaseLimits;
pub use self::entitlements::Entitlements;
#[cfg(any(feature = "quota", feature = "sqlite", feature = "postgres"))]
pub(crate) use self::entitlements::wrong_kind;
pub use self::feature::{ConfigValue, Feature, FeatureKind};
#[cfg(any(feature = "quota", feature = "sqlite", feature = "postgres"))]
pub(crate) use self::feature_id::FeatureId;
#[cfg(all(feature = "quota", any(feature = "actix-web", feature = "axum")))]
pub(crate) use self::feature_id::fnv1a;
#[cfg(any(feature = "quota", feature = "sqlite", feature = "postgres"))]
pub(crate) use self::key::catalog_key;
pub(crate) use self::key::sealed;
pub use self::key::{CatalogKey, Config, Flag};
pub use self::limit::Limit;
#[cfg(any(feature = "quota", feature = "sqlite", feature = "postgres"))]
pub(crate) use self::limit::MAX_NUMBER;
pub use self::period::{Period, PeriodWindow};
#[cfg(feature = "stripe")]
pub(crate) use self::products::Sold;
pub use self::products::{Addon, Plan};
#[cfg(feature = "quota")]
pub(crate) use self::rule::Failure;
pub use self::rule::{ConcurrencyRule, CountPer, FailurePolicy, Overage, RateRule, Rule};
pub use self::terms::{FeatureValue, NewOverride, Override, OverrideChange, PlanTerms};
