//! [`StripeWebhook`]: handles one request, from the verification of its signature to the commit.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::api::StripeApi;
use super::envelope::Unusable;
use super::events::StripeEvents;
use super::mode::{Accounts, Mode};
use super::received::Received;
use super::references::CheckoutReferences;
use super::verify::{SigningSecrets, hex};
use crate::billing::repeat::{is_conflict, repeat};
use crate::billing::{
    BillingContext, BillingEvent, BillingPolicy, BillingStore, EventOutcome, Fact, Quarantined, process,
};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Catalog;
use crate::tenant::TenantStore;

/// The longest body that is parsed, in bytes.
const MAX_BODY: usize = 1 << 20;
/// After how many failures an event goes to the quarantine. Stripe sends it again within hours, and for three days.
const MAX_FAILURES: u32 = 5;

/// A webhook endpoint: verifies, parses and applies one event in one transaction.
///
/// [`StripeBilling`](super::StripeBilling) creates checkouts. In a checkout of your own, write the tenant's id into its metadata: as `metadata[tenant_id]` and as
/// `subscription_data[metadata][tenant_id]`. In Stripe, subscribe the endpoint to these events:
///
/// | events | effect |
/// |---|---|
/// | `customer.subscription.created`, `.updated`, `.deleted` | **required**: the tenant's plan and status |
/// | `checkout.session.completed`, `.async_payment_succeeded` | **required**: a paid checkout of a subscription links its customer to the tenant |
/// | `customer.deleted` | ends every live subscription of the customer |
/// | `customer.subscription.paused`, `.resumed`, `.pending_update_applied`, `.pending_update_expired` | as `.updated`, which Stripe sends too |
/// | `customer.subscription.trial_will_end` | the same, and `billing.trial_will_end` if the trial ends in the future |
/// | `invoice.paid`, `invoice.payment_succeeded` | `billing.payment_succeeded`, once if both come |
/// | `invoice.payment_failed` | `billing.payment_failed` |
/// | `invoice.payment_action_required`, `.payment_attempt_required` | `billing.payment_action_required`, `billing.payment_attempt_required` |
/// | `invoice.upcoming`, `.overdue`, `.overpaid`, `.marked_uncollectible`, `.finalization_failed` | `billing.invoice_upcoming`, `_overdue`, `_overpaid`, `_uncollectible`, `_finalization_failed` |
/// | `checkout.session.async_payment_failed`, `.expired` | `billing.checkout_payment_failed`, `billing.checkout_expired` |
/// | `charge.refunded` | `billing.charge_refunded` |
/// | `subscription_schedule.*` | `billing.subscription_schedule` |
/// | `entitlements.active_entitlement_summary.updated` | `billing.entitlements` |
/// | `billing.alert.triggered` | `billing.alert` |
/// | `v1.billing.meter.error_report_triggered`, `v1.billing.meter.no_meter_found` (thin events only) | the usage is given up: `UsageSender::dead` |
/// | `charge.dispute.*`, `radar.early_fraud_warning.created`, `invoice_payment.paid` | `billing.dispute`, `billing.early_fraud_warning`, `billing.invoice_payment_paid` if the customer is in the object. Stripe usually sends only the id of the charge or invoice: [`StripeBilling::webhook`](super::StripeBilling::webhook) reads it, and without an API the event is ignored |
///
/// `billing.*` is the action of an audit event, whose detail `event_kind` has the type of Stripe's event. Such events
/// never change access, except disputes under [`BillingPolicy::suspend_disputed`]. One of an unknown customer is
/// ignored, except an invoice, which waits in the quarantine. Events of every other type are [`EventOutcome::Ignored`].
#[derive(Debug, Clone)]
pub struct StripeWebhook {
    secrets: SigningSecrets,
    pub(super) events: StripeEvents,
    pub(super) store: Arc<dyn BillingStore>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) tenants: Arc<dyn TenantStore>,
    pub(super) clock: Arc<dyn Clock>,
    /// Where the current state of an object can be read.
    pub(super) api: Option<Arc<dyn StripeApi>>,
    pub(super) policy: Arc<BillingPolicy>,
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
            api: None,
            policy: Arc::default(),
        }
    }

    /// Replaces the system clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sets where the present state of an object is read.
    pub(super) fn with_api(self, api: Arc<dyn StripeApi>) -> Self {
        Self { api: Some(api), ..self }
    }

    /// Sets when billing closes a tenant; [`BillingPolicy::new`] by default. Call [`recompute`](Self::recompute) for each
    /// tenant after a change.
    #[must_use]
    pub fn policy(self, policy: BillingPolicy) -> Self {
        Self { policy: policy.into(), ..self }
    }

    /// Sets the accounts whose events are used; [`Accounts::Own`] by default.
    #[must_use]
    pub fn accounts(self, accounts: Accounts) -> Self {
        Self { events: self.events.accounts(accounts), ..self }
    }

    /// Sets the keys that sign the `client_reference_id` of checkouts, as
    /// [`StripeEvents::checkout_references`] does.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tenancy::billing::stripe::{CheckoutReferences, StripeWebhook};
    ///
    /// fn webhook(stripe: StripeWebhook, references: &Arc<CheckoutReferences>) -> StripeWebhook {
    ///     stripe.checkout_references(references.clone())
    /// }
    /// ```
    #[must_use]
    pub fn checkout_references(self, keys: impl Into<Arc<CheckoutReferences>>) -> Self {
        Self { events: self.events.checkout_references(keys), ..self }
    }

    /// Names this installation, if several programs with tenants of their own use one Stripe account, as
    /// [`StripeEvents::installation`] does. An event that is known only by the stamp of another installation is
    /// [`EventOutcome::Ignored`].
    ///
    /// ```
    /// use tenancy::billing::stripe::StripeWebhook;
    ///
    /// fn webhook(stripe: StripeWebhook) -> tenancy::Result<StripeWebhook> {
    ///     stripe.installation("eu")
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`StripeEvents::installation`].
    pub fn installation(self, name: impl AsRef<str>) -> Result<Self> {
        Ok(Self { events: self.events.installation(name)?, ..self })
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
    /// | [`ErrorKind::InvalidInput`] (too long) | 400; 413 if your server rejected the body for its length |
    /// | [`ErrorKind::Misconfigured`] (thin events, and no API to read from) | 422 |
    /// | any other error | 503 |
    ///
    /// [`EventOutcome::Quarantined`] is a 200 as well: the event is stored, and Stripe would disable an endpoint that
    /// rejects it for days. A signed body that is not an event is stored too, under the id `sha256:` and the SHA-256 of
    /// the body.
    ///
    /// # Errors
    /// [`ErrorKind::SignatureInvalid`] as in [`SigningSecrets::verify`]; [`ErrorKind::InvalidInput`] if the body is
    /// longer than 1 MiB; [`ErrorKind::Misconfigured`] if it is a thin event, and this is not
    /// [`StripeBilling::webhook`](super::StripeBilling::webhook); the errors of Stripe's API for a thin event; and the
    /// errors of the store, after which nothing is changed.
    pub async fn receive(&self, body: &[u8], signatures: &[&[u8]]) -> Result<EventOutcome> {
        check_length(body)?;
        self.secrets.verify(body, signatures, self.clock.now())?;
        self.receive_verified(body).await
    }

    /// Handles a body whose signature is verified, or which a test wrote.
    pub(super) async fn receive_verified(&self, body: &[u8]) -> Result<EventOutcome> {
        check_length(body)?;
        let received = match self.events.translate(body) {
            Ok(event @ BillingEvent { fact: Fact::Ignored { reason }, .. }) => {
                match self.named_by_parent(body, &event, reason).await? {
                    Some(named) => Received::Event(Box::new(named)),
                    None => Received::ignored(reason),
                }
            }
            Ok(event) => Received::Event(Box::new(event)),
            Err(Unusable::NotAnEvent(reason)) => Received::NotAnEvent { body, reason },
            Err(Unusable::Thin) => self.read_thin(body).await?,
        };
        let outcome = match (self.apply(&received).await, &received) {
            (Err(error), Received::Event(event)) if !error.is_transient() && !is_conflict(&error) => {
                self.failed(event, error).await?
            }
            (outcome, _) => outcome?,
        };
        self.committed(&outcome).await;
        match received {
            Received::Event(event)
                if outcome == EventOutcome::NeedsRefresh || event.is_purchase(&outcome) =>
            {
                self.refresh_after(&event, outcome).await
            }
            _ => Ok(outcome),
        }
    }

    /// What the events are processed with.
    pub(super) fn context(&self) -> BillingContext<'_> {
        BillingContext::new(&self.events, &self.catalog, &*self.clock).policy(&self.policy)
    }

    /// Passes a tenant that was changed to the store of tenants, which may be a cache.
    pub(super) async fn committed(&self, outcome: &EventOutcome) {
        if let EventOutcome::Applied { tenant } = outcome {
            self.tenants.committed(tenant).await;
        }
    }

    /// Runs the transaction, and repeats it if it conflicts with another one.
    async fn apply(&self, received: &Received<'_>) -> Result<EventOutcome> {
        repeat(|| async {
            match received {
                Received::Event(event) => self.try_apply(event).await,
                Received::NotAnEvent { body, reason } => self.try_quarantine(body, reason).await,
                Received::Handled(outcome) => Ok(outcome.clone()),
            }
        })
        .await
    }

    /// Counts the failure of an event that fails again if nothing changes. After the last one the event goes to the
    /// quarantine, so that it does not block the endpoint for days.
    pub(super) async fn failed(&self, event: &BillingEvent, error: Error) -> Result<EventOutcome> {
        const REASON: &str = "the event failed several times; the log has the error";
        let (now, account) = (self.clock.now(), event.account.as_deref());
        let mut tx = self.store.begin().await?;
        let failures = tx.record_failure(&event.id, account, now).await?;
        let last = failures >= MAX_FAILURES;
        if last {
            tracing::error!(event = %event.id, kind = %event.kind, %error, "a billing event failed and went to the quarantine");
            if !tx.record_once(&event.id, account, now).await? {
                return Ok(EventOutcome::Duplicate);
            }
            tx.quarantine(&Quarantined::new(&event.in_account(), REASON, None, now)).await?;
        }
        tx.commit().await?;
        if last { Ok(EventOutcome::Quarantined { reason: REASON }) } else { Err(error) }
    }

    async fn try_apply(&self, event: &BillingEvent) -> Result<EventOutcome> {
        let mut tx = self.store.begin().await?;
        let outcome = process(&mut *tx, self.context(), event).await?;
        // An event that is ignored counts as not processed: its tenant may become known later.
        if !matches!(outcome, EventOutcome::Ignored { .. }) {
            tx.commit().await?;
        }
        Ok(outcome)
    }

    /// Reads the subscription of an event that does not contain its present state, if an API is set. If the read fails, the
    /// outcome of the event stays.
    async fn refresh_after(&self, event: &BillingEvent, outcome: EventOutcome) -> Result<EventOutcome> {
        let (Some(api), Some(subscription)) = (&self.api, event.subjects().subscription) else {
            return Ok(outcome);
        };
        match self.read_subscription(&**api, subscription, event.account.as_deref()).await {
            Ok(Some(read @ EventOutcome::Applied { .. })) => Ok(read),
            Ok(Some(EventOutcome::Unchanged)) if outcome == EventOutcome::NeedsRefresh => {
                Ok(EventOutcome::Unchanged)
            }
            Ok(_) => Ok(outcome),
            Err(error) => {
                tracing::warn!(event = %event.id, %error, "a subscription could not be read; read it later");
                Ok(outcome)
            }
        }
    }

    async fn try_quarantine(&self, body: &[u8], reason: &'static str) -> Result<EventOutcome> {
        let event = format!("sha256:{}", hex(&Sha256::digest(body)));
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        if !tx.record_once(&event, None, now).await? {
            return Ok(EventOutcome::Duplicate);
        }
        tracing::warn!(event, reason, "a signed webhook body that is not an event went to the quarantine");
        tx.quarantine(&Quarantined {
            event,
            account: None,
            customer: None,
            subscription: None,
            tenant: None,
            reason: reason.to_owned(),
            created: now,
            received: now,
            raw: body.to_vec(),
        })
        .await?;
        tx.commit().await?;
        Ok(EventOutcome::Quarantined { reason })
    }
}

fn check_length(body: &[u8]) -> Result<()> {
    if body.len() > MAX_BODY {
        return Err(Error::new(ErrorKind::InvalidInput, "the webhook's body is longer than 1 MiB"));
    }
    Ok(())
}
