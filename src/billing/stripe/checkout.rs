//! The facts in a completed checkout.

use serde_json::Value;

use super::fields::Malformed;
use super::recorded::{ONLY_RECORDED, details};
use super::subscription::customer;
use super::tenant_names::{NamedFact, TenantNames};
use crate::billing::event::CHECKOUT;
use crate::billing::{CheckoutFacts, CheckoutMode, Fact, RecordedFacts};

/// Reads a checkout session. A session that must not link a customer is ignored.
pub(super) fn checkout(session: &Value, names: &TenantNames) -> Result<NamedFact, Malformed> {
    let stamp = names.stamp(session)?;
    let reference = names.reference(session)?;
    let ignored_if_unknown = if reference.is_none() { stamp.ignored_if_unknown() } else { None };
    let subscription = id!(session, "subscription")?;
    let facts = CheckoutFacts {
        id: id!(session, "id")?,
        mode: match text!(session, "mode")? {
            Some("subscription") => CheckoutMode::Subscription,
            Some("payment") => CheckoutMode::Payment,
            Some("setup") => CheckoutMode::Setup,
            // The first sessions have no mode.
            None if subscription.is_some() => CheckoutMode::Subscription,
            _ => CheckoutMode::Unknown,
        },
        // A status that this version does not know is not a payment.
        paid: text!(session, "payment_status")?
            .map(|status| matches!(status, "paid" | "no_payment_required")),
        customer: customer(session)?,
        subscription,
        tenant: stamp.into_tenant(),
        reference,
    };
    let fact = if facts.mode != CheckoutMode::Subscription {
        Fact::Ignored { reason: "the checkout sells no subscription" }
    } else if facts.paid == Some(false) {
        Fact::Ignored { reason: "the checkout is not paid" }
    } else if facts.customer.is_none() && facts.subscription.is_none() {
        Fact::Ignored { reason: "the checkout has neither a customer nor a subscription" }
    } else {
        Fact::CheckoutCompleted(facts)
    };
    Ok(NamedFact { fact, ignored_if_unknown })
}

/// Reads a checkout session that ended without a purchase.
pub(super) fn ended(
    session: &Value,
    names: &TenantNames,
    action: &'static str,
) -> Result<NamedFact, Malformed> {
    let mut facts = RecordedFacts::new(action);
    facts.target = id!(session, "id")?.map(|id| (CHECKOUT, id));
    facts.customer = customer(session)?;
    facts.subscription = id!(session, "subscription")?;
    facts.tenant = names.stamp(session)?.into_tenant().or(names.reference(session)?);
    facts.details = details(session, &["mode", "payment_status"]);
    if facts.customer.is_none() && facts.subscription.is_none() && facts.tenant.is_none() {
        return Ok(Fact::Ignored { reason: "the checkout names neither a customer nor a tenant" }.into());
    }
    Ok(NamedFact { fact: Fact::Recorded(facts), ignored_if_unknown: Some(ONLY_RECORDED) })
}
