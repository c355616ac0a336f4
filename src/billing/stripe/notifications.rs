//! Delivers what the outbox keeps: notifications to your program.

use std::fmt::Display;

use super::webhook::StripeWebhook;
use crate::billing::{Notification, OutboxRow, outbox};
use crate::error::Result;

impl StripeWebhook {
    /// Passes up to `limit` notifications that are due to `handler`, those of a tenant in their order, and returns how
    /// many it handled. Call it again and again, on any number of nodes.
    ///
    /// Delivery is at least once. A node has five minutes for each notification, in which no other node handles it. After
    /// `Ok` it is deleted. After `Err` it is tried again, first after 30 seconds, then after twice the time; meanwhile
    /// later notifications of its tenant wait. After ten failures it is given up and listed by
    /// [`failed_notifications`](Self::failed_notifications), and no longer holds up the later ones.
    ///
    /// ```
    /// use tenancy::billing::stripe::StripeWebhook;
    /// use tenancy::billing::{LifecycleCommand, NotificationKind};
    ///
    /// async fn deliver(webhook: &StripeWebhook) -> tenancy::Result<()> {
    ///     webhook
    ///         .deliver_notifications(100, async |notification| {
    ///             match notification.kind {
    ///                 NotificationKind::Lifecycle(LifecycleCommand::Suspend) => println!("stop the machines"),
    ///                 NotificationKind::TrialEnding { at, .. } => println!("write a mail: {}", at.seconds()),
    ///                 _ => {}
    ///             }
    ///             Ok::<(), std::io::Error>(())
    ///         })
    ///         .await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The errors of the store. An error of the handler is only stored.
    pub async fn deliver_notifications<F, E>(
        &self,
        limit: u16,
        handler: impl Fn(Notification) -> F,
    ) -> Result<u16>
    where
        F: Future<Output = Result<(), E>>,
        E: Display,
    {
        let mut count = 0;
        while count < limit {
            let Some(row) = outbox::claim(&*self.store, self.clock.now()).await? else { break };
            let result = match row.notification() {
                Ok(notification) => handler(notification).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = &result {
                tracing::warn!(tenant.id = %row.tenant, notification = %row.id, error, "a notification failed");
            }
            outbox::finish(&*self.store, &row, result, self.clock.now()).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Returns up to `limit` notifications that were given up, the first ones first, each with its last error.
    ///
    /// # Errors
    /// The errors of the store.
    pub async fn failed_notifications(&self, limit: u16) -> Result<Vec<OutboxRow>> {
        self.store.begin().await?.failed_notifications(limit).await
    }

    /// Makes a notification that was given up due again, before later ones of its tenant. Returns whether there is one
    /// with this id.
    ///
    /// # Errors
    /// The errors of the store.
    pub async fn retry_notification(&self, id: &str) -> Result<bool> {
        outbox::retry(&*self.store, id, self.clock.now()).await
    }
}
