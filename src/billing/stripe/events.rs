//! [`StripeEvents`]: the [`Provider`] of Stripe.

use std::sync::Arc;

use serde_json::Value;

use super::envelope::Unusable;
use super::mode::{Accounts, Mode};
use super::references::CheckoutReferences;
use super::tenant_names::TenantNames;
use super::translate::translate;
use crate::billing::{BillingEvent, Provider};
use crate::error::{Error, ErrorKind, Result};

/// Parses Stripe's events, after their signature is verified.
#[derive(Debug, Clone)]
pub struct StripeEvents {
    mode: Mode,
    accounts: Accounts,
    pub(super) names: TenantNames,
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

    /// Names this installation, if several programs with tenants of their own use one Stripe account.
    ///
    /// Then a `tenant_id` in metadata counts only next to a `tenancy_installation` with this name. Otherwise another
    /// program wrote it, and [`ignored_if_unknown`](BillingEvent::ignored_if_unknown) contains a reason.
    ///
    /// ```
    /// use tenancy::billing::stripe::{Mode, StripeEvents};
    /// use tenancy::billing::{Fact, Provider};
    ///
    /// let events = StripeEvents::new(Mode::Test).installation("eu")?;
    /// for (installation, tenant) in [("eu", Some("7")), ("us", None)] {
    ///     let event = serde_json::json!({
    ///         "object": "event", "id": "evt_1", "type": "customer.subscription.created",
    ///         "created": 1_700_000_000, "livemode": false,
    ///         "data": { "object": {
    ///             "id": "sub_1", "customer": "cus_1", "status": "active",
    ///             "metadata": { "tenant_id": "7", "tenancy_installation": installation },
    ///         } },
    ///     });
    ///     let event = events.read(event.to_string().as_bytes())?;
    ///     assert_eq!(event.ignored_if_unknown.is_some(), installation == "us");
    ///     assert_eq!(event.subjects().tenant, tenant);
    /// }
    /// # Ok::<(), tenancy::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if the name is not 1 to 64 letters, digits, `-`
    /// and `_`.
    ///
    /// # Security
    /// Name every installation of the account. An installation without a name uses the stamps of all others, and with
    /// integer ids tenant `7` exists in each of them. Write the second key into new checkouts before you set the name.
    pub fn installation(mut self, name: impl AsRef<str>) -> Result<Self> {
        self.names.set_installation(name.as_ref())?;
        Ok(self)
    }

    pub(super) fn is_in_mode(&self, livemode: bool) -> bool {
        livemode == (self.mode == Mode::Live)
    }

    /// Checks that an object that was read is of the mode of this program.
    pub(super) fn check_mode(&self, object: &Value) -> Result<()> {
        match object["livemode"].as_bool() {
            Some(live) if live != (self.mode == Mode::Live) => Err(Error::new(
                ErrorKind::Misconfigured,
                "the secret key is of the other mode than the webhook, live or test; use the keys of one mode",
            )),
            _ => Ok(()),
        }
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
