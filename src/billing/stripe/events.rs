//! [`StripeEvents`]: the [`Provider`] of Stripe.

use std::sync::Arc;

use super::envelope::Unusable;
use super::mode::{Accounts, Mode};
use super::references::CheckoutReferences;
use super::tenant_names::TenantNames;
use super::translate::translate;
use crate::billing::{BillingEvent, Provider};
use crate::error::Result;

/// Parses Stripe's events, after their signature is verified.
#[derive(Debug, Clone)]
pub struct StripeEvents {
    mode: Mode,
    accounts: Accounts,
    names: TenantNames,
}

impl StripeEvents {
    /// Uses events of your own account in this mode. All others become
    /// [`Fact::Ignored`](crate::billing::Fact::Ignored).
    pub fn new(mode: Mode) -> Self {
        Self { mode, accounts: Accounts::Own, names: TenantNames::default() }
    }

    /// Sets the accounts whose events are used.
    #[must_use]
    pub fn accounts(self, accounts: Accounts) -> Self {
        Self { accounts, ..self }
    }

    /// Sets the keys that sign the `client_reference_id` of checkouts. Without keys no `client_reference_id` is used.
    ///
    /// ```
    /// use tenancy::billing::stripe::{CheckoutReferences, Mode, StripeEvents};
    /// use tenancy::billing::{Fact, Provider};
    /// use tenancy::tenant::TenantId;
    ///
    /// # let secret = [7; 32];
    /// let references = CheckoutReferences::new("2026-11", secret)?;
    /// let signed = references.reference(&TenantId::parse("acme")?);
    /// let events = StripeEvents::new(Mode::Test).checkout_references(references);
    /// for (reference, tenant) in [(signed.as_str(), Some("acme")), ("acme", None)] {
    ///     let event = serde_json::json!({
    ///         "object": "event", "id": "evt_1", "type": "checkout.session.completed",
    ///         "created": 1_700_000_000, "livemode": false,
    ///         "data": { "object": {
    ///             "id": "cs_1", "mode": "subscription", "payment_status": "paid",
    ///             "customer": "cus_1", "client_reference_id": reference,
    ///         } },
    ///     });
    ///     let event = events.read(event.to_string().as_bytes())?;
    ///     let Fact::CheckoutCompleted(facts) = event.fact else { panic!() };
    ///     assert_eq!(facts.reference.as_deref(), tenant);
    /// }
    /// # Ok::<(), tenancy::Error>(())
    /// ```
    #[must_use]
    pub fn checkout_references(mut self, keys: impl Into<Arc<CheckoutReferences>>) -> Self {
        self.names.set_references(keys.into());
        self
    }

    pub(super) fn translate(&self, raw: &[u8]) -> Result<BillingEvent, Unusable> {
        translate(raw, self.mode, self.accounts, &self.names)
    }
}

impl Provider for StripeEvents {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn read(&self, raw: &[u8]) -> Result<BillingEvent> {
        self.translate(raw).map_err(Unusable::into_error)
    }
}
