//! [`Plan`] and [`Addon`]: what the catalog sells, and the check that a price buys one thing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entitlements::Entitlements;
use super::file::{AddonEntry, PlanEntry, Value};
use crate::error::{Error, ErrorKind, Result};

/// One plan of the [`Catalog`](super::Catalog).
#[derive(Debug, Clone)]
pub struct Plan {
    key: String,
    title: String,
    prices: Vec<String>,
    seat_prices: Vec<String>,
    /// From the oldest to the current one.
    versions: Vec<PlanVersion>,
}

/// One version of a plan: what it allows, and by how much each bought seat raises a limit.
#[derive(Debug, Clone)]
pub(super) struct PlanVersion {
    pub(super) number: u32,
    pub(super) entitlements: Arc<Entitlements>,
    pub(super) per_seat: Vec<(usize, u32)>,
}

impl Plan {
    pub(super) fn new(key: String, entry: PlanEntry, versions: Vec<PlanVersion>) -> Self {
        let PlanEntry { title, prices, seat_prices, .. } = entry;
        Self { title: title.unwrap_or_else(|| key.clone()), key, prices, seat_prices, versions }
    }

    /// The plan's key, as a [`Tenant`](crate::tenant::Tenant) holds it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The plan's display name; its key if the catalog has no `title`.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What buys this plan: ids or lookup keys of prices, or ids of products, in the billing system.
    pub fn prices(&self) -> &[String] {
        &self.prices
    }

    /// What buys seats of this plan, next to one of its [`prices`](Self::prices) in the same subscription.
    pub fn seat_prices(&self) -> &[String] {
        &self.seat_prices
    }

    /// Whether the plan allows everything that `other` allows. Config values are not compared.
    pub fn covers(&self, other: &Self) -> bool {
        other
            .entitlements()
            .features()
            .all(|(key, wanted)| self.entitlements().feature(key).is_ok_and(|own| own.covers(wanted)))
    }

    /// What the current version of the plan allows.
    pub fn entitlements(&self) -> &Arc<Entitlements> {
        &self.current().entitlements
    }

    /// The numbers of the versions, from the oldest to the current one.
    pub fn versions(&self) -> impl Iterator<Item = u32> {
        self.versions.iter().map(|version| version.number)
    }

    fn current(&self) -> &PlanVersion {
        self.versions.last().expect("a plan has its current version")
    }

    /// The version with this number, or the current one.
    pub(super) fn version(&self, number: Option<u32>) -> Result<&PlanVersion> {
        let Some(number) = number else { return Ok(self.current()) };
        self.versions.iter().find(|version| version.number == number).ok_or_else(|| {
            let key = &self.key;
            Error::new(
                ErrorKind::UnknownPlan,
                format!(
                    "the catalog has no version {number} of the plan `{key}`, to which a tenant is pinned; \
                     add [plans.{key}.versions.{number}], or pin the tenant to another version"
                ),
            )
        })
    }
}

/// One add-on of the [`Catalog`](super::Catalog): something that is bought beside a plan, in the same subscription.
///
/// ```
/// use tenancy::plan::Catalog;
///
/// let catalog = Catalog::from_toml(r#"
///     version = 1
///     [plans.pro]
///     prices      = ["price_pro"]
///     seat_prices = ["price_pro_seat"]
///     [addons.support]
///     title  = "Priority support"
///     prices = ["price_support"]
/// "#)?;
/// assert_eq!(catalog.addon("support").unwrap().title(), "Priority support");
/// assert_eq!(catalog.plan("pro")?.seat_prices(), ["price_pro_seat"]);
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Addon {
    key: String,
    title: String,
    prices: Vec<String>,
    grants: BTreeMap<String, Value>,
}

impl Addon {
    /// The add-on's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The add-on's display name; its key if the catalog has no `title`.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What buys this add-on: ids or lookup keys of prices, or ids of products, in the billing system.
    pub fn prices(&self) -> &[String] {
        &self.prices
    }

    pub(super) fn grants(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.grants.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl Addon {
    pub(super) fn new(key: String, entry: AddonEntry) -> Self {
        let AddonEntry { title, prices, grants } = entry;
        Self { title: title.unwrap_or_else(|| key.clone()), key, prices, grants }
    }
}

/// What a price buys.
#[cfg(feature = "stripe")]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sold<'a> {
    Plan(&'a Plan),
    Seats(&'a Plan),
    Addon(&'a Addon),
}

/// The prices that were read, each with what it buys.
#[derive(Default)]
pub(super) struct SoldOnce(BTreeMap<String, String>);

impl SoldOnce {
    pub(super) fn add(&mut self, prices: &[String], what: &str) -> Result<(), String> {
        for price in prices {
            let Some(other) = self.0.insert(price.clone(), what.to_owned()) else { continue };
            let text = if other == what {
                format!("the price `{price}` buys {what} twice; name it once")
            } else {
                format!("the price `{price}` buys {other} and {what}; a price buys one thing")
            };
            return Err(text);
        }
        Ok(())
    }
}
