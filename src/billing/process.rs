//! [`process()`]: applies one event in an open transaction. The rules about subscriptions are in `decision.rs`.

use std::sync::Arc;

use super::context::BillingContext;
use super::event::{BillingEvent, EventSubjects, Fact};
use super::outcome::EventOutcome;
use super::owner::{Owner, has_other_payer, owner};
use super::records;
use super::store::{BillingTx, Quarantined};
use crate::context::unknown_tenant;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Tenant, TenantId};

/// Applies one event in an open transaction: skips it if it was processed before, finds its tenant, and writes what
/// changes to `tx`.
///
/// The caller commits after `Ok`, whatever the outcome. After an error the caller drops the transaction: then the
/// event counts as not processed, and its next delivery starts from the beginning.
///
/// The tenant is the stored one of the subscription or of the customer; else the existing tenant whose id is in the
/// object's metadata; else the one in the reference of the checkout. An event that contradicts the stored state never
/// moves a customer to another tenant: it goes to the quarantine.
///
/// # Errors
/// Only the errors of the transaction.
pub async fn process<T: BillingTx + ?Sized>(
    tx: &mut T,
    context: BillingContext<'_>,
    event: &BillingEvent,
) -> Result<EventOutcome> {
    if let Fact::Ignored { reason } = event.fact {
        return Ok(EventOutcome::Ignored { reason });
    }
    let mut processor = EventProcessor { tx, context };
    if !processor.tx.record_once(&event.id, event.account.as_deref(), context.clock.now()).await? {
        return Ok(EventOutcome::Duplicate);
    }
    processor.run(event).await
}

/// Applies what this program read from the billing system. What cannot be applied is ignored.
pub(super) async fn process_read<T: BillingTx + ?Sized>(
    tx: &mut T,
    context: BillingContext<'_>,
    event: &BillingEvent,
) -> Result<EventOutcome> {
    EventProcessor { tx, context }.run(event).await
}

/// Links a customer that this program created for a tenant.
pub(super) async fn link<T: BillingTx + ?Sized>(
    tx: &mut T,
    context: BillingContext<'_>,
    (customer, tenant): (&str, &TenantId),
) -> Result<()> {
    tx.advisory_lock(customer).await?;
    let tenant = tx.lock_tenant(tenant).await?.ok_or_else(unknown_tenant)?;
    let is_new = tx.tenant_of_customer(customer).await?.is_none();
    if tx.link_customer(customer, tenant.id(), context.clock.now()).await? != *tenant.id() {
        return Err(Error::new(ErrorKind::Conflict, "the customer is linked to another tenant"));
    }
    if is_new {
        let processor = EventProcessor { tx, context };
        let link = processor.by_billing(&tenant, "billing.link").target("customer", customer);
        processor.tx.record(&link).await?;
    }
    Ok(())
}

/// Applies an event of the quarantine again. `None` if the quarantine has no such event.
///
/// An event that still cannot be applied returns to the quarantine.
///
/// # Errors
/// As [`process`]; and [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the event cannot be parsed: then
/// drop the transaction, and the event stays.
pub async fn replay<T: BillingTx + ?Sized>(
    tx: &mut T,
    context: BillingContext<'_>,
    (event, account): (&str, Option<&str>),
) -> Result<Option<EventOutcome>> {
    let Some(quarantined) = tx.take_event(event, account).await? else { return Ok(None) };
    let event = context.provider.read(&quarantined.raw)?;
    let outcome = EventProcessor { tx: &mut *tx, context }.run(&event).await?;
    if matches!(outcome, EventOutcome::Ignored { .. }) {
        tx.quarantine(&quarantined).await?;
    }
    Ok(Some(outcome))
}

/// Computes a tenant's plan and status again from its stored subscriptions: after a change of the catalog, or after an
/// operator lifted a status. Returns the tenant if it changed.
///
/// # Errors
/// [`ErrorKind::TenantUnknown`](crate::ErrorKind::TenantUnknown), and the errors of the transaction.
pub async fn recompute<T: BillingTx + ?Sized>(
    tx: &mut T,
    context: BillingContext<'_>,
    tenant: &TenantId,
) -> Result<Option<Arc<Tenant>>> {
    EventProcessor { tx, context }.recompute(tenant, "billing.recompute").await
}

