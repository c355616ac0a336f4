//! [`process()`]: applies one event in an open transaction. The rules about subscriptions are in `decision.rs`.

use std::sync::Arc;

use uuid::Uuid;

use super::decision::{EventOrder, ReviewItem, decide};
use super::event::{BillingEvent, EventSubjects, Fact, PaymentFacts, SubscriptionFacts};
use super::provider::Provider;
use super::store::{BillingTx, Quarantined};
use crate::audit::AuditEvent;
use crate::clock::Clock;
use crate::context::Actor;
use crate::error::Result;
use crate::plan::Catalog;
use crate::tenant::{Tenant, TenantId};

/// The outcome of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum EventOutcome {
    /// Something changed: the tenant, or the customer that is linked to it.
    Applied {
        /// The tenant after the event.
        tenant: Arc<Tenant>,
    },
    /// The event changed nothing.
    Unchanged,
    /// The event was processed before.
    Duplicate,
    /// The event is older than the stored state.
    Stale,
    /// Two events of one second, whose order cannot be known: the tenant does not change until the next event, or
    /// until a person reviews it.
    NeedsRefresh,
    /// The event is of a type, mode or account that this program does not use.
    Ignored {
        /// Why.
        reason: &'static str,
    },
    /// The event is in the quarantine.
    Quarantined {
        /// Why.
        reason: &'static str,
    },
}

impl EventOutcome {
    /// The outcome as a stable word in kebab case, for logs and responses.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "applied",
            Self::Unchanged => "unchanged",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::NeedsRefresh => "needs-refresh",
            Self::Ignored { .. } => "ignored",
            Self::Quarantined { .. } => "quarantined",
        }
    }
}

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
    provider: &dyn Provider,
    event: &BillingEvent,
    catalog: &Catalog,
    clock: &dyn Clock,
) -> Result<EventOutcome> {
    if let Fact::Ignored { reason } = event.fact {
        return Ok(EventOutcome::Ignored { reason });
    }
    let mut processor = EventProcessor { tx, provider, catalog, clock };
    if !processor.tx.record_once(&event.id, event.account.as_deref(), clock.now()).await? {
        return Ok(EventOutcome::Duplicate);
    }
    let (mut result, linked) = processor.handle(event).await?;
    if linked {
        let subjects = event.subjects();
        for quarantined in processor.tx.take_quarantined(subjects.customer, subjects.subscription).await? {
            match provider.read(&quarantined.raw) {
                Ok(event) => result = latest_applied(result, processor.handle(&event).await?.0),
                // An event that can no longer be parsed must not block the others; it returns to the quarantine.
                Err(_) => processor.tx.quarantine(&quarantined).await?,
            }
        }
    }
    Ok(result)
}

/// The outcome of an event and of the quarantined events after it: the one with the tenant that was written last.
fn latest_applied(so_far: EventOutcome, next: EventOutcome) -> EventOutcome {
    if matches!(next, EventOutcome::Applied { .. }) { next } else { so_far }
}

const UNKNOWN_TENANT: &str = "no tenant is known for this customer or subscription";
const CONTRADICTION: &str = "the event names another tenant than the one that is stored";
const SECOND_CUSTOMER: &str = "the tenant has a live subscription of another customer";

/// The tenant that an event belongs to.
enum Owner {
    Stored(TenantId),
    /// The event names the tenant, and nothing is stored yet.
    Named(TenantId),
    Unknown,
    Contradiction,
}

struct EventProcessor<'a, T: ?Sized> {
    tx: &'a mut T,
    provider: &'a dyn Provider,
    catalog: &'a Catalog,
    clock: &'a dyn Clock,
}

