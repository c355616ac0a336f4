use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::{Entitlements, Feature, Limit};
use crate::error::{Error, ErrorKind, Result};

/// The plans you sell, and what each allows. Read once, at start-up.
#[derive(Debug, Clone)]
pub struct Catalog {
    version: u32,
    plans: BTreeMap<String, Plan>,
    fallback: Option<String>,
}

/// One plan of the [`Catalog`].
#[derive(Debug, Clone)]
pub struct Plan {
    key: String,
    title: String,
    prices: Vec<String>,
    entitlements: Arc<Entitlements>,
}

impl Plan {
    /// The plan's key, as a [`Tenant`](crate::tenant::Tenant) holds it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The plan's name for people; the key where the catalog gives none.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The billing system's ids and lookup keys of the prices that buy this plan.
    pub fn prices(&self) -> &[String] {
        &self.prices
    }

    /// What the plan allows.
    pub fn entitlements(&self) -> &Arc<Entitlements> {
        &self.entitlements
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    upgrade_url: Option<String>,
    fallback: Option<String>,
    features: BTreeMap<String, Declared>,
    plans: BTreeMap<String, Offered>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Declared {
    Flag {},
    Gauge {
        #[serde(rename = "unit")]
        _unit: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Offered {
    title: Option<String>,
    #[serde(default)]
    prices: Vec<String>,
    features: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a feature is `true`, `false`, a whole number from 0, or \"unlimited\"")]
enum Value {
    Flag(bool),
    AtMost(u64),
    Word(Word),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Unlimited,
}

impl Catalog {
    /// Reads a catalog.
    ///
    /// | key | means |
    /// |---|---|
    /// | `version` | yours to count up; shown in audit events and entitlements |
    /// | `upgrade_url` | where a person can change the plan (optional) |
    /// | `fallback` | the plan of a tenant whose last subscription ended; without it such a tenant is deactivated |
    /// | `[features]` | each feature with its kind: `{ kind = "flag" }` or `{ kind = "gauge", unit = "seats" }` |
    /// | `[plans.KEY]` | `title`, `prices` (ids or lookup keys), and `features`: a value for **every** feature |
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], naming the plan and the feature that is missing, unknown or of the wrong
    /// kind, or the price that two plans claim.
    pub fn from_toml(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|e| {
            misconfigured(format!(
                "the catalog does not read: {}",
                e.to_string().trim_end().replace('\n', " | ")
            ))
        })?;
        if file.plans.is_empty() {
            return Err(misconfigured("the catalog has no plan; add a table [plans.free]".to_owned()));
        }
        let upgrade_url: Option<Arc<str>> = file.upgrade_url.map(Into::into);
        let mut sold = BTreeMap::new();
        let mut plans = BTreeMap::new();
        for (key, offered) in file.plans {
            for price in &offered.prices {
                if let Some(other) = sold.insert(price.clone(), key.clone()) {
                    return Err(misconfigured(format!(
                        "the price `{price}` buys both `{other}` and `{key}`; a price buys one plan"
                    )));
                }
            }
            let features = compile(&key, &file.features, offered.features)?;
            let entitlements = Arc::new(Entitlements {
                plan: key.clone(),
                catalog_version: file.version,
                features,
                upgrade_url: upgrade_url.clone(),
            });
            let title = offered.title.unwrap_or_else(|| key.clone());
            plans.insert(key.clone(), Plan { key, title, prices: offered.prices, entitlements });
        }
        if let Some(fallback) = &file.fallback
            && !plans.contains_key(fallback)
        {
            return Err(misconfigured(format!("the fallback plan `{fallback}` is not in the catalog")));
        }
        Ok(Self { version: file.version, plans, fallback: file.fallback })
    }

    /// The version that the file gives itself.
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

    /// The plan that a price buys, by the price's id or lookup key.
    pub fn plan_for_price(&self, price: &str) -> Option<&Plan> {
        self.plans.values().find(|plan| plan.prices.iter().any(|known| known == price))
    }

    /// The plan that a tenant falls to when its last subscription has ended.
    pub fn fallback(&self) -> Option<&Plan> {
        self.fallback.as_deref().and_then(|key| self.plans.get(key))
    }
}

/// A plan's features in the order of their keys, each checked against its declaration.
fn compile(
    plan: &str,
    declared: &BTreeMap<String, Declared>,
    mut offered: BTreeMap<String, Value>,
) -> Result<Vec<(String, Feature)>> {
    let mut features = Vec::with_capacity(declared.len());
    for (key, kind) in declared {
        let feature = match (kind, offered.remove(key)) {
            (Declared::Flag {}, Some(Value::Flag(on))) => Feature::Flag(on),
            (Declared::Gauge { .. }, Some(Value::AtMost(most))) => {
                if most > MOST {
                    return Err(misconfigured(format!(
                        "the plan `{plan}` gives `{key}` the value {most}; write \"unlimited\" instead"
                    )));
                }
                Feature::Gauge(Limit::AtMost(most))
            }
            (Declared::Gauge { .. }, Some(Value::Word(Word::Unlimited))) => Feature::Gauge(Limit::Unlimited),
            (Declared::Flag {}, Some(_)) => {
                return Err(misconfigured(format!(
                    "`{key}` is a flag: the plan `{plan}` must give it true or false"
                )));
            }
            (Declared::Gauge { .. }, Some(_)) => {
                return Err(misconfigured(format!(
                    "`{key}` is a gauge: the plan `{plan}` must give it a whole number or \"unlimited\""
                )));
            }
            (_, None) => {
                return Err(misconfigured(format!(
                    "the plan `{plan}` says nothing about `{key}`; a plan gives every feature a value"
                )));
            }
        };
        features.push((key.clone(), feature));
    }
    if let Some(key) = offered.keys().next() {
        return Err(misconfigured(format!(
            "the plan `{plan}` names `{key}`, which [features] does not declare; declare it, or mend the key"
        )));
    }
    Ok(features)
}

/// The largest number that every database and every JSON reader keeps exactly: 2^53 − 1.
const MOST: u64 = (1 << 53) - 1;

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
    fn a_catalog_says_what_each_plan_allows() {
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
    fn what_the_catalog_does_not_know_is_an_error() {
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
    fn a_faulty_catalog_is_refused_with_its_fault() {
        for (from, to, says) in [
            (
                "features = { projects = 3, export = false }",
                "features = { projects = 3 }",
                "`free` says nothing about `export`",
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
            ("\"price_1\", \"pro_monthly\"", "\"price_1\", \"price_1\"", "buys both"),
            ("fallback = \"free\"", "fallback = \"gold\"", "`gold` is not in the catalog"),
            ("kind = \"flag\"", "kind = \"flagg\"", "flagg"),
            ("version = 7", "", "version"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let error = Catalog::from_toml(&text).expect_err(to);
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(error.to_string().contains(says), "{to}: {error}");
        }
    }
}
