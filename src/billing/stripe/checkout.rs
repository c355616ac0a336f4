//! The facts in a completed checkout.

use serde_json::Value;

use super::fields::Malformed;
use super::subscription::customer;
use super::tenant_names::{NamedFact, TenantNames};
use crate::billing::{CheckoutFacts, CheckoutMode, Fact};

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
