//! What the facts of an event change: the rows, the audit events and the notifications.

use std::sync::Arc;

use uuid::Uuid;

use super::command::LifecycleCommand;
use super::decision::{self, Change, decide};
use super::dispute::Dispute;
use super::event::{BillingEvent, Fact, PaymentFacts, SubscriptionFacts};
use super::history::EventOrder;
use super::notification::{NotificationKind, OutboxRow};
use super::outcome::EventOutcome;
use super::process::{EventProcessor, unchanged};
use super::records;
use super::review::ReviewItem;
use super::rules::Rules;
use super::state::{SubscriptionStatus, Watermark};
use super::store::BillingTx;
use super::subscription::Subscription;
use crate::audit::AuditEvent;
use crate::context::{Actor, unknown_tenant};
use crate::error::Result;
use crate::tenant::{Tenant, TenantId};

impl<T: BillingTx + ?Sized> EventProcessor<'_, T> {
    pub(super) async fn subscription(
        &mut self,
        event: &BillingEvent,
        tenant: Tenant,
        facts: &SubscriptionFacts,
        linked: bool,
    ) -> Result<EventOutcome> {
        let subscriptions = self.tx.subscriptions(tenant.id()).await?;
        let disputes = self.disputes(&tenant).await?;
        let decision = decide(&tenant, &subscriptions, facts, &self.rules(&disputes));
        self.save_changed(&subscriptions, std::slice::from_ref(&decision.subscription)).await?;
        if decision.order == EventOrder::NeedsRefresh {
            tracing::warn!(tenant.id = %tenant.id(), event = %event.id, "the order of two events cannot be known");
        }
        let changes = matches!(decision.order, EventOrder::Newer | EventOrder::NeedsRefresh);
        let review_items = if changes || decision.tenant.is_some() {
            &decision.review_items
        } else {
            // The others were recorded when they arose.
            &decision.new_review_items
        };
        warn_of(review_items, &tenant, event);
        if decision.tenant.is_some() || !review_items.is_empty() {
            let next = decision.tenant.as_ref().unwrap_or(&tenant);
            let change = self
                .change("billing.subscription", &tenant, next, review_items)
                .detail("event", &event.id)
                .detail("event_kind", &event.kind)
                .target("subscription", &facts.id)
                .detail("subscription_status", &facts.state.status);
            self.tx.record(&change).await?;
        }
        let reviews = (&*decision.review_items, &*decision.new_review_items);
        self.notify_of_change(&tenant, Some(event), &decision.commands, reviews).await?;
        let mut notices = Vec::new();
        if let Some(end) = facts.trial_ends
            && end > self.context.clock.now()
            && [&facts.state.status, decision.subscription.status()] == [&SubscriptionStatus::Trialing; 2]
        {
            let notice = self
                .audit(event, decision.tenant.as_ref().unwrap_or(&tenant), "billing.trial_will_end")
                .target("subscription", &facts.id)
                .detail("trial_end", end.seconds());
            self.tx.record(&notice).await?;
            let kind = NotificationKind::TrialEnding { subscription: facts.id.clone(), at: end };
            notices.push(kind);
        }
        self.notify(&tenant, Some(event), notices).await?;
        if let Some(next) = &decision.tenant {
            return Ok(EventOutcome::Applied { tenant: self.tx.save_tenant(next).await? });
        }
        Ok(match decision.order {
            EventOrder::Stale => EventOutcome::Stale,
            EventOrder::NeedsRefresh => EventOutcome::NeedsRefresh,
            EventOrder::Newer | EventOrder::Unchanged => unchanged(tenant, linked),
        })
    }

    pub(super) async fn payment(
        &mut self,
        event: &BillingEvent,
        tenant: Tenant,
        facts: &PaymentFacts,
        action: &'static str,
        linked: bool,
    ) -> Result<EventOutcome> {
        // Stripe reports one success in two events, `invoice.paid` and `invoice.payment_succeeded`.
        if let (Some(invoice), Fact::PaymentSucceeded(_)) = (&facts.invoice, &event.fact) {
            let amount = facts.amount.unwrap_or_default();
            let payment = format!("{invoice}/paid/{amount}");
            if !self.tx.record_once(&payment, event.account.as_deref(), self.context.clock.now()).await? {
                return Ok(unchanged(tenant, linked));
            }
        }
        let record = records::payment(self.audit(event, &tenant, action), facts);
        self.tx.record(&record).await?;
        if let Fact::PaymentFailed(facts) = &event.fact {
            let kind = NotificationKind::PaymentFailed {
                subscription: facts.subscription.clone(),
                invoice: facts.invoice.clone(),
                amount: facts.amount,
                currency: facts.currency.clone(),
                attempt: facts.attempt,
                next_attempt: facts.next_attempt,
            };
            self.notify(&tenant, Some(event), vec![kind]).await?;
        }
        Ok(unchanged(tenant, linked))
    }

    /// Ends every live subscription of a deleted customer. The events about each end may come before or after.
    pub(super) async fn customer_deleted(
        &mut self,
        event: &BillingEvent,
        tenant: Tenant,
        customer: &str,
    ) -> Result<EventOutcome> {
        let stored = self.tx.subscriptions(tenant.id()).await?;
        let as_of = Watermark::new(event.created, event.id.as_str());
        let disputes = self.disputes(&tenant).await?;
        let rules = self.rules(&disputes);
        let next = decision::end_customer(&tenant, &stored, (customer, &as_of), &rules);
        self.save_changed(&stored, &next.subscriptions).await?;
        warn_of(&next.review_items, &tenant, event);
        let change = self
            .change(
                "billing.customer_deleted",
                &tenant,
                next.tenant.as_ref().unwrap_or(&tenant),
                &next.review_items,
            )
            .detail("event", &event.id)
            .detail("event_kind", &event.kind)
            .target("customer", customer);
        self.tx.record(&change).await?;
        let reviews = (&*next.review_items, &*next.new_review_items);
        self.notify_of_change(&tenant, Some(event), &next.commands, reviews).await?;
        Ok(match next.tenant {
            Some(next) => EventOutcome::Applied { tenant: self.tx.save_tenant(&next).await? },
            None => EventOutcome::Unchanged,
        })
    }

    /// Stores a dispute. Whether it changes the tenant is up to the policy.
    pub(super) async fn dispute(
        &mut self,
        event: &BillingEvent,
        tenant: Tenant,
        id: &str,
        status: &str,
    ) -> Result<EventOutcome> {
        let (id, status) = (id.to_owned(), status.to_owned());
        let news = Dispute { id, tenant: tenant.id().clone(), status, created: event.created };
        let stored = self.tx.disputes(tenant.id()).await?.into_iter().find(|stored| stored.id == news.id);
        let dispute = match stored {
            Some(stored) => stored.or_newer(news),
            None => news,
        };
        self.tx.save_dispute(&dispute).await?;
        if !self.context.policy.suspends_disputed {
            return Ok(EventOutcome::Unchanged);
        }
        let (stored, next) = self.recomputed(&tenant).await?;
        self.save_changed(&stored, &next.subscriptions).await?;
        let reviews = (&*next.review_items, &*next.new_review_items);
        self.notify_of_change(&tenant, Some(event), &next.commands, reviews).await?;
        let Some(changed) = next.tenant else { return Ok(EventOutcome::Unchanged) };
        let change = self
            .change("billing.disputed", &tenant, &changed, &next.review_items)
            .detail("event", &event.id)
            .detail("event_kind", &event.kind)
            .target("dispute", &dispute.id);
        self.tx.record(&change).await?;
        Ok(EventOutcome::Applied { tenant: self.tx.save_tenant(&changed).await? })
    }

    /// Computes a tenant from what is stored, and writes what changes. Returns the tenant if it changed.
    pub(super) async fn recompute(&mut self, tenant: &TenantId, action: &str) -> Result<Option<Arc<Tenant>>> {
        let Some(tenant) = self.tx.lock_tenant(tenant).await? else { return Err(unknown_tenant()) };
        let (stored, next) = self.recomputed(&tenant).await?;
        self.save_changed(&stored, &next.subscriptions).await?;
        let reviews = (&*next.review_items, &*next.new_review_items);
        self.notify_of_change(&tenant, None, &next.commands, reviews).await?;
        let Some(changed) = next.tenant else { return Ok(None) };
        let change = self.change(action, &tenant, &changed, &next.review_items);
        self.tx.record(&change).await?;
        self.tx.save_tenant(&changed).await.map(Some)
    }

    /// The stored subscriptions of a tenant, and what follows from them today.
    async fn recomputed(&mut self, tenant: &Tenant) -> Result<(Vec<Subscription>, Change)> {
        let stored = self.tx.subscriptions(tenant.id()).await?;
        let disputes = self.disputes(tenant).await?;
        let next = decision::recompute(tenant, &stored, &self.rules(&disputes));
        Ok((stored, next))
    }

    /// The disputes of the tenant's customers, if they count.
    async fn disputes(&mut self, tenant: &Tenant) -> Result<Vec<Dispute>> {
        if self.context.policy.suspends_disputed {
            self.tx.disputes(tenant.id()).await
        } else {
            Ok(Vec::new())
        }
    }

    fn rules<'r>(&'r self, disputes: &'r [Dispute]) -> Rules<'r> {
        Rules::new(self.context.catalog, self.context.clock.now())
            .policy(self.context.policy)
            .disputes(disputes)
    }

    /// Adds the commands of a change to the outbox, and the review items that arose. An item that was there before is
    /// added if it was not reported yet, as when an operator closed the tenant meanwhile.
    async fn notify_of_change(
        &mut self,
        tenant: &Tenant,
        event: Option<&BillingEvent>,
        commands: &[LifecycleCommand],
        (review_items, new_review_items): (&[ReviewItem], &[ReviewItem]),
    ) -> Result<()> {
        let mut notices: Vec<_> = commands.iter().cloned().map(NotificationKind::Lifecycle).collect();
        for item in review_items {
            let notice = NotificationKind::Review(item.clone());
            let key = format!("{}/{}", tenant.id(), notice.to_json());
            let is_first = self.tx.record_once(&key, None, self.context.clock.now()).await?;
            if is_first || new_review_items.contains(item) {
                notices.push(notice);
            }
        }
        self.notify(tenant, event, notices).await
    }

    /// Adds notifications to the outbox, each once whatever number of events reports it.
    pub(super) async fn notify(
        &mut self,
        tenant: &Tenant,
        event: Option<&BillingEvent>,
        notices: Vec<NotificationKind>,
    ) -> Result<()> {
        let now = self.context.clock.now();
        for kind in notices {
            let account = event.and_then(|event| event.account.as_deref());
            if let Some(key) = kind.key()
                && !self.tx.record_once(&key, account, now).await?
            {
                continue;
            }
            let event = event.map(|event| &*event.id);
            self.tx.add_notification(&OutboxRow::new(tenant.id().clone(), event, &kind, now)).await?;
        }
        Ok(())
    }

    pub(super) async fn save_changed(&mut self, stored: &[Subscription], now: &[Subscription]) -> Result<()> {
        for subscription in now.iter().filter(|one| !stored.contains(one)) {
            self.tx.save_subscription(subscription).await?;
        }
        Ok(())
    }

    /// The audit event of a change of a tenant.
    pub(super) fn change(
        &self,
        action: &str,
        from: &Tenant,
        to: &Tenant,
        review_items: &[ReviewItem],
    ) -> AuditEvent {
        let change = self
            .by_billing(from, action)
            .detail("from_plan", from.plan())
            .detail("to_plan", to.plan())
            .detail("from_status", from.status())
            .detail("to_status", to.status());
        if review_items.is_empty() {
            return change;
        }
        let all: Vec<String> = review_items.iter().map(ReviewItem::to_string).collect();
        change.detail("attention", all.join("; "))
    }

    pub(super) fn audit(&self, event: &BillingEvent, tenant: &Tenant, action: &str) -> AuditEvent {
        self.by_billing(tenant, action).detail("event", &event.id).detail("event_kind", &event.kind)
    }

    pub(super) fn by_billing(&self, tenant: &Tenant, action: &str) -> AuditEvent {
        AuditEvent::with_actor(
            tenant.id().clone(),
            Actor::system(self.context.provider.name()),
            Uuid::now_v7(),
            tenant.plan().to_owned(),
            action.to_owned(),
        )
        .at(self.context.clock.now())
    }
}

fn warn_of(review_items: &[ReviewItem], tenant: &Tenant, event: &BillingEvent) {
    for review_item in review_items {
        tracing::warn!(tenant.id = %tenant.id(), event = %event.id, %review_item, "a billing event needs review");
    }
}
