//! [`StripeBilling::reconcile`]: compares everything with Stripe, and repairs what differs.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;

use super::billing::{StripeBilling, id_of, passed_over};
use super::pages::Pages;
use super::stored_id::is_own;
use crate::billing::{EventOutcome, Subscription};
use crate::error::{Error, Result};
use crate::tenant::TenantId;

/// For how many days Stripe keeps events.
const KEPT_DAYS: i64 = 30;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// What [`StripeBilling::reconcile`] found and repaired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconciliation {
    /// How many events Stripe has of the last 30 days.
    pub events: u64,
    /// How many of these had not been processed: they are now.
    pub missed_events: u64,
    /// How many of these went to the quarantine.
    pub quarantined: u64,
    /// How many subscriptions Stripe has.
    pub subscriptions: u64,
    /// The tenants whose plan or status was changed.
    pub changed: BTreeSet<TenantId>,
    /// The live subscriptions of customers that no tenant is known for.
    pub unknown: Vec<String>,
    /// The live subscriptions that are stored and that Stripe does not have: the tenants keep them.
    pub missing: Vec<Subscription>,
    /// The events and subscriptions that could not be used; the log has the errors.
    pub failed: Vec<String>,
}

impl Reconciliation {
    fn note(&mut self, outcome: &EventOutcome) {
        match outcome {
            EventOutcome::Applied { tenant } => {
                self.changed.insert(tenant.id().clone());
            }
            EventOutcome::Quarantined { .. } => self.quarantined += 1,
            _ => {}
        }
    }

    /// Notes an event or a subscription that cannot be used. An outage is an error instead.
    fn pass_over(&mut self, id: &str, error: Error) -> Result<()> {
        passed_over(id, error)?;
        self.failed.push(id.to_owned());
        Ok(())
    }
}

impl StripeBilling {
    /// Processes the events of the last 30 days that were missed, from the oldest, then reads every subscription of your
    /// account and applies its state. Nothing is changed where both sides agree.
    ///
    /// Run it once a day, after the webhook was down, and after the database was restored from a backup: Stripe does not
    /// send an event again that it has delivered.
    ///
    /// # Errors
    /// [`ErrorKind::BillingUnavailable`](crate::ErrorKind::BillingUnavailable) and [`ErrorKind::BillingRejected`](crate::ErrorKind::BillingRejected) of Stripe, and the errors of the store. What
    /// was repaired stays, and the next run goes on.
    pub async fn reconcile(&self) -> Result<Reconciliation> {
        let mut found = Reconciliation::default();
        self.missed_events(&mut found).await?;
        self.all_subscriptions(&mut found).await?;
        Ok(found)
    }

    /// Processes the events day by day, because Stripe lists the newest one first.
    async fn missed_events(&self, found: &mut Reconciliation) -> Result<()> {
        let today = self.webhook.clock.now().seconds();
        for ago in (0..=KEPT_DAYS).rev() {
            let mut created = json!({ "gte": today - ago * DAY_SECONDS });
            if ago > 0 {
                created["lt"] = (today - (ago - 1) * DAY_SECONDS).into();
            }
            let pages = Pages::new(&*self.api, "/v1/events", json!({ "created": created }), None);
            for event in pages.all().await?.into_iter().rev() {
                found.events += 1;
                match self.webhook.receive_verified(event.to_string().as_bytes()).await {
                    Ok(outcome) => {
                        found.missed_events += u64::from(is_first(&outcome));
                        found.note(&outcome);
                    }
                    Err(error) => found.pass_over(event["id"].as_str().unwrap_or_default(), error)?,
                }
            }
        }
        Ok(())
    }

    async fn all_subscriptions(&self, found: &mut Reconciliation) -> Result<()> {
        let mut stored = self.stored_live().await?;
        let mut pages = Pages::new(&*self.api, "/v1/subscriptions", json!({ "status": "all" }), None);
        while let Some(page) = pages.next().await? {
            for object in page {
                found.subscriptions += 1;
                let id = id_of(&object)?;
                let before = match stored.remove(&id) {
                    Some(live) => Some(live),
                    // One that was stored after the page was read is newer than the page: it is read again.
                    None => self
                        .webhook
                        .stored_subscription(&id, None)
                        .await?
                        .filter(|stored| stored.status().is_final()),
                };
                let is_live = !matches!(object["status"].as_str(), Some("canceled" | "incomplete_expired"));
                match self.webhook.apply_listed(&*self.api, object, before.as_ref()).await {
                    Ok(outcome) => {
                        found.note(&outcome);
                        if matches!(outcome, EventOutcome::Ignored { .. }) && is_live {
                            found.unknown.push(id);
                        }
                    }
                    Err(error) => found.pass_over(&id, error)?,
                }
            }
        }
        for subscription in stored.into_values() {
            match self.webhook.read_stored(&*self.api, &subscription).await {
                Ok(Some(outcome)) => found.note(&outcome),
                Ok(None) => found.missing.push(subscription),
                Err(error) => found.pass_over(subscription.id(), error)?,
            }
        }
        found.missing.sort_by(|a, b| a.id().cmp(b.id()));
        Ok(())
    }

    /// The live subscriptions of your own account that are stored, by id.
    async fn stored_live(&self) -> Result<HashMap<String, Subscription>> {
        let mut live = HashMap::new();
        let mut after: Option<TenantId> = None;
        loop {
            let tenants = self.webhook.tenants.list(after.as_ref(), 100).await?;
            let Some(last) = tenants.last() else { return Ok(live) };
            after = Some(last.id().clone());
            for tenant in &tenants {
                let stored = self.webhook.stored_by_id(tenant.id()).await?;
                live.extend(stored.into_iter().filter(|(id, sub)| !sub.status().is_final() && is_own(id)));
            }
        }
    }
}

/// Whether the event had not been processed before.
fn is_first(outcome: &EventOutcome) -> bool {
    !matches!(outcome, EventOutcome::Duplicate | EventOutcome::Ignored { .. })
}
