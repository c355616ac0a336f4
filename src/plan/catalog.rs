//! [`Catalog`]: the parser and the checks of the TOML file of plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::database_limits::DatabaseEntry;
#[cfg(feature = "stripe")]
use super::products::Sold;
use super::products::{Addon, AddonEntry, Plan, SoldOnce};
use super::{Entitlements, Feature, Limit};
use crate::error::{Error, ErrorKind, Result};

/// The plans you sell and what each plan allows. Read it once, at start-up.
#[derive(Debug, Clone)]
pub struct Catalog {
    version: u32,
    plans: BTreeMap<String, Plan>,
    addons: BTreeMap<String, Addon>,
    fallback: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogFile {
    version: u32,
    upgrade_url: Option<String>,
    fallback: Option<String>,
    #[serde(default)]
    features: BTreeMap<String, FeatureKind>,
    plans: BTreeMap<String, PlanEntry>,
    #[serde(default)]
    addons: BTreeMap<String, AddonEntry>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum FeatureKind {
    Flag {},
    Gauge {
        #[serde(rename = "unit")]
        _unit: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanEntry {
    title: Option<String>,
    #[serde(default)]
    prices: Vec<String>,
    #[serde(default)]
    seat_prices: Vec<String>,
    #[serde(default = "yes")]
    usage_in_trial: bool,
    #[serde(default)]
    features: BTreeMap<String, Value>,
    #[serde(default)]
    database: DatabaseEntry,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a feature is `true`, `false`, a whole number from 0, or \"unlimited\"")]
enum Value {
    Flag(bool),
    AtMost(u64),
    Keyword(Keyword),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Keyword {
    Unlimited,
}

impl Catalog {
    /// Parses a catalog and checks that each plan has a valid value for each feature.
    ///
    /// | key | meaning |
    /// |---|---|
    /// | `version` | a number that you increase; part of the entitlements |
    /// | `upgrade_url` | where a person can change the plan (optional) |
    /// | `fallback` | the plan of a tenant whose last subscription ended; without it such a tenant is deactivated |
    /// | `[features]` | each feature with its kind: `{ kind = "flag" }` or `{ kind = "gauge", unit = "seats" }` |
    /// | `[plans.KEY]` | `title`, `prices` (ids or lookup keys of prices, or ids of products), `seat_prices` (likewise), `usage_in_trial` (`false`: what is used during a trial is not billed), and `features`: a value for **every** feature |
    /// | `[plans.KEY.database]` | limits of the plan in the database (optional): see [`DatabaseLimits`](super::DatabaseLimits) |
    /// | `[addons.KEY]` | `title` and `prices` of something that is bought beside a plan (optional) |
    ///
    /// An application that sells no plans needs one without features:
    ///
    /// ```
    /// # use tenancy::plan::Catalog;
    /// let catalog = Catalog::from_toml("version = 1\n[plans.free]")?;
    /// # assert_eq!(catalog.entitlements("free")?.plan(), "free");
    /// # Ok::<(), tenancy::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], with the plan and the feature that is missing, unknown or of the wrong kind, or
    /// with the price that buys two things: two plans, a plan and its seats, an add-on and a plan.
    pub fn from_toml(text: &str) -> Result<Self> {
        let file: CatalogFile = toml::from_str(text).map_err(|e| {
            misconfigured(format!(
                "the catalog is not valid: {}",
                e.to_string().trim_end().replace('\n', " | ")
            ))
        })?;
        if file.plans.is_empty() {
            return Err(misconfigured("the catalog has no plan; add a table [plans.free]".to_owned()));
        }
        let upgrade_url: Option<Arc<str>> = file.upgrade_url.map(Into::into);
        let mut sold = SoldOnce::default();
        let mut plans = BTreeMap::new();
        for (key, entry) in file.plans {
            sold.add(&entry.prices, &format!("`{key}`"))?;
            sold.add(&entry.seat_prices, &format!("seats of `{key}`"))?;
            let features = compile(&key, &file.features, entry.features)?;
            let entitlements = Arc::new(Entitlements {
                plan: key.clone(),
                catalog_version: file.version,
                features,
                upgrade_url: upgrade_url.clone(),
                usage_in_trial: entry.usage_in_trial,
                database_limits: entry.database.limits(&key)?,
            });
            let title = entry.title.unwrap_or_else(|| key.clone());
            plans.insert(
                key.clone(),
                Plan { key, title, prices: entry.prices, seat_prices: entry.seat_prices, entitlements },
            );
        }
        let mut addons = BTreeMap::new();
        for (key, entry) in file.addons {
            sold.add(&entry.prices, &format!("the add-on `{key}`"))?;
            addons.insert(key.clone(), entry.into_addon(key));
        }
        if let Some(fallback) = &file.fallback
            && !plans.contains_key(fallback)
        {
            return Err(misconfigured(format!("the fallback plan `{fallback}` is not in the catalog")));
        }
        Ok(Self { version: file.version, plans, addons, fallback: file.fallback })
    }

    /// The `version` of the file.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Every plan, sorted by key.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.values()
    }

    /// The plan with this key.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownPlan`] if there is none.
    pub fn plan(&self, key: &str) -> Result<&Plan> {
        self.plans.get(key).ok_or_else(|| {
            Error::new(
                ErrorKind::UnknownPlan,
                format!(
                    "the catalog has no plan `{key}`; add [plans.{key}], or move its tenants to another plan"
                ),
            )
        })
    }

    /// What the plan with this key allows.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn entitlements(&self, plan: &str) -> Result<Arc<Entitlements>> {
        Ok(self.plan(plan)?.entitlements.clone())
    }

    /// Every add-on, sorted by key.
    pub fn addons(&self) -> impl Iterator<Item = &Addon> {
        self.addons.values()
    }

    /// The add-on with this key; `None` if the catalog has none.
    pub fn addon(&self, key: &str) -> Option<&Addon> {
        self.addons.get(key)
    }

    /// What a price buys, by its id, its lookup key or the id of its product.
    #[cfg(feature = "stripe")]
    pub(crate) fn sold_by(&self, price: &str) -> Option<Sold<'_>> {
        let is_in = |prices: &[String]| prices.iter().any(|known| known == price);
        let seats = || self.plans.values().find(|plan| is_in(&plan.seat_prices));
        let addon = || self.addons.values().find(|addon| is_in(addon.prices()));
        let plan = self.plan_for_price(price).map(Sold::Plan);
        plan.or_else(|| seats().map(Sold::Seats)).or_else(|| addon().map(Sold::Addon))
    }

    /// The plan of a price, by its id, its lookup key or the id of its product.
    pub fn plan_for_price(&self, price: &str) -> Option<&Plan> {
        self.plans.values().find(|plan| plan.prices.iter().any(|known| known == price))
    }

    /// The plan that a tenant gets when its last subscription has ended.
    pub fn fallback(&self) -> Option<&Plan> {
        self.fallback.as_deref().and_then(|key| self.plans.get(key))
    }
}

/// The features of a plan, sorted by key, each checked against its declaration.
fn compile(
    plan: &str,
    declared: &BTreeMap<String, FeatureKind>,
    mut values: BTreeMap<String, Value>,
) -> Result<Vec<(String, Feature)>> {
    let mut features = Vec::with_capacity(declared.len());
    for (key, kind) in declared {
        let feature = match (kind, values.remove(key)) {
            (FeatureKind::Flag {}, Some(Value::Flag(on))) => Feature::Flag(on),
            (FeatureKind::Gauge { .. }, Some(Value::AtMost(max))) => {
                if max > MAX_LIMIT {
                    return Err(misconfigured(format!(
                        "the plan `{plan}` gives `{key}` the value {max}; write \"unlimited\" instead"
                    )));
                }
                Feature::Gauge(Limit::AtMost(max))
            }
            (FeatureKind::Gauge { .. }, Some(Value::Keyword(Keyword::Unlimited))) => {
                Feature::Gauge(Limit::Unlimited)
            }
            (FeatureKind::Flag {}, Some(_)) => {
                return Err(misconfigured(format!(
                    "`{key}` is a flag: the plan `{plan}` must give it true or false"
                )));
            }
            (FeatureKind::Gauge { .. }, Some(_)) => {
                return Err(misconfigured(format!(
                    "`{key}` is a gauge: the plan `{plan}` must give it a whole number or \"unlimited\""
                )));
            }
            (_, None) => {
                return Err(misconfigured(format!(
                    "the plan `{plan}` has no value for `{key}`; give every plan a value for every feature"
                )));
            }
        };
        features.push((key.clone(), feature));
    }
    if let Some(key) = values.keys().next() {
        return Err(misconfigured(format!(
            "the plan `{plan}` names `{key}`, which [features] does not declare; declare it, or fix the key"
        )));
    }
    Ok(features)
}

/// 2^53 − 1: the largest integer that every database and every JSON parser represents exactly.
const MAX_LIMIT: u64 = (1 << 53) - 1;

fn misconfigured(text: String) -> Error {
    Error::new(ErrorKind::Misconfigured, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        version = 7
        fallback = "free"
        upgrade_url = "/upgrade"
        [features]
        projects = { kind = "gauge", unit = "projects" }
        export = { kind = "flag" }
        [plans.free]
        features = { projects = 3, export = false }
        [plans.pro]
        title = "Pro"
        prices = ["price_1", "pro_monthly"]
        features = { projects = 50, export = true }
        [plans.enterprise]
        features = { projects = "unlimited", export = true }
    "#;

    #[test]
    fn a_catalog_has_the_limits_of_each_plan() {
        let catalog = Catalog::from_toml(GOOD).unwrap();
        assert_eq!(catalog.plans().map(Plan::key).collect::<Vec<_>>(), ["enterprise", "free", "pro"]);
        assert_eq!(catalog.entitlements("enterprise").unwrap().limit("projects").unwrap(), Limit::Unlimited);
        assert_eq!(catalog.plan_for_price("pro_monthly").unwrap().title(), "Pro");
        assert!(catalog.plan_for_price("price_2").is_none());
        assert_eq!(catalog.fallback().unwrap().key(), "free");
        let denied = catalog.entitlements("free").unwrap().require("export").unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::FeatureNotInPlan);
        assert_eq!(denied.plan_denial().unwrap().upgrade_url.as_deref(), Some("/upgrade"));
    }

    #[test]
    fn a_catalog_without_features_needs_no_empty_tables() {
        let catalog = Catalog::from_toml("version = 1\n[plans.free]").unwrap();
        let free = catalog.entitlements("free").unwrap();
        assert_eq!(free.flag("export").unwrap_err().kind(), ErrorKind::UnknownFeature);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let catalog = Catalog::from_toml(GOOD).unwrap();
        let free = catalog.entitlements("free").unwrap();
        assert_eq!(catalog.plan("gold").unwrap_err().kind(), ErrorKind::UnknownPlan);
        for error in [
            free.flag("exports").unwrap_err(),
            free.require("exports").unwrap_err(),
            free.limit("export").unwrap_err(),
            free.flag("projects").unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::UnknownFeature);
        }
    }

