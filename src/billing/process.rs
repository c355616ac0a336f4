use std::sync::Arc;

use uuid::Uuid;

use super::{
    BillingEvent, BillingTx, EventOrder, EventSubjects, Fact, PaymentFacts, Provider, Quarantined,
    ReviewItem, SubscriptionFacts, decide,
};
use crate::audit::AuditEvent;
use crate::clock::Clock;
use crate::context::Actor;
use crate::error::Result;
use crate::plan::Catalog;
use crate::tenant::{Tenant, TenantId};

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum EventOutcome {
    /// Something changed: the tenant, or the customer that is linked to it.
    Applied {
        /// The tenant as it stands now.
        tenant: Arc<Tenant>,
    },
    /// The event told nothing new of the tenant.
    Unchanged,
    /// The event was processed before.
    Duplicate,
    /// The event is older than what is stored.
    Stale,
    /// Two events of one second whose order cannot be known: the tenant stays as it is until the next event, or
    /// until a person looks.
    NeedsRefresh,
    /// The event is of no interest here.
    Ignored {
        /// Why.
        reason: &'static str,
    },
    /// The event is kept for later.
    Quarantined {
        /// Why.
        reason: &'static str,
    },
}

impl EventOutcome {
    /// The receipt in one stable word, in kebab case: for a log line or an answer.
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

/// Processes one event in an open transaction: seen before? whose? what follows? and all of it is written to
/// `tx`.
///
/// The caller commits after `Ok`, whatever the receipt, and drops the transaction after an error: then the event
/// counts as not seen, and its next delivery starts from the beginning.
///
/// The tenant is the one that is stored for the subscription, or for the customer; else the existing tenant whose
/// id your own program stamped on the object; else the one the visitor brought to the checkout. An event that
/// contradicts what is stored never moves a customer: it goes to the quarantine.
///
/// # Errors
/// What the transaction answers; nothing else.
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
    let (mut receipt, linked) = processor.handle(event).await?;
    if linked {
        let parties = event.subjects();
        for held in processor.tx.take_quarantined(parties.customer, parties.subscription).await? {
            match provider.read(&held.raw) {
                Ok(event) => receipt = outcome(receipt, processor.handle(&event).await?.0),
                // What does not read any more must not stop the others; it stays where it was.
                Err(_) => processor.tx.quarantine(&held).await?,
            }
        }
    }
    Ok(receipt)
}

/// What a link and the events that it freed come to together: the tenant as it was written last.
fn outcome(so_far: EventOutcome, freed: EventOutcome) -> EventOutcome {
    if matches!(freed, EventOutcome::Applied { .. }) { freed } else { so_far }
}

const UNKNOWN_TENANT: &str = "no tenant is known for this customer or subscription";
const CONTRADICTION: &str = "the event names another tenant than the one that is stored";
const SECOND_CUSTOMER: &str = "the tenant has a live subscription of another customer";

/// Whose an event is.
enum Owner {
    Stored(TenantId),
    /// Named by the event, and not stored yet.
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
    /// Does what the event asks for; the second answer is whether its customer was linked just now.
    async fn handle(&mut self, event: &BillingEvent) -> Result<(EventOutcome, bool)> {
        if let Fact::Unreadable { reason } = event.fact {
            return Ok((self.quarantine(event, reason).await?, false));
        }
        let parties = event.subjects();
        for key in [parties.customer, parties.subscription].into_iter().flatten() {
            self.tx.advisory_lock(key).await?;
        }
        let (id, named) = match self.owner(parties).await? {
            Owner::Stored(id) => (id, false),
            Owner::Named(id) => (id, true),
            Owner::Unknown => return Ok((self.quarantine(event, UNKNOWN_TENANT).await?, false)),
            Owner::Contradiction => return Ok((self.quarantine(event, CONTRADICTION).await?, false)),
        };
        let Some(tenant) = self.tx.lock_tenant(&id).await? else {
            return Ok((self.quarantine(event, UNKNOWN_TENANT).await?, false));
        };
        let mut linked = false;
        if let Some(customer) = parties.customer
            && self.tx.tenant_of_customer(customer).await?.is_none()
        {
            if named && matches!(event.fact, Fact::CheckoutCompleted(_)) && self.pays(&id, customer).await? {
                return Ok((self.quarantine(event, SECOND_CUSTOMER).await?, false));
            }
            if self.tx.link_customer(customer, &id).await? != id {
                return Ok((self.quarantine(event, CONTRADICTION).await?, false));
            }
            let link = self.audit(event, &tenant, "billing.link").target("customer", customer);
            self.tx.record(&link).await?;
            linked = true;
        }
        let receipt = match &event.fact {
            Fact::Subscription(facts) => self.subscription(event, tenant, facts, linked).await?,
            Fact::PaymentSucceeded(facts) => {
                self.payment(event, tenant, facts, "billing.payment_succeeded", linked).await?
            }
            Fact::PaymentFailed(facts) => {
                self.payment(event, tenant, facts, "billing.payment_failed", linked).await?
            }
            _ => unchanged(tenant, linked),
        };
        Ok((receipt, linked))
    }

