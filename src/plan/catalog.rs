//! [`Catalog`]: the plans of an application, read from TOML or JSON and checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::apply::{add_to, apply, grant};
use super::checks::{check_grants, check_order, inherit};
use super::compile::{Compiled, check_declarations, compile};
use super::entitlements::{Entitlements, KeyTable, Values};
use super::feature::Feature;
use super::file::{CatalogFile, Declaration, PlanEntry, Value};
use super::key::CatalogKey;
use super::locate::{Fault, Format};
#[cfg(feature = "stripe")]
use super::products::Sold;
use super::products::{Addon, Plan, PlanVersion, SoldOnce};
use super::terms::{NewOverride, OverrideChange, PlanTerms};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// The plans you sell and what each plan allows. Read it once, at start-up.
#[derive(Debug, Clone)]
pub struct Catalog {
    version: u32,
    declared: BTreeMap<String, Declaration>,
    keys: Arc<KeyTable>,
    /// The plans from the lowest to the highest.
    order: Arc<[String]>,
    plans: BTreeMap<String, Plan>,
    addons: BTreeMap<String, Addon>,
    fallback: Option<String>,
}

impl Catalog {
    /// Parses a catalog from TOML and checks that each plan has a valid value for each feature.
    ///
    /// The [guide](https://github.com/tenancy-rs/tenancy/blob/main/docs/reference/catalog.md) has every key. An
    /// application that sells no plans needs one without features:
    ///
    /// ```
    /// # use tenancy::plan::Catalog;
    /// let catalog = Catalog::from_toml("version = 1\n[plans.free]")?;
    /// # assert_eq!(catalog.entitlements("free")?.plan(), "free");
    /// # Ok::<(), tenancy::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], with the line, the plan and the feature that is missing, unknown or of the wrong
    /// kind, or with the price that buys two things: two plans, a plan and its seats, an add-on and a plan.
    pub fn from_toml(text: &str) -> Result<Self> {
        Self::parse(text, Format::Toml)
    }

    /// Parses a catalog from JSON; otherwise as [`from_toml`](Self::from_toml).
    ///
    /// ```
    /// # use tenancy::plan::Catalog;
    /// let catalog = Catalog::from_json(r#"{ "version": 1, "plans": { "free": {} } }"#)?;
    /// # assert_eq!(catalog.entitlements("free")?.plan(), "free");
    /// # Ok::<(), tenancy::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml).
    pub fn from_json(text: &str) -> Result<Self> {
        Self::parse(text, Format::Json)
    }

    fn parse(text: &str, format: Format) -> Result<Self> {
        let file = format
            .parse(text)
            .map_err(|fault| misconfigured(format!("the catalog is not valid: {fault}")))?;
        Self::check(file).map_err(|fault| {
            let line = format.line_of(text, &fault.path).map(|line| format!("line {line}: "));
            misconfigured(format!("{}{}", line.unwrap_or_default(), fault.text))
        })
    }

    fn check(mut file: CatalogFile) -> Result<Self, Fault> {
        if file.plans.is_empty() {
            return Err(Fault::new(&["plans"], "the catalog has no plan; add a table [plans.free]"));
        }
        check_declarations(&file.features)?;
        inherit(&mut file.plans)?;
        check_order(&file)?;
        let keys = Arc::new(KeyTable::new(file.features.keys().cloned().collect()));
        let order: Arc<[String]> = file.order.into();
        let common = Common {
            catalog_version: file.version,
            order: order.clone(),
            upgrade_url: file.upgrade_url.map(Into::into),
        };
        let mut sold = SoldOnce::default();
        let mut plans = BTreeMap::new();
        for (key, entry) in file.plans {
            let at = |text| Fault::new(&["plans", &key], text);
            sold.add(&entry.prices, &format!("`{key}`")).map_err(at)?;
            sold.add(&entry.seat_prices, &format!("seats of `{key}`")).map_err(at)?;
            let versions = versions(&key, &entry, &file.features, &keys, &common)?;
            plans.insert(key.clone(), Plan::new(key, entry, versions));
        }
        let mut addons = BTreeMap::new();
        for (key, entry) in file.addons {
            sold.add(&entry.prices, &format!("the add-on `{key}`"))
                .map_err(|text| Fault::new(&["addons", &key], text))?;
            check_grants(&key, &entry.grants, &file.features)?;
            addons.insert(key.clone(), Addon::new(key, entry));
        }
        if let Some(fallback) = file.fallback.as_ref().filter(|key| !plans.contains_key(*key)) {
            let text = format!("the fallback plan `{fallback}` is not in the catalog");
            return Err(Fault::new(&["fallback"], text));
        }
        let (version, declared, fallback) = (file.version, file.features, file.fallback);
        Ok(Self { version, declared, keys, order, plans, addons, fallback })
    }

