//! Translates Stripe's JSON into a [`BillingEvent`]. Fields are looked up by path, so that every API version is
//! accepted.

use serde_json::Value;

use super::checkout::{self, checkout};
use super::envelope::{EventEnvelope, Unusable};
use super::fields::Malformed;
use super::invoice;
use super::mode::{Accounts, Mode};
use super::recorded::recorded;
use super::subscription::subscription;
use super::tenant_names::{NamedFact, TenantNames};
use crate::billing::{BillingEvent, Fact, SubscriptionEventKind, Watermark};

pub(super) fn translate(
    raw: &[u8],
    mode: Mode,
    accounts: Accounts,
    names: &TenantNames,
) -> Result<BillingEvent, Unusable> {
    let envelope = EventEnvelope::parse(raw)?;
    let NamedFact { fact, ignored_if_unknown } = if envelope.livemode != (mode == Mode::Live) {
        Fact::Ignored { reason: "the event is of the other mode, live or test" }.into()
    } else if envelope.account.is_some() && accounts == Accounts::Own {
        Fact::Ignored { reason: "the event is of a connected account" }.into()
    } else {
        read(&envelope, names).unwrap_or_else(|reason| Fact::Unreadable { reason }.into())
    };
    let EventEnvelope { id, kind, created, livemode, account, .. } = envelope;
    Ok(BillingEvent {
        livemode,
        account,
        ignored_if_unknown,
        raw: raw.to_vec(),
        ..BillingEvent::new(id, created, kind, fact)
    })
}

/// Reads the object of an event, if events of its type are used.
fn read(envelope: &EventEnvelope, names: &TenantNames) -> Result<NamedFact, Malformed> {
    let object = || match &envelope.object {
        object @ Value::Object(_) => Ok(object),
        _ => Err("the event has no object"),
    };
    let as_of = || Watermark::new(envelope.created, envelope.id.as_str());
    let changed = |kind| subscription(object()?, envelope.previous_attributes.as_ref(), names, kind, as_of());
    let invoice_record = |action| invoice::recorded(object()?, names, action);
    // These events come beside an event `updated`, or without any change.
    let stated = || subscription(object()?, None, names, SubscriptionEventKind::Stated, as_of());
    match envelope.kind.as_str() {
        "customer.subscription.created" => changed(SubscriptionEventKind::Created),
        "customer.subscription.updated" => changed(SubscriptionEventKind::Updated),
        "customer.subscription.deleted" => changed(SubscriptionEventKind::Deleted),
        "customer.subscription.paused"
        | "customer.subscription.resumed"
        | "customer.subscription.pending_update_applied"
        | "customer.subscription.pending_update_expired" => stated(),
        "customer.subscription.trial_will_end" => trial_will_end(stated()?, object()?),
        "customer.deleted" => {
            let customer = id!(object()?, "id")?.ok_or("the customer has no id")?;
            let fact = Fact::CustomerDeleted { customer };
            Ok(NamedFact { fact, ignored_if_unknown: Some("the deleted customer is not linked to a tenant") })
        }
        "customer.updated" => {
            Ok(Fact::Ignored { reason: "a customer's details change neither plan nor status" }.into())
        }
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            checkout(object()?, names)
        }
        "checkout.session.async_payment_failed" => {
            checkout::ended(object()?, names, "billing.checkout_payment_failed")
        }
        "checkout.session.expired" => checkout::ended(object()?, names, "billing.checkout_expired"),
        "invoice.payment_action_required" => {
            invoice::action_required(object()?, names, "billing.payment_action_required")
        }
        "invoice.payment_attempt_required" => {
            invoice::action_required(object()?, names, "billing.payment_attempt_required")
        }
        "invoice.marked_uncollectible" => invoice_record("billing.invoice_uncollectible"),
        "invoice.overdue" => invoice_record("billing.invoice_overdue"),
        "invoice.overpaid" => invoice_record("billing.invoice_overpaid"),
        "invoice.finalization_failed" => invoice_record("billing.invoice_finalization_failed"),
        "invoice.upcoming" => invoice_record("billing.invoice_upcoming"),
        "invoice.paid" | "invoice.payment_succeeded" => invoice::paid(object()?, names),
        "invoice.payment_failed" => invoice::payment_failed(object()?, names),
        kind => match recorded(kind, object().unwrap_or(&Value::Null)) {
            Some(read) => object().and(read),
            None => Ok(Fact::Ignored { reason: "events of this type change nothing" }.into()),
        },
    }
}

/// Adds the end of the trial, which is announced.
fn trial_will_end(mut named: NamedFact, subscription: &Value) -> Result<NamedFact, Malformed> {
    if let Fact::Subscription(facts) = &mut named.fact {
        facts.trial_ends = time!(subscription, "trial_end")?;
    }
    Ok(named)
}
