//! Translates Stripe's JSON into a [`BillingEvent`]. Fields are looked up by path, so that every API version is
//! accepted.

use serde::Deserialize;
use serde_json::Value;

use super::mode::{Accounts, Mode};
use crate::billing::{
    BillingEvent, CheckoutFacts, Fact, PaymentFacts, PreviousAttributes, Price, SubscriptionEventKind,
    SubscriptionFacts, SubscriptionState, SubscriptionStatus, Watermark,
};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// The metadata key of subscriptions and checkouts under which the application writes the tenant's id.
const TENANT_METADATA: &str = "tenant_id";

/// The keys that are used. serde rejects a duplicate of one of them, and ignores all others.
#[derive(Deserialize)]
struct Envelope {
    object: Option<String>,
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    created: Option<Value>,
    livemode: Option<bool>,
    account: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    object: Value,
    previous_attributes: Option<Value>,
}

pub(super) fn translate(raw: &[u8], mode: Mode, accounts: Accounts) -> Result<BillingEvent> {
    let envelope: Envelope = serde_json::from_slice(raw).map_err(|cause| {
        Error::new(ErrorKind::InvalidInput, "the webhook's body is not a Stripe event").with_source(cause)
    })?;
    match envelope.object.as_deref() {
        Some("event") => {}
        Some("v2.core.event") => {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "this webhook destination sends thin events, which hold no state; create one in Stripe that \
                 sends snapshot events",
            ));
        }
        _ => return Err(incomplete("its object is not `event`")),
    }
    let id = envelope.id.filter(|id| !id.is_empty()).ok_or_else(|| incomplete("it has no id"))?;
    let kind = envelope.kind.ok_or_else(|| incomplete("it has no type"))?;
    let created = envelope.created.as_ref().and_then(time).ok_or_else(|| incomplete("it has no date"))?;
    let livemode = envelope.livemode.ok_or_else(|| incomplete("it has no `livemode`"))?;

    let fact = if livemode != (mode == Mode::Live) {
        Fact::Ignored { reason: "the event is of the other mode, live or test" }
    } else if envelope.account.is_some() && accounts == Accounts::Own {
        Fact::Ignored { reason: "the event is of a connected account" }
    } else {
        let as_of = Watermark::new(created, id.as_str());
        let data = envelope.data.unwrap_or(Data { object: Value::Null, previous_attributes: None });
        let subscription =
            |change| subscription(&data, change, as_of).unwrap_or_else(|reason| Fact::Unreadable { reason });
        match kind.as_str() {
            "customer.subscription.created" => subscription(SubscriptionEventKind::Created),
            "customer.subscription.updated" => subscription(SubscriptionEventKind::Updated),
            "customer.subscription.deleted" => subscription(SubscriptionEventKind::Deleted),
            "checkout.session.completed" => checkout(&data.object),
            "invoice.paid" => payment(&data.object, "amount_paid", Fact::PaymentSucceeded),
            "invoice.payment_failed" => payment(&data.object, "amount_due", Fact::PaymentFailed),
            _ => Fact::Ignored { reason: "events of this type change nothing" },
        }
    };
    Ok(BillingEvent {
        livemode,
        account: envelope.account,
        raw: raw.to_vec(),
        ..BillingEvent::new(id, created, kind, fact)
    })
}

fn subscription(data: &Data, kind: SubscriptionEventKind, as_of: Watermark) -> Result<Fact, &'static str> {
    let object = &data.object;
    let id = id(object, "id").ok_or("the subscription has no id")?;
    let customer = customer(object).ok_or("the subscription has no customer")?;
    let status = text(object, "status").ok_or("the subscription has no status")?;
    // An event `deleted` ends the subscription, whatever status its snapshot has.
    let status = match kind {
        SubscriptionEventKind::Deleted => SubscriptionStatus::Canceled,
        _ => SubscriptionStatus::parse(&status),
    };
    let mut state = SubscriptionState::new(status, prices(object).unwrap_or_default());
    state.cancel_at = object.get("cancel_at").and_then(time);
    state.cancel_at_period_end =
        object.get("cancel_at_period_end").and_then(Value::as_bool).unwrap_or_default();
    state.period_end = period_end(object);
    let mut facts = SubscriptionFacts::new(id, customer, state, kind, as_of);
    facts.tenant = metadata_tenant(object);
    facts.started = object.get("created").or_else(|| object.get("start_date")).and_then(time);
    facts.previous = data.previous_attributes.as_ref().map(previous).unwrap_or_default();
    Ok(Fact::Subscription(facts))
}