    /// Checks that the catalog declares each of these keys with its kind. Call it at start with all keys of the
    /// program: a typo then stops the program, not a request.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], with every key that is missing or has another kind.
    pub fn require(self, keys: &[&dyn CatalogKey]) -> Result<Self> {
        let wrong = |key: &&dyn CatalogKey| match self.declared.get(key.feature()) {
            None => Some(format!("no feature `{}` ({})", key.feature(), key.kind())),
            Some(found) if found.kind != key.kind() => {
                Some(format!("`{}` as {}, not as {}", key.feature(), found.kind, key.kind()))
            }
            Some(_) => None,
        };
        let wrong: Vec<_> = keys.iter().filter_map(wrong).collect();
        if wrong.is_empty() {
            return Ok(self);
        }
        Err(misconfigured(format!(
            "the catalog declares {}; fix the key in the program, or the catalog",
            wrong.join(", and ")
        )))
    }

    /// Checks that the `order` of the catalog has each of these plans. Call it at start with all plans that the program
    /// requires ([`Entitlements::require_plan`]): a typo then stops the program, not a request.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], with every plan that is missing.
    pub fn require_plans(self, plans: &[&str]) -> Result<Self> {
        let lacks = |plan: &&&str| !self.order.iter().any(|known| known == **plan);
        let missing: Vec<_> = plans.iter().filter(lacks).map(|plan| format!("`{plan}`")).collect();
        if missing.is_empty() {
            return Ok(self);
        }
        Err(misconfigured(format!(
            "the `order` of the catalog lacks {}; fix the key in the program, or the catalog",
            missing.join(" and ")
        )))
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

    /// What the current version of the plan with this key allows.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn entitlements(&self, plan: &str) -> Result<Arc<Entitlements>> {
        Ok(self.plan(plan)?.entitlements().clone())
    }

    /// What a tenant with this plan and these terms may use at this time.
    ///
    /// From the strongest to the weakest: a feature that the catalog declares `disabled`, an override that denies, one
    /// that sets, and the plan's version with its seats, the add-ons and the overrides that add.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownPlan`] if the catalog lacks the plan, or the version to which the tenant is pinned.
    /// [`ErrorKind::Misconfigured`] if it lacks an add-on, or if an active override does not fit the declaration of its
    /// feature.
    pub fn entitlements_for(
        &self,
        plan: &str,
        terms: &PlanTerms,
        now: Timestamp,
    ) -> Result<Arc<Entitlements>> {
        let plan = self.plan(plan)?;
        if terms.is_empty() {
            return Ok(plan.entitlements().clone());
        }
        if let Some(known) = terms.compiled.get(&self.keys, plan.key(), now) {
            return Ok(known);
        }
        let own = Arc::new(self.compile_for(plan, terms, now)?);
        terms.compiled.set(&own, now, terms.changes());
        Ok(own)
    }

    fn compile_for(&self, plan: &Plan, terms: &PlanTerms, now: Timestamp) -> Result<Entitlements> {
        let version = plan.version(terms.pinned_version(plan.key()))?;
        let mut own = Entitlements::clone(&version.entitlements);
        own.billing_anchor = terms.billing_anchor();
        let features = &mut own.values.features;
        for (index, per_seat) in &version.per_seat {
            let more = terms.seats().unwrap_or(0).saturating_mul((*per_seat).into());
            add_to(&mut features[*index], i64::try_from(more).unwrap_or(i64::MAX));
        }
        for key in terms.addons() {
            let addon = self.addon(key).ok_or_else(|| {
                misconfigured(format!(
                    "the catalog lacks the add-on `{key}`, which a tenant has bought; add it again"
                ))
            })?;
            for (feature, value) in addon.grants() {
                if let Some(index) = self.keys.index(feature) {
                    grant(&mut features[index], value);
                }
            }
        }
        self.apply_overrides(features, terms, now)?;
        for (feature, _) in features.iter_mut().zip(self.declared.values()).filter(|(_, one)| one.disabled) {
            feature.deny();
        }
        Ok(own)
    }

