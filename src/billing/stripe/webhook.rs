//! [`StripeWebhook`]: handles one request, from the verification of its signature to the commit.

use std::sync::Arc;

use super::events::StripeEvents;
use super::mode::{Accounts, Mode};
use super::references::CheckoutReferences;
use super::verify::SigningSecrets;
use crate::billing::{BillingEvent, BillingStore, EventOutcome, Fact, Provider, process};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Catalog;
use crate::tenant::TenantStore;

/// The longest body that is parsed, in bytes.
const MAX_BODY: usize = 1 << 20;
/// How often a transaction that conflicts with others is run, the first run included.
const MAX_ATTEMPTS: usize = 5;

/// A webhook endpoint: verifies, parses and applies one event in one transaction.
///
/// In Stripe, subscribe the endpoint to `checkout.session.completed`, `customer.subscription.created`, `.updated` and
/// `.deleted`, `invoice.paid` and `invoice.payment_failed`. When you create a checkout, write the tenant's id into
/// its metadata: as `metadata[tenant_id]` and as `subscription_data[metadata][tenant_id]`.
#[derive(Debug, Clone)]
pub struct StripeWebhook {
    secrets: SigningSecrets,
    events: StripeEvents,
    store: Arc<dyn BillingStore>,
    catalog: Arc<Catalog>,
    tenants: Arc<dyn TenantStore>,
    clock: Arc<dyn Clock>,
}

impl StripeWebhook {
    /// An endpoint that writes to `store`, and passes each changed tenant to [`committed`](TenantStore::committed) of
    /// `tenants`, which may be a cache.
    pub fn new(
        secrets: SigningSecrets,
        mode: Mode,
        store: Arc<dyn BillingStore>,
        catalog: impl Into<Arc<Catalog>>,
        tenants: Arc<dyn TenantStore>,
    ) -> Self {
        Self {
            secrets,
            events: StripeEvents::new(mode),
            store,
            catalog: catalog.into(),
            tenants,
            clock: Arc::new(SystemClock),
        }
    }

    /// Replaces the system clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sets the accounts whose events are used; [`Accounts::Own`] by default.
    #[must_use]
    pub fn accounts(self, accounts: Accounts) -> Self {
        Self { events: self.events.accounts(accounts), ..self }
    }

    /// Sets the keys that sign the `client_reference_id` of checkouts, as
    /// [`StripeEvents::checkout_references`] does.
    #[must_use]
    pub fn checkout_references(self, keys: impl Into<Arc<CheckoutReferences>>) -> Self {
        Self { events: self.events.checkout_references(keys), ..self }
    }

    /// Handles one request: its body, byte for byte as received, and the values of all its `Stripe-Signature`
    /// headers.
    ///
    /// Respond with these statuses, so that Stripe retries only what can succeed later:
    ///
    /// | result | status |
    /// |---|---|
    /// | `Ok`, whatever the outcome | 200 |
    /// | [`ErrorKind::SignatureInvalid`] | 400, with an empty body |
    /// | [`ErrorKind::InvalidInput`] | 400; 413 if your server rejected the body for its length |
    /// | [`ErrorKind::Misconfigured`] (thin events) | 422 |
    /// | any other error | 503 |
    ///
    /// [`EventOutcome::Quarantined`] is a 200 as well: the event is stored, and Stripe would disable an endpoint that
    /// rejects it for days.
    ///
    /// # Errors
    /// [`ErrorKind::SignatureInvalid`] as in [`SigningSecrets::verify`]; [`ErrorKind::InvalidInput`] if the body is
    /// longer than 1 MiB or not an event; [`ErrorKind::Misconfigured`] if it is a thin event; and the errors of the
    /// store, after which nothing is changed.
    pub async fn receive(&self, body: &[u8], signatures: &[&[u8]]) -> Result<EventOutcome> {
        if body.len() > MAX_BODY {
            return Err(Error::new(ErrorKind::InvalidInput, "the webhook's body is longer than 1 MiB"));
        }
        self.secrets.verify(body, signatures, self.clock.now())?;
        let event = self.events.read(body)?;
        if let Fact::Ignored { reason } = event.fact {
            return Ok(EventOutcome::Ignored { reason });
        }
        let outcome = self.apply(&event).await?;
        if let EventOutcome::Applied { tenant } = &outcome {
            self.tenants.committed(tenant).await;
        }
        Ok(outcome)
    }

    /// Runs the transaction, and repeats it if it conflicts with another one.
    async fn apply(&self, event: &BillingEvent) -> Result<EventOutcome> {
        let mut attempt = 1;
        loop {
            match self.try_apply(event).await {
                Err(conflict)
                    if attempt < MAX_ATTEMPTS
                        && matches!(conflict.kind(), ErrorKind::Retryable | ErrorKind::StaleVersion) =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn try_apply(&self, event: &BillingEvent) -> Result<EventOutcome> {
        let mut tx = self.store.begin().await?;
        let outcome = process(&mut *tx, &self.events, event, &self.catalog, &*self.clock).await?;
        tx.commit().await?;
        Ok(outcome)
    }
}
