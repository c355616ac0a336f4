//! [`Purchase`]: the plan, the seats and the add-ons that the prices of a subscription buy.

use serde::{Deserialize, Serialize};

use super::review::ReviewItem;
use super::state::{Price, SubscriptionState};
use crate::plan::{Catalog, Sold};

/// What the prices of a subscription buy.
#[derive(Debug)]
pub(super) struct Purchase<'a> {
    pub(super) plan: &'a str,
    pub(super) extras: Extras,
}

/// What is bought beside the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Extras {
    pub(super) seats: Option<u64>,
    pub(super) addons: Vec<String>,
}

impl<'a> Purchase<'a> {
    /// What the prices buy. Exactly one plan must be among them; a price that buys nothing in the catalog has no say.
    pub(super) fn of(state: &SubscriptionState, catalog: &'a Catalog) -> Result<Self, ReviewItem> {
        let mut plans = Vec::new();
        let mut base = Vec::new();
        let mut seats = Vec::new();
        let mut addons = Vec::new();
        for price in &state.prices {
            match sold(price, catalog)? {
                Some(Sold::Plan(plan)) => {
                    plans.push(plan.key());
                    base.push(price.quantity);
                }
                Some(Sold::Seats(plan)) => seats.push((plan.key(), price.quantity)),
                Some(Sold::Addon(addon)) => addons.push(addon.key().to_owned()),
                None => {}
            }
        }
        plans.sort_unstable();
        plans.dedup();
        let plan = match plans[..] {
            [plan] => plan,
            [] if !seats.is_empty() || !addons.is_empty() => return Err(ReviewItem::MissingPlan),
            [] => {
                let price = state.prices.first().map(|price| price.id.clone());
                return Err(ReviewItem::UnmappedPrice { price });
            }
            _ => {
                let plans = plans.iter().map(|&plan| plan.to_owned()).collect();
                return Err(ReviewItem::SeveralPlans { plans });
            }
        };
        // Seats of another plan give this one none.
        let own: Vec<Option<u64>> =
            seats.into_iter().filter(|(of, _)| *of == plan).map(|(_, quantity)| quantity).collect();
        addons.sort_unstable();
        addons.dedup();
        let seats = total(if own.is_empty() { base } else { own });
        Ok(Self { plan, extras: Extras { seats, addons } })
    }
}

/// Whether the price belongs to a plan.
pub(super) fn sells_plan(price: &Price, catalog: &Catalog) -> bool {
    matches!(sold(price, catalog), Ok(Some(Sold::Plan(_))))
}

/// The place of the price whose quantity is the number of seats: the one seat price, else the one price of a plan.
pub(super) fn seat_price(prices: &[Price], catalog: &Catalog) -> Option<usize> {
    let places = |sells: fn(&Sold<'_>) -> bool| -> Vec<usize> {
        let sold = prices.iter().map(|price| sold(price, catalog).ok().flatten());
        sold.enumerate().filter(|(_, sold)| sold.as_ref().is_some_and(sells)).map(|(at, _)| at).collect()
    };
    let seats = places(|sold| matches!(sold, Sold::Seats(_)));
    let plans = places(|sold| matches!(sold, Sold::Plan(_)));
    match (&seats[..], &plans[..]) {
        ([one], _) | ([], [one]) => Some(*one),
        _ => None,
    }
}

/// The sum of quantities; `None` if one of them is metered.
fn total(quantities: Vec<Option<u64>>) -> Option<u64> {
    quantities.into_iter().try_fold(0_u64, |sum, quantity| Some(sum.saturating_add(quantity?)))
}

