//! [`Plan`] and [`Addon`]: what the catalog sells, and the check that a price buys one thing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::{Entitlements, Feature, Limit};
use crate::error::{Error, ErrorKind, Result};

/// One plan of the [`Catalog`](super::Catalog).
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) key: String,
    pub(super) title: String,
    pub(super) prices: Vec<String>,
    pub(super) seat_prices: Vec<String>,
    pub(super) entitlements: Arc<Entitlements>,
}

impl Plan {
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

    /// Whether the plan allows everything that `other` allows.
    pub fn covers(&self, other: &Self) -> bool {
        other.entitlements.features().all(|(key, wanted)| {
            let own = self.entitlements.features().find(|(known, _)| *known == key);
            match (own, wanted) {
                (Some((_, Feature::Flag(on))), Feature::Flag(wanted)) => on || !wanted,
                (Some((_, Feature::Gauge(Limit::Unlimited))), Feature::Gauge(_)) => true,
                (Some((_, Feature::Gauge(limit))), Feature::Gauge(Limit::AtMost(max))) => limit.allows(max),
                _ => false,
            }
        })
    }

    /// What the plan allows.
    pub fn entitlements(&self) -> &Arc<Entitlements> {
        &self.entitlements
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddonEntry {
    title: Option<String>,
    pub(super) prices: Vec<String>,
}

impl AddonEntry {
    pub(super) fn into_addon(self, key: String) -> Addon {
        let title = self.title.unwrap_or_else(|| key.clone());
        Addon { key, title, prices: self.prices }
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
    pub(super) fn add(&mut self, prices: &[String], what: &str) -> Result<()> {
        for price in prices {
            let Some(other) = self.0.insert(price.clone(), what.to_owned()) else { continue };
            let text = if other == what {
                format!("the price `{price}` buys {what} twice; name it once")
            } else {
                format!("the price `{price}` buys {other} and {what}; a price buys one thing")
            };
            return Err(Error::new(ErrorKind::Misconfigured, text));
        }
        Ok(())
    }
}