/// Computes a tenant whose grace has ended, as [`recompute`] does.
pub(super) async fn end_grace<T: BillingTx + ?Sized>(
    tx: &mut T,
    context: BillingContext<'_>,
    tenant: &TenantId,
) -> Result<Option<Arc<Tenant>>> {
    EventProcessor { tx, context }.recompute(tenant, "billing.grace_ended").await
}

/// The outcome of an event and of the quarantined events after it: the one with the tenant that was written last.
fn latest_applied(so_far: EventOutcome, next: EventOutcome) -> EventOutcome {
    if matches!(next, EventOutcome::Applied { .. }) { next } else { so_far }
}

const UNKNOWN_TENANT: &str = "no tenant is known for this customer or subscription";
const CONTRADICTION: &str = "the event names another tenant than the one that is stored";
const AHEAD: &str = "the event is dated more than a day ahead";
const SECOND_CUSTOMER: &str = "the tenant has a live subscription of another customer";

/// How far ahead of the clock a live event may be dated. One from a far future would outdate all others.
const MAX_AHEAD_SECONDS: i64 = 24 * 60 * 60;

/// Applies events in one transaction. What each fact changes is in `effects.rs`.
pub(super) struct EventProcessor<'a, T: ?Sized> {
    pub(super) tx: &'a mut T,
    pub(super) context: BillingContext<'a>,
}