    /// Finds whose an event is, from the strongest evidence to the weakest.
    async fn owner(&mut self, parties: EventSubjects<'_>) -> Result<Owner> {
        let by_subscription = match parties.subscription {
            Some(id) => self.tx.tenant_of_subscription(id).await?,
            None => None,
        };
        let by_customer = match parties.customer {
            Some(id) => self.tx.tenant_of_customer(id).await?,
            None => None,
        };
        if let (Some(one), Some(other)) = (&by_subscription, &by_customer)
            && one != other
        {
            return Ok(Owner::Contradiction);
        }
        let stored = by_subscription.or(by_customer);
        if let (Some(stored), Some(stamp)) = (&stored, parties.tenant)
            && TenantId::parse(stamp).ok().as_ref() != Some(stored)
        {
            return Ok(Owner::Contradiction);
        }
        let stamped = self.existing(parties.tenant).await?;
        let brought = self.existing(parties.reference).await?;
        let named = match (stamped, brought) {
            (Some(one), Some(other)) if one != other => return Ok(Owner::Contradiction),
            (one, other) => one.or(other),
        };
        Ok(match (stored, named) {
            (Some(stored), Some(named)) if stored != named => Owner::Contradiction,
            (Some(stored), _) => Owner::Stored(stored),
            (None, Some(named)) => Owner::Named(named),
            (None, None) => Owner::Unknown,
        })
    }

    /// The tenant that a text names, if there is one.
    async fn existing(&mut self, text: Option<&str>) -> Result<Option<TenantId>> {
        let Some(id) = text.and_then(|text| TenantId::parse(text).ok()) else { return Ok(None) };
        Ok(self.tx.lock_tenant(&id).await?.map(|tenant| tenant.id().clone()))
    }

    /// Whether a tenant has a live subscription that another customer pays.
    async fn pays(&mut self, tenant: &TenantId, customer: &str) -> Result<bool> {
        let subscriptions = self.tx.subscriptions(tenant).await?;
        Ok(subscriptions.iter().any(|one| one.customer() != customer && one.status().is_live()))
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
        if decision.verdict == EventOrder::NeedsRefresh {
            tracing::warn!(tenant.id = %tenant.id(), event = %event.id, "the order of two events cannot be known");
        }
        for review_items in &decision.review_items {
            tracing::warn!(tenant.id = %tenant.id(), event = %event.id, %review_items, "billing needs attention");
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
        Ok(match decision.verdict {
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
        let mut news = self.audit(event, &tenant, action);
        if let Some(invoice) = &facts.invoice {
            news = news.target("invoice", invoice);
        }
        if let Some(amount) = facts.amount {
            news = news.detail("amount", amount);
        }
        if let Some(currency) = &facts.currency {
            news = news.detail("currency", currency);
        }
        if let Some(attempt) = facts.attempt {
            news = news.detail("attempt", attempt);
        }
        self.tx.record(&news).await?;
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
        let parties = event.subjects();
        tracing::warn!(event = %event.id, kind = %event.kind, reason, "a billing event went to the quarantine");
        self.tx
            .quarantine(&Quarantined {
                event: event.id.clone(),
                account: event.account.clone(),
                customer: parties.customer.map(str::to_owned),
                subscription: parties.subscription.map(str::to_owned),
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