    #[test]
    fn an_invalid_catalog_is_rejected_with_the_reason() {
        for (from, to, reason) in [
            (
                "features = { projects = 3, export = false }",
                "features = { projects = 3 }",
                "`free` has no value for `export`",
            ),
            (
                "features = { projects = 3, export",
                "features = { seats = 1, projects = 3, export",
                "names `seats`",
            ),
            ("projects = 3", "projects = -1", "a whole number from 0"),
            ("projects = 3", "projects = true", "is a gauge"),
            ("projects = 3", "projects = \"many\"", "a whole number from 0"),
            ("projects = 3", "projects = 9007199254740992", "write \"unlimited\""),
            ("export = true", "export = 1", "is a flag"),
            ("\"price_1\", \"pro_monthly\"", "\"price_1\", \"price_1\"", "buys `pro` twice"),
            (
                "prices = [\"price_1\", \"pro_monthly\"]",
                "prices = [\"price_1\"]\n        seat_prices = [\"price_1\"]",
                "buys `pro` and seats of `pro`",
            ),
            (
                "[plans.enterprise]",
                "[addons.support]\n        prices = [\"price_1\"]\n        [plans.enterprise]",
                "buys `pro` and the add-on `support`",
            ),
            (
                "[plans.enterprise]",
                "[plans.enterprise]\n        seat_prices = [\"pro_monthly\"]",
                "buys seats of `enterprise` and `pro`",
            ),
            ("[plans.enterprise]", "[addons.support]\n        [plans.enterprise]", "prices"),
            ("fallback = \"free\"", "fallback = \"gold\"", "`gold` is not in the catalog"),
            ("kind = \"flag\"", "kind = \"flagg\"", "flagg"),
            ("features = { projects = 50, export = true }", "", "`pro` has no value for `export`"),
            (
                "[features]\n        projects = { kind = \"gauge\", unit = \"projects\" }\n        export = { kind = \"flag\" }",
                "",
                "which [features] does not declare",
            ),
            ("version = 7", "", "version"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let error = Catalog::from_toml(&text).expect_err(to);
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(error.to_string().contains(reason), "{to}: {error}");
        }
    }
}
