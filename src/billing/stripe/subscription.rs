//! The facts in an event about a subscription, in every version of Stripe's API.

use serde_json::Value;

use super::fields::Malformed;
use super::tenant_names::{NamedFact, TenantNames};
use crate::billing::{
    Fact, PreviousAttributes, Price, SubscriptionEventKind, SubscriptionFacts, SubscriptionState,
    SubscriptionStatus, Watermark,
};
use crate::clock::Timestamp;

/// Reads the subscription and the previous values of what the event changed.
pub(super) fn subscription(
    object: &Value,
    previous_attributes: Option<&Value>,
    names: &TenantNames,
    kind: SubscriptionEventKind,
    as_of: Watermark,
) -> Result<NamedFact, Malformed> {
    let id = id!(object, "id")?.ok_or("the subscription has no id")?;
    let customer = customer(object)?.ok_or("the subscription has no customer")?;
    let status = text!(object, "status")?.ok_or("the subscription has no status")?;
    // An event `deleted` ends the subscription, whatever status its snapshot has.
    let status = match kind {
        SubscriptionEventKind::Deleted => SubscriptionStatus::Canceled,
        _ => SubscriptionStatus::parse(status),
    };
    let Prices { prices, partial } = prices(object)?;
    let mut state = SubscriptionState::new(status, prices);
    state.cancel_at = time!(object, "cancel_at")?;
    state.cancel_at_period_end = flag!(object, "cancel_at_period_end")?.unwrap_or_default();
    state.collection_paused = nested!(object, "pause_collection")?.is_some();
    state.billing_anchor = time!(object, "billing_cycle_anchor")?;
    // A field of the subscription, or since 2025-03-31 of its items.
    let item_end = latest_item_end(object)?;
    state.period_end = time!(object, "current_period_end")?.or(item_end);
    let stamp = names.stamp(object)?;
    let ignored_if_unknown = stamp.ignored_if_unknown();
    let mut facts = SubscriptionFacts::new(id, customer, state, kind, as_of);
    facts.tenant = stamp.into_tenant();
    facts.partial = partial;
    // Until 2019-10-17 `start` was the start of the current plan, so the other dates outrank it.
    let [created, start_date, start] =
        [time!(object, "created")?, time!(object, "start_date")?, time!(object, "start")?];
    facts.started = created.or(start_date).or(start);
    if let Some(attributes) = previous_attributes {
        if !attributes.is_object() {
            return Err("`previous_attributes` is not an object");
        }
        facts.previous = previous(attributes)?;
    }
    Ok(NamedFact { fact: Fact::Subscription(facts), ignored_if_unknown })
}

/// The payer: a customer, or since 2025-10-29 possibly an account.
pub(super) fn customer(object: &Value) -> Result<Option<String>, Malformed> {
    let account = id!(object, "customer_account")?;
    Ok(id!(object, "customer")?.or(account))
}

fn previous(attributes: &Value) -> Result<PreviousAttributes, Malformed> {
    // Until 2017-05-25 a list contains only what changed inside its entries. Such a list has no meaning here.
    let prices = prices(attributes).ok().filter(|prices| !prices.partial && !prices.prices.is_empty());
    let item_end = latest_item_end(attributes).unwrap_or_default();
    let cancel_at = time!(attributes, "cancel_at")?;
    let pause_collection = nested!(attributes, "pause_collection")?;
    Ok(PreviousAttributes {
        status: text!(attributes, "status")?.map(SubscriptionStatus::parse),
        prices: prices.map(|prices| prices.prices),
        // `null` means that it was not scheduled to end.
        cancel_at: attributes.get("cancel_at").map(|_| cancel_at),
        cancel_at_period_end: flag!(attributes, "cancel_at_period_end")?,
        period_end: time!(attributes, "current_period_end")?.or(item_end),
        collection_paused: attributes.get("pause_collection").map(|_| pause_collection.is_some()),
        billing_anchor: time!(attributes, "billing_cycle_anchor")?,
    })
}

/// The prices that an event contains.
struct Prices {
    prices: Vec<Price>,
    /// Whether there may be others.
    partial: bool,
}

/// The `price` of each item; in older versions the `plan` of each item; in the oldest the one `plan` of the
/// subscription.
fn prices(object: &Value) -> Result<Prices, Malformed> {
    let items = list!(object, "items")?;
    let mut prices = Vec::with_capacity(items.entries.len());
    for item in items.entries {
        prices.extend(price(item)?);
    }
    let partial = items.cut || prices.len() < items.entries.len();
    if prices.is_empty() {
        prices.extend(price(object)?);
    }
    Ok(Prices { prices, partial })
}

/// The price of an item.
pub(super) fn price(item: &Value) -> Result<Option<Price>, Malformed> {
    let plan = id!(item, "plan")?;
    let Some(id) = id!(item, "price")?.or(plan) else { return Ok(None) };
    let mut price = Price::new(id);
    // The old `plan` has the same product and metadata. Beside a price it is its copy.
    for name in ["price", "plan"] {
        let Some(object) = item.get(name) else { continue }; // or an id, which has none of these
        let metadata = nested!(object, "metadata")?;
        let plan = metadata.map(|metadata| text!(metadata, "tenancy_plan")).transpose()?.flatten();
        price.lookup_key = price.lookup_key.or(text!(object, "lookup_key")?.map(str::to_owned));
        price.plan = price.plan.or(plan.map(str::to_owned));
        let addon = metadata.map(|metadata| text!(metadata, "tenancy_addon")).transpose()?.flatten();
        price.addon = price.addon.or(addon.map(str::to_owned));
        price.product = price.product.or(id!(object, "product")?);
    }
    price.quantity = unsigned!(item, "quantity")?;
    Ok(Some(price))
}

/// The end of the paid period of the item whose period ends last.
fn latest_item_end(object: &Value) -> Result<Option<Timestamp>, Malformed> {
    let mut latest = None;
    for item in list!(object, "items")?.entries {
        latest = latest.max(time!(item, "current_period_end")?);
    }
    Ok(latest)
}