fn previous(attributes: &Value) -> PreviousAttributes {
    PreviousAttributes {
        status: text(attributes, "status").map(|status| SubscriptionStatus::parse(&status)),
        prices: prices(attributes),
        cancel_at: attributes.get("cancel_at").map(time),
        cancel_at_period_end: attributes.get("cancel_at_period_end").and_then(Value::as_bool),
        period_end: period_end(attributes),
    }
}

fn checkout(object: &Value) -> Fact {
    let customer = customer(object);
    let subscription = id(object, "subscription");
    if customer.is_none() && subscription.is_none() {
        return Fact::Ignored { reason: "the checkout has neither a customer nor a subscription" };
    }
    // The reference of a payment link comes from a URL that the visitor can edit.
    let reference =
        if id(object, "payment_link").is_none() { text(object, "client_reference_id") } else { None };
    Fact::CheckoutCompleted(CheckoutFacts {
        customer,
        subscription,
        tenant: metadata_tenant(object),
        reference,
    })
}

fn payment(object: &Value, amount: &str, fact: fn(PaymentFacts) -> Fact) -> Fact {
    let lines = || list(object, &["lines", "data"]).iter();
    // Until 2025 the subscription was a field of the invoice; since then it is under `parent`. The lines have it as
    // well.
    let details = at(object, &["parent", "subscription_details"]);
    let line_subscription = |line: &Value| {
        at(line, &["parent", "subscription_item_details"])
            .and_then(|details| id(details, "subscription"))
            .or_else(|| id(line, "subscription"))
    };
    let customer = customer(object);
    let subscription = details
        .and_then(|details| id(details, "subscription"))
        .or_else(|| id(object, "subscription"))
        .or_else(|| lines().find_map(line_subscription));
    if customer.is_none() && subscription.is_none() {
        return Fact::Ignored { reason: "the invoice has neither a customer nor a subscription" };
    }
    let tenant = details
        .and_then(metadata_tenant)
        .or_else(|| object.get("subscription_details").and_then(metadata_tenant))
        .or_else(|| lines().find_map(metadata_tenant));
    fact(PaymentFacts {
        customer,
        subscription,
        tenant,
        invoice: id(object, "id"),
        amount: object.get(amount).and_then(Value::as_i64),
        currency: text(object, "currency"),
        attempt: object.get("attempt_count").and_then(Value::as_u64),
        next_attempt: object.get("next_payment_attempt").and_then(time),
    })
}

/// Every price of a subscription: the `price` of each item; in older versions the `plan` of each item; in the oldest
/// the one `plan` of the subscription. `None` if the object has none of them.
fn prices(object: &Value) -> Option<Vec<Price>> {
    let items = list(object, &["items", "data"]);
    let prices: Vec<Price> = items.iter().filter_map(price).collect();
    if !prices.is_empty() {
        return (prices.len() == items.len()).then_some(prices);
    }
    price(object).map(|price| vec![price])
}

fn price(item: &Value) -> Option<Price> {
    let id = id(item, "price").or_else(|| id(item, "plan"))?;
    let mut price = Price::new(id);
    price.lookup_key = at(item, &["price", "lookup_key"]).and_then(Value::as_str).map(str::to_owned);
    price.quantity = item.get("quantity").and_then(Value::as_u64);
    Some(price)
}

/// The end of the paid period: a field of the subscription, or since 2025 of its items, of which the latest counts.
fn period_end(object: &Value) -> Option<Timestamp> {
    let items = list(object, &["items", "data"]);
    object
        .get("current_period_end")
        .and_then(time)
        .or_else(|| items.iter().filter_map(|item| item.get("current_period_end").and_then(time)).max())
}

/// The payer: a customer, or since 2025 possibly an account.
fn customer(object: &Value) -> Option<String> {
    id(object, "customer").or_else(|| id(object, "customer_account"))
}

fn metadata_tenant(object: &Value) -> Option<String> {
    at(object, &["metadata", TENANT_METADATA])
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
}

/// An id, or the `id` of an expanded object in its place.
fn id(object: &Value, key: &str) -> Option<String> {
    let value = object.get(key)?;
    value.as_str().or_else(|| value.get("id")?.as_str()).filter(|id| !id.is_empty()).map(str::to_owned)
}

fn text(object: &Value, key: &str) -> Option<String> {
    object.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_i64().map(Timestamp::from_seconds)
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn incomplete(what: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("the webhook's body is not a Stripe event: {what}"))
}