/// What the price's id buys, its lookup key, its metadata or its product: the first that there is.
fn sold<'a>(price: &Price, catalog: &'a Catalog) -> Result<Option<Sold<'a>>, ReviewItem> {
    let by = |name: Option<&String>| name.and_then(|name| catalog.sold_by(name));
    if let Some(sold) = by(Some(&price.id)).or_else(|| by(price.lookup_key.as_ref())) {
        return Ok(Some(sold));
    }
    let named = match (&price.plan, &price.addon) {
        (None, None) => return Ok(by(price.product.as_ref())),
        (Some(plan), None) => catalog.plan(plan).ok().map(Sold::Plan),
        (None, Some(addon)) => catalog.addon(addon).map(Sold::Addon),
        (Some(_), Some(_)) => None,
    };
    // A name that is misspelt is not a price that buys nothing.
    named.map(Some).ok_or_else(|| ReviewItem::UnmappedPrice { price: Some(price.id.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::SubscriptionStatus;

    const CATALOG: &str = r#"
        version = 1
        [plans.basic]
        prices = ["price_basic", "prod_all"]
        [plans.pro]
        prices = ["price_pro"]
        seat_prices = ["price_seat", "seat_key"]
        [addons.support]
        prices = ["price_support"]
        [addons.backup]
        prices = ["prod_backup"]
    "#;

    type Bought = (String, Option<u64>, Vec<String>);

    /// In the order of the prices, and in the reverse order.
    fn read(prices: &[Price]) -> Result<Bought, ReviewItem> {
        let catalog = Catalog::from_toml(CATALOG).unwrap();
        let read = |prices: Vec<Price>| {
            let state = SubscriptionState::new(SubscriptionStatus::Active, prices);
            Purchase::of(&state, &catalog)
                .map(|bought| (bought.plan.to_owned(), bought.extras.seats, bought.extras.addons))
        };
        let forward = read(prices.to_vec());
        let reverse = read(prices.iter().rev().cloned().collect());
        if !matches!(forward, Err(ReviewItem::UnmappedPrice { .. })) {
            assert_eq!(forward, reverse);
        }
        forward
    }

    fn price(id: &str, quantity: impl Into<Option<u64>>) -> Price {
        Price { quantity: quantity.into(), ..Price::new(id) }
    }

    fn bought(plan: &str, seats: impl Into<Option<u64>>, addons: &[&str]) -> Bought {
        (plan.to_owned(), seats.into(), addons.iter().map(|&addon| addon.to_owned()).collect())
    }

    #[test]
    fn seats_are_the_quantity_of_the_seat_item_else_of_the_base_item() {
        let (pro, seats) = (price("price_pro", 1), price("price_seat", 7));
        assert_eq!(read(&[price("price_pro", 4)]), Ok(bought("pro", 4, &[])));
        assert_eq!(read(&[pro.clone(), seats.clone()]), Ok(bought("pro", 7, &[])));
        assert_eq!(read(&[pro.clone(), seats.clone(), price("seat_key", 2)]), Ok(bought("pro", 9, &[])));
        assert_eq!(read(&[pro.clone(), price("price_seat", None)]), Ok(bought("pro", None, &[])));
        assert_eq!(read(&[price("price_pro", None)]), Ok(bought("pro", None, &[])));
        assert_eq!(
            read(&[price("price_seat", u64::MAX), seats.clone(), pro]),
            Ok(bought("pro", u64::MAX, &[]))
        );
        let by_key = Price { lookup_key: Some("seat_key".to_owned()), ..price("price_x", 3) };
        assert_eq!(read(&[price("price_pro", 1), by_key]), Ok(bought("pro", 3, &[])));
        // Seats of another plan.
        assert_eq!(read(&[price("price_basic", 2), seats]), Ok(bought("basic", 2, &[])));
    }

    #[test]
    fn add_ons_are_bought_beside_one_plan() {
        let support = price("price_support", 1);
        let backup = Price { product: Some("prod_backup".to_owned()), ..price("price_x", 1) };
        let named = Price {
            addon: Some("support".to_owned()),
            product: Some("prod_all".to_owned()),
            ..price("price_y", 1)
        };
        let pro = price("price_pro", 1);
        assert_eq!(
            read(&[support.clone(), backup, pro.clone()]),
            Ok(bought("pro", 1, &["backup", "support"]))
        );
        assert_eq!(read(&[named.clone(), support.clone(), pro.clone()]), Ok(bought("pro", 1, &["support"])));
        assert_eq!(read(&[pro.clone(), price("price_other", 9)]), Ok(bought("pro", 1, &[])));
        assert_eq!(read(std::slice::from_ref(&support)), Err(ReviewItem::MissingPlan));
        assert_eq!(read(&[price("price_seat", 2)]), Err(ReviewItem::MissingPlan));
        let several = ReviewItem::SeveralPlans { plans: vec!["basic".to_owned(), "pro".to_owned()] };
        assert_eq!(read(&[pro.clone(), support, price("price_basic", 1)]), Err(several));
        for wrong in [
            Price { addon: Some("suport".to_owned()), ..price("price_y", 1) },
            Price { plan: Some("pro".to_owned()), ..named },
        ] {
            let unmapped = ReviewItem::UnmappedPrice { price: Some("price_y".to_owned()) };
            assert_eq!(read(&[pro.clone(), wrong]), Err(unmapped));
        }
        assert_eq!(read(&[]), Err(ReviewItem::UnmappedPrice { price: None }));
    }
}