impl<T: BillingTx + ?Sized> EventProcessor<'_, T> {
    /// Applies an event, and those in the quarantine that waited for its link or for the end of its subscription.
    async fn run(&mut self, event: &BillingEvent) -> Result<EventOutcome> {
        if let Fact::Ignored { reason } = event.fact {
            return Ok(EventOutcome::Ignored { reason });
        }
        let event = &*event.in_account();
        let (mut result, linked) = self.handle(event).await?;
        let subjects = event.subjects();
        let mut waiting = Vec::new();
        if linked {
            waiting = self.tx.take_quarantined(subjects.customer, subjects.subscription).await?;
        }
        let ended = match (&event.fact, subjects) {
            (Fact::CustomerDeleted { .. }, EventSubjects { customer: Some(customer), .. }) => {
                self.tx.tenant_of_customer(customer).await?
            }
            (_, EventSubjects { subscription: Some(subscription), .. }) if event.ends_subscription() => {
                self.tx.tenant_of_subscription(subscription).await?
            }
            _ => None,
        };
        if let Some(tenant) = ended {
            waiting.extend(self.tx.take_blocked(&tenant).await?);
        }
        while let Some(quarantined) = (!waiting.is_empty()).then(|| waiting.remove(0)) {
            let Ok(event) = self.context.provider.read(&quarantined.raw) else {
                // An event that can no longer be parsed must not block the others; it returns to the quarantine.
                self.tx.quarantine(&quarantined).await?;
                continue;
            };
            let event = &*event.in_account();
            let (outcome, linked) = self.handle(event).await?;
            if matches!(outcome, EventOutcome::Ignored { .. }) {
                self.tx.quarantine(&quarantined).await?;
            }
            result = latest_applied(result, outcome);
            if linked {
                let subjects = event.subjects();
                waiting.extend(self.tx.take_quarantined(subjects.customer, subjects.subscription).await?);
            }
        }
        Ok(result)
    }

    /// Applies an event with the ids that are stored. The second value is whether its customer was linked by this event.
    async fn handle(&mut self, event: &BillingEvent) -> Result<(EventOutcome, bool)> {
        if let Fact::Unreadable { reason } = event.fact {
            return Ok((self.quarantine(event, reason).await?, false));
        }
        if event.livemode && event.created.seconds() > self.context.clock.now().seconds() + MAX_AHEAD_SECONDS
        {
            return Ok((self.quarantine(event, AHEAD).await?, false));
        }
        let subjects = event.subjects();
        for key in [subjects.customer, subjects.subscription].into_iter().flatten() {
            self.tx.advisory_lock(key).await?;
        }
        let (id, named) = match owner(self.tx, subjects, event.ends_subscription()).await? {
            Owner::Stored(id) => (id, false),
            Owner::Named(id) => (id, true),
            Owner::Unknown => {
                let outcome = match event.ignored_if_unknown {
                    Some(reason) => EventOutcome::Ignored { reason },
                    None => self.quarantine(event, UNKNOWN_TENANT).await?,
                };
                return Ok((outcome, false));
            }
            Owner::Contradiction => return Ok((self.quarantine(event, CONTRADICTION).await?, false)),
        };
        let Some(tenant) = self.tx.lock_tenant(&id).await? else {
            return Ok((self.quarantine(event, UNKNOWN_TENANT).await?, false));
        };
        // Until its subscription is stored, a completed checkout keeps the tenant from another one.
        let is_known = match (&event.fact, subjects.subscription) {
            (Fact::CheckoutCompleted(_), Some(sold)) => self.tx.tenant_of_subscription(sold).await?.is_some(),
            _ => true,
        };
        if let (Some(checkout), true) = (subjects.checkout, is_known) {
            self.tx.close_checkout(checkout, self.context.clock.now()).await?;
        }
        let mut linked = false;
        if let Some(customer) = subjects.customer
            && event.may_link()
            && self.tx.tenant_of_customer(customer).await?.is_none()
        {
            if named
                && matches!(event.fact, Fact::CheckoutCompleted(_))
                && has_other_payer(self.tx, &id, customer).await?
            {
                return Ok((self.quarantine_for(event, SECOND_CUSTOMER, Some(id)).await?, false));
            }
            if self.tx.link_customer(customer, &id, self.context.clock.now()).await? != id {
                return Ok((self.quarantine(event, CONTRADICTION).await?, false));
            }
            let link = self.audit(event, &tenant, "billing.link").target("customer", customer);
            self.tx.record(&link).await?;
            linked = true;
        }
        let outcome = match &event.fact {
            Fact::Subscription(facts) => self.subscription(event, tenant, facts, linked).await?,
            Fact::PaymentSucceeded(facts) => {
                self.payment(event, tenant, facts, "billing.payment_succeeded", linked).await?
            }
            Fact::PaymentFailed(facts) => {
                self.payment(event, tenant, facts, "billing.payment_failed", linked).await?
            }
            Fact::Recorded(facts) => {
                let record = records::recorded(self.audit(event, &tenant, facts.action), facts);
                self.tx.record(&record).await?;
                self.notify(&tenant, Some(event), facts.notice.iter().cloned().collect()).await?;
                match &facts.dispute {
                    Some((id, status)) => self.dispute(event, tenant, id, status).await?,
                    None => EventOutcome::Unchanged,
                }
            }
            Fact::CustomerDeleted { customer } => self.customer_deleted(event, tenant, customer).await?,
            Fact::CheckoutCompleted(_) | Fact::Ignored { .. } | Fact::Unreadable { .. } => {
                unchanged(tenant, linked)
            }
        };
        Ok((outcome, linked))
    }

    async fn quarantine(&mut self, event: &BillingEvent, reason: &'static str) -> Result<EventOutcome> {
        self.quarantine_for(event, reason, None).await
    }

    /// Puts an event into the quarantine. `blocked_by` is the tenant whose subscription keeps it there.
    async fn quarantine_for(
        &mut self,
        event: &BillingEvent,
        reason: &'static str,
        blocked_by: Option<TenantId>,
    ) -> Result<EventOutcome> {
        if event.is_read() {
            // It is read again, or reported by who read it.
            return Ok(EventOutcome::Ignored { reason });
        }
        tracing::warn!(event = %event.id, kind = %event.kind, reason, "a billing event went to the quarantine");
        self.tx.quarantine(&Quarantined::new(event, reason, blocked_by, self.context.clock.now())).await?;
        Ok(EventOutcome::Quarantined { reason })
    }
}

pub(super) fn unchanged(tenant: Tenant, linked: bool) -> EventOutcome {
    if linked { EventOutcome::Applied { tenant: Arc::new(tenant) } } else { EventOutcome::Unchanged }
}