    /// Additions first, then values that replace, then denials.
    fn apply_overrides(&self, features: &mut [Feature], terms: &PlanTerms, now: Timestamp) -> Result<()> {
        let active = |change: fn(&OverrideChange) -> bool| {
            terms.overrides().iter().filter(move |one| one.is_active(now) && change(one.change()))
        };
        let all = active(|change| matches!(change, OverrideChange::Add(_)))
            .chain(active(|change| matches!(change, OverrideChange::Set(_))))
            .chain(active(|change| matches!(change, OverrideChange::Deny)));
        for one in all {
            // A feature that the catalog no longer declares is an error where it is used.
            if let (Some(index), Some(declared)) =
                (self.keys.index(one.feature()), self.declared.get(one.feature()))
            {
                apply(&mut features[index], declared, one)?;
            }
        }
        Ok(())
    }

    /// Checks that an override fits the declaration of its feature.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog does not declare the feature, [`ErrorKind::InvalidInput`] if the
    /// value has another kind.
    pub fn check_override(&self, new: &NewOverride) -> Result<()> {
        let declared = self.declared.get(&new.feature).ok_or_else(|| {
            let text =
                format!("the catalog declares no feature `{}`; fix the key of the override", new.feature);
            Error::new(ErrorKind::UnknownFeature, text)
        })?;
        new.check(declared).map_err(|text| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("the override does not fit: `{}` {text}", new.feature),
            )
        })
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
        let seats = || self.plans.values().find(|plan| is_in(plan.seat_prices()));
        let addon = || self.addons.values().find(|addon| is_in(addon.prices()));
        let plan = self.plan_for_price(price).map(Sold::Plan);
        plan.or_else(|| seats().map(Sold::Seats)).or_else(|| addon().map(Sold::Addon))
    }

    /// The plan of a price, by its id, its lookup key or the id of its product.
    pub fn plan_for_price(&self, price: &str) -> Option<&Plan> {
        self.plans.values().find(|plan| plan.prices().iter().any(|known| known == price))
    }

    /// The plan that a tenant gets when its last subscription has ended.
    pub fn fallback(&self) -> Option<&Plan> {
        self.fallback.as_deref().and_then(|key| self.plans.get(key))
    }
}

/// What all plans of a catalog have in common.
struct Common {
    catalog_version: u32,
    order: Arc<[String]>,
    upgrade_url: Option<Arc<str>>,
}

/// The versions of a plan; the current one is the last.
fn versions(
    plan: &str,
    entry: &PlanEntry,
    declared: &BTreeMap<String, Declaration>,
    keys: &Arc<KeyTable>,
    common: &Common,
) -> Result<Vec<PlanVersion>, Fault> {
    let mut sources = Vec::new();
    for (version, older) in &entry.versions {
        let path = ["plans", plan, "versions", version.as_str()];
        match version.parse::<u32>() {
            Ok(number) if number < entry.version && number.to_string() == *version => {
                sources.push((number, path.to_vec(), &older.features));
            }
            _ => {
                let text = format!(
                    "the plan `{plan}`: the older version `{version}` is not a number below {}",
                    entry.version
                );
                return Err(Fault::new(&path, text));
            }
        }
    }
    let database_limits = entry
        .database
        .limits(plan)
        .map_err(|error| Fault::new(&["plans", plan, "database"], error.to_string()))?;
    sources.sort_by_key(|(number, ..)| *number);
    sources.push((entry.version, vec!["plans", plan], &entry.features));
    let version = |(number, path, values): (u32, Vec<&str>, &BTreeMap<String, Value>)| {
        let Compiled { features, per_seat } = compile(plan, &path, declared, values)?;
        let entitlements = Arc::new(Entitlements {
            plan: plan.into(),
            plan_version: number,
            catalog_version: common.catalog_version,
            values: Values { keys: keys.clone(), features },
            order: common.order.clone(),
            upgrade_url: common.upgrade_url.clone(),
            usage_in_trial: entry.usage_in_trial,
            database_limits,
            billing_anchor: None,
        });
        Ok(PlanVersion { number, entitlements, per_seat })
    };
    sources.into_iter().map(version).collect()
}

fn misconfigured(text: String) -> Error {
    Error::new(ErrorKind::Misconfigured, text)
}
