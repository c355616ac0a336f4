//! The facts in an event about an invoice, in every version of Stripe's API.

use serde_json::Value;

use super::fields::Malformed;
use super::subscription::customer;
use super::tenant_names::{NamedFact, TenantNames};
use crate::billing::{Fact, NotificationKind, PaymentFacts, RecordedFacts};

/// Reads a paid invoice.
pub(super) fn paid(invoice: &Value, names: &TenantNames) -> Result<NamedFact, Malformed> {
    payment(invoice, names, integer!(invoice, "amount_paid")?, Fact::PaymentSucceeded)
}

/// Reads an invoice whose payment failed.
pub(super) fn payment_failed(invoice: &Value, names: &TenantNames) -> Result<NamedFact, Malformed> {
    payment(invoice, names, integer!(invoice, "amount_due")?, Fact::PaymentFailed)
}

/// Reads an invoice that the customer must act on.
pub(super) fn action_required(
    invoice: &Value,
    names: &TenantNames,
    action: &'static str,
) -> Result<NamedFact, Malformed> {
    let mut read = recorded(invoice, names, action)?;
    if let Fact::Recorded(facts) = &mut read.fact {
        facts.notice = Some(NotificationKind::PaymentActionRequired {
            subscription: facts.subscription.clone(),
            invoice: id!(invoice, "id")?,
            attempt: unsigned!(invoice, "attempt_count")?,
            hosted_url: text!(invoice, "hosted_invoice_url")?.map(str::to_owned),
        });
    }
    Ok(read)
}

/// Reads an invoice of which nothing but this is recorded.
pub(super) fn recorded(
    invoice: &Value,
    names: &TenantNames,
    action: &'static str,
) -> Result<NamedFact, Malformed> {
    let mut details = Vec::new();
    if let Some(reason) = text!(invoice, "billing_reason")? {
        details.push(("billing_reason", reason.to_owned()));
    }
    if let Some(error) = nested!(invoice, "last_finalization_error")?
        && let Some(code) = text!(error, "code")?
    {
        details.push(("error", code.to_owned()));
    }
    payment(invoice, names, integer!(invoice, "amount_due")?, |facts| {
        details.extend(facts.amount.map(|amount| ("amount", amount.to_string())));
        details.extend(facts.currency.map(|currency| ("currency", currency)));
        details.extend(facts.attempt.map(|attempt| ("attempt", attempt.to_string())));
        let mut recorded = RecordedFacts::new(action);
        recorded.target = facts.invoice.map(|id| ("invoice", id));
        recorded.customer = facts.customer;
        recorded.subscription = facts.subscription;
        recorded.tenant = facts.tenant;
        recorded.details = details;
        Fact::Recorded(recorded)
    })
}

fn payment(
    invoice: &Value,
    names: &TenantNames,
    amount: Option<i64>,
    fact: impl FnOnce(PaymentFacts) -> Fact,
) -> Result<NamedFact, Malformed> {
    let lines = list!(invoice, "lines")?.entries;
    // Since 2025-03-31 the subscription is under `parent`, before that it was a field of the invoice.
    let details = match nested!(invoice, "parent")? {
        Some(parent) => nested!(parent, "subscription_details")?,
        None => None,
    };
    let holders = || details.into_iter().chain([invoice]);
    let mut subscription = None;
    for holder in holders() {
        subscription = subscription.or(id!(holder, "subscription")?);
    }
    for line in lines {
        subscription = subscription.or(line_subscription(line)?);
    }
    let customer = customer(invoice)?;
    if customer.is_none() && subscription.is_none() {
        return Ok(Fact::Ignored { reason: "the invoice has neither a customer nor a subscription" }.into());
    }
    // The metadata of the subscription: a copy of it, that of the expanded subscription, or the copies in the lines.
    let copies = details.into_iter().chain(nested!(invoice, "subscription_details")?);
    let expanded = holders().filter_map(|holder| holder.get("subscription"));
    let stamp = names.first_stamp(copies.chain(expanded).chain(lines))?;
    let ignored_if_unknown = stamp.ignored_if_unknown();
    let fact = fact(PaymentFacts {
        customer,
        subscription,
        tenant: stamp.into_tenant(),
        invoice: id!(invoice, "id")?,
        amount,
        currency: text!(invoice, "currency")?.map(str::to_owned),
        attempt: unsigned!(invoice, "attempt_count")?,
        next_attempt: time!(invoice, "next_payment_attempt")?,
    });
    Ok(NamedFact { fact, ignored_if_unknown })
}

/// The subscription of a line: under `parent`, a field, or in the oldest versions the id of the line.
fn line_subscription(line: &Value) -> Result<Option<String>, Malformed> {
    let mut subscription = None;
    if let Some(parent) = nested!(line, "parent")? {
        let item = nested!(parent, "subscription_item_details")?;
        for details in item.into_iter().chain(nested!(parent, "invoice_item_details")?) {
            subscription = subscription.or(id!(details, "subscription")?);
        }
    }
    subscription = subscription.or(id!(line, "subscription")?);
    if subscription.is_none() && text!(line, "type")? == Some("subscription") {
        subscription = id!(line, "id")?.filter(|id| id.starts_with("sub_"));
    }
    Ok(subscription)
}
