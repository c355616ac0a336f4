//! Translates Stripe's JSON into a [`BillingEvent`]. Fields are looked up by path, so that every API version is
//! accepted.

use serde_json::Value;

use super::checkout::checkout;
use super::envelope::{EventEnvelope, Unusable};
use super::fields::Malformed;
use super::invoice;
use super::mode::{Accounts, Mode};
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
    let changed = |kind| {
        let as_of = Watermark::new(envelope.created, envelope.id.as_str());
        subscription(object()?, envelope.previous_attributes.as_ref(), names, kind, as_of)
    };
    match envelope.kind.as_str() {
        "customer.subscription.created" => changed(SubscriptionEventKind::Created),
        "customer.subscription.updated" => changed(SubscriptionEventKind::Updated),
        "customer.subscription.deleted" => changed(SubscriptionEventKind::Deleted),
        "checkout.session.completed" => checkout(object()?, names),
        "invoice.paid" => invoice::paid(object()?, names),
        "invoice.payment_failed" => invoice::payment_failed(object()?, names),
        _ => Ok(Fact::Ignored { reason: "events of this type change nothing" }.into()),
    }
}
