//! What an operator does beside the webhook: recompute a tenant, read and replay the quarantine, forget old events.

use std::sync::Arc;
use std::time::Duration;

use super::webhook::StripeWebhook;
use crate::billing::repeat::repeat;
use crate::billing::{EventOutcome, Quarantined, Subscription, recompute, replay};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::tenant::{Tenant, TenantId};

/// How long the ids of processed events are kept. Stripe resends events for 30 days.
const KEPT: Duration = Duration::from_hours(40 * 24);

impl StripeWebhook {
    /// Computes a tenant's plan and status again from its stored subscriptions: after a change of the catalog, or after
    /// an operator lifted a status. Returns the tenant if it changed.
    ///
    /// ```
    /// use tenancy::billing::stripe::StripeWebhook;
    /// use tenancy::tenant::{TenantId, TenantStore};
    ///
    /// async fn after_a_new_catalog(webhook: &StripeWebhook, tenants: &dyn TenantStore) -> tenancy::Result<()> {
    ///     let mut after: Option<TenantId> = None;
    ///     loop {
    ///         let page = tenants.list(after.as_ref(), 100).await?;
    ///         let Some(last) = page.last() else { return Ok(()) };
    ///         after = Some(last.id().clone());
    ///         for tenant in &page {
    ///             webhook.recompute(tenant.id()).await?;
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`](crate::ErrorKind::TenantUnknown), and the errors of the store.
    pub async fn recompute(&self, tenant: &TenantId) -> Result<Option<Arc<Tenant>>> {
        let changed = repeat(|| async {
            let mut tx = self.store.begin().await?;
            let changed = recompute(&mut *tx, self.context(), tenant).await?;
            tx.commit().await.map(|()| changed)
        })
        .await?;
        if let Some(tenant) = &changed {
            self.tenants.committed(tenant).await;
        }
        Ok(changed)
    }

    /// Returns up to `limit` events of the quarantine, those that were received first.
    ///
    /// # Errors
    /// The errors of the store.
    pub async fn quarantined(&self, limit: u16) -> Result<Vec<Quarantined>> {
        self.store.begin().await?.quarantined(limit).await
    }

    /// Applies an event of the quarantine again. `None` if the quarantine has no such event. An event that still cannot
    /// be applied stays there.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is not an event, and the errors of the store.
    pub async fn replay(&self, event: &str, account: Option<&str>) -> Result<Option<EventOutcome>> {
        let outcome = repeat(|| async {
            let mut tx = self.store.begin().await?;
            let outcome = replay(&mut *tx, self.context(), (event, account)).await?;
            tx.commit().await.map(|()| outcome)
        })
        .await?;
        if let Some(outcome) = &outcome {
            self.committed(outcome).await;
        }
        Ok(outcome)
    }

    /// Removes an event from the quarantine without applying it, and returns it.
    ///
    /// # Errors
    /// The errors of the store.
    pub async fn discard(&self, event: &str, account: Option<&str>) -> Result<Option<Quarantined>> {
        let mut tx = self.store.begin().await?;
        let discarded = tx.take_event(event, account).await?;
        tx.commit().await?;
        Ok(discarded)
    }

    /// Returns up to `limit` subscriptions whose state is [not certain](Subscription::needs_refresh), those that wait
    /// longest first. Their [`as_of`](Subscription::as_of) says since when.
    ///
    /// # Errors
    /// The errors of the store.
    pub async fn unclear_subscriptions(&self, limit: u16) -> Result<Vec<Subscription>> {
        self.store.begin().await?.unclear_subscriptions(limit).await
    }

    /// Forgets the ids of events that were processed more than 40 days ago, and returns how many. Deletes notifications
    /// that are as old. Run it once a day.
    ///
    /// # Errors
    /// The errors of the store.
    pub async fn forget_old_events(&self) -> Result<u64> {
        let seconds = self.clock.now().seconds() - i64::try_from(KEPT.as_secs()).unwrap_or(i64::MAX);
        let mut tx = self.store.begin().await?;
        let forgotten = tx.forget_events(Timestamp::from_seconds(seconds)).await?;
        tx.commit().await?;
        Ok(forgotten)
    }
}
