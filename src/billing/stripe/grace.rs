//! Suspends the tenants whose grace has ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::webhook::StripeWebhook;
use crate::billing::repeat::repeat;
use crate::billing::{Subscription, process};
use crate::error::Result;
use crate::tenant::{Tenant, TenantId};

impl StripeWebhook {
    /// Computes the tenants of up to `limit` subscriptions whose [grace](crate::billing::BillingPolicy::past_due_grace) has ended, and
    /// returns those that changed. Call it every few minutes, on any number of nodes: a tenant is suspended once.
    ///
    /// An event that arrives first has the same result.
    ///
    /// ```
    /// use tenancy::billing::stripe::StripeWebhook;
    ///
    /// async fn every_minute(webhook: &StripeWebhook) -> tenancy::Result<()> {
    ///     for tenant in webhook.apply_due(100).await? {
    ///         println!("{} is {}", tenant.name(), tenant.status());
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The errors of the store. The error of one tenant does not keep the others from being computed.
    pub async fn apply_due(&self, limit: u16) -> Result<Vec<Arc<Tenant>>> {
        let due = self.store.begin().await?.due_subscriptions(self.clock.now(), limit).await?;
        let tenants: BTreeSet<&TenantId> = due.iter().map(Subscription::tenant).collect();
        let mut changed = Vec::new();
        let mut failed = None;
        for tenant in tenants {
            match self.end_grace(tenant).await {
                Ok(tenant) => changed.extend(tenant),
                Err(error) => {
                    tracing::error!(tenant.id = %tenant, %error, "the end of a grace was not applied");
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(changed), Err)
    }

    async fn end_grace(&self, tenant: &TenantId) -> Result<Option<Arc<Tenant>>> {
        let changed = repeat(|| async {
            let mut tx = self.store.begin().await?;
            let changed = process::end_grace(&mut *tx, self.context(), tenant).await?;
            tx.commit().await.map(|()| changed)
        })
        .await?;
        if let Some(tenant) = &changed {
            self.tenants.committed(tenant).await;
        }
        Ok(changed)
    }
}