impl<T: BillingTx + ?Sized> EventProcessor<'_, T> {
    /// Applies an event. The second value is whether its customer was linked by this event.
    async fn handle(&mut self, event: &BillingEvent) -> Result<(EventOutcome, bool)> {
        if let Fact::Unreadable { reason } = event.fact {
            return Ok((self.quarantine(event, reason).await?, false));
        }
        let subjects = event.subjects();
        for key in [subjects.customer, subjects.subscription].into_iter().flatten() {
            self.tx.advisory_lock(key).await?;
        }
        let (id, named) = match self.owner(subjects).await? {
            Owner::Stored(id) => (id, false),
            Owner::Named(id) => (id, true),
            Owner::Unknown => return Ok((self.quarantine(event, UNKNOWN_TENANT).await?, false)),
            Owner::Contradiction => return Ok((self.quarantine(event, CONTRADICTION).await?, false)),
        };
        let Some(tenant) = self.tx.lock_tenant(&id).await? else {
            return Ok((self.quarantine(event, UNKNOWN_TENANT).await?, false));
        };
        let mut linked = false;
        if let Some(customer) = subjects.customer
            && self.tx.tenant_of_customer(customer).await?.is_none()
        {
            if named
                && matches!(event.fact, Fact::CheckoutCompleted(_))
                && self.has_other_payer(&id, customer).await?
            {
                return Ok((self.quarantine(event, SECOND_CUSTOMER).await?, false));
            }
            if self.tx.link_customer(customer, &id).await? != id {
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
            _ => unchanged(tenant, linked),
        };
        Ok((outcome, linked))
    }

    /// Finds the tenant of an event, from the strongest evidence to the weakest.
    async fn owner(&mut self, subjects: EventSubjects<'_>) -> Result<Owner> {
        let by_subscription = match subjects.subscription {
            Some(id) => self.tx.tenant_of_subscription(id).await?,
            None => None,
        };
        let by_customer = match subjects.customer {
            Some(id) => self.tx.tenant_of_customer(id).await?,
            None => None,
        };
        if let (Some(a), Some(b)) = (&by_subscription, &by_customer)
            && a != b
        {
            return Ok(Owner::Contradiction);
        }
        let stored = by_subscription.or(by_customer);
        if let (Some(stored), Some(metadata)) = (&stored, subjects.tenant)
            && TenantId::parse(metadata).ok().as_ref() != Some(stored)
        {
            return Ok(Owner::Contradiction);
        }
        let by_metadata = self.existing(subjects.tenant).await?;
        let by_reference = self.existing(subjects.reference).await?;
        let named = match (by_metadata, by_reference) {
            (Some(a), Some(b)) if a != b => return Ok(Owner::Contradiction),
            (a, b) => a.or(b),
        };
        Ok(match (stored, named) {
            (Some(stored), Some(named)) if stored != named => Owner::Contradiction,
            (Some(stored), _) => Owner::Stored(stored),
            (None, Some(named)) => Owner::Named(named),
            (None, None) => Owner::Unknown,
        })
    }

    /// The existing tenant with this id, if the text is one.
    async fn existing(&mut self, text: Option<&str>) -> Result<Option<TenantId>> {
        let Some(id) = text.and_then(|text| TenantId::parse(text).ok()) else { return Ok(None) };
        Ok(self.tx.lock_tenant(&id).await?.map(|tenant| tenant.id().clone()))
    }

    /// Whether another customer pays for a live subscription of the tenant.
    async fn has_other_payer(&mut self, tenant: &TenantId, customer: &str) -> Result<bool> {
        let subscriptions = self.tx.subscriptions(tenant).await?;
        Ok(subscriptions.iter().any(|sub| sub.customer() != customer && sub.status().is_live()))
    }

    async fn subscription(
        &mut self,
        event: &BillingEvent,
        tenant: Tenant,
        facts: &SubscriptionFacts,
        linked: bool,
    ) -> Result<EventOutcome> {
        let subscriptions = self.tx.subscriptions(tenant.id()).await?;
        let decision = decide(&tenant, &subscriptions, facts, self.catalog);
        if subscriptions.iter().all(|stored| *stored != decision.subscription) {
            self.tx.save_subscription(&decision.subscription).await?;
        }
        if decision.order == EventOrder::NeedsRefresh {
            tracing::warn!(tenant.id = %tenant.id(), event = %event.id, "the order of two events cannot be known");
        }
        for review_item in &decision.review_items {
            tracing::warn!(tenant.id = %tenant.id(), event = %event.id, %review_item, "a billing event needs review");
        }
        if decision.tenant.is_some() || !decision.review_items.is_empty() {
            let next = decision.tenant.as_ref().unwrap_or(&tenant);
            let mut change = self
                .audit(event, &tenant, "billing.subscription")
                .target("subscription", &facts.id)
                .detail("subscription_status", &facts.state.status)
                .detail("from_plan", tenant.plan())
                .detail("to_plan", next.plan())
                .detail("from_status", tenant.status())
                .detail("to_status", next.status());
            if !decision.review_items.is_empty() {
                let all: Vec<String> = decision.review_items.iter().map(ReviewItem::to_string).collect();
                change = change.detail("attention", all.join("; "));
            }
            self.tx.record(&change).await?;
        }
        if let Some(next) = &decision.tenant {
            return Ok(EventOutcome::Applied { tenant: self.tx.save_tenant(next).await? });
        }
        Ok(match decision.order {
            EventOrder::Stale => EventOutcome::Stale,
            EventOrder::NeedsRefresh => EventOutcome::NeedsRefresh,
            EventOrder::Newer | EventOrder::Unchanged => unchanged(tenant, linked),
        })
    }

    async fn payment(
        &mut self,
        event: &BillingEvent,
        tenant: Tenant,
        facts: &PaymentFacts,
        action: &'static str,
        linked: bool,
    ) -> Result<EventOutcome> {
        let mut record = self.audit(event, &tenant, action);
        if let Some(invoice) = &facts.invoice {
            record = record.target("invoice", invoice);
        }
        if let Some(amount) = facts.amount {
            record = record.detail("amount", amount);
        }
        if let Some(currency) = &facts.currency {
            record = record.detail("currency", currency);
        }
        if let Some(attempt) = facts.attempt {
            record = record.detail("attempt", attempt);
        }
        self.tx.record(&record).await?;
        Ok(unchanged(tenant, linked))
    }

    fn audit(&self, event: &BillingEvent, tenant: &Tenant, action: &str) -> AuditEvent {
        AuditEvent::with_actor(
            tenant.id().clone(),
            Actor::system(self.provider.name()),
            Uuid::now_v7(),
            tenant.plan().to_owned(),
            action.to_owned(),
        )
        .at(self.clock.now())
        .detail("event", &event.id)
        .detail("event_kind", &event.kind)
    }

    async fn quarantine(&mut self, event: &BillingEvent, reason: &'static str) -> Result<EventOutcome> {
        let subjects = event.subjects();
        tracing::warn!(event = %event.id, kind = %event.kind, reason, "a billing event went to the quarantine");
        self.tx
            .quarantine(&Quarantined {
                event: event.id.clone(),
                account: event.account.clone(),
                customer: subjects.customer.map(str::to_owned),
                subscription: subjects.subscription.map(str::to_owned),
                reason: reason.to_owned(),
                created: event.created,
                received: self.clock.now(),
                raw: event.raw.clone(),
            })
            .await?;
        Ok(EventOutcome::Quarantined { reason })
    }
}

fn unchanged(tenant: Tenant, linked: bool) -> EventOutcome {
    if linked { EventOutcome::Applied { tenant: Arc::new(tenant) } } else { EventOutcome::Unchanged }
}
