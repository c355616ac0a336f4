//! [`UsageSender`]: sends the usage of each finished minute to Stripe's billing meters.

use std::fmt;
use std::sync::Arc;

use super::billing::StripeBilling;
use super::usage_batch::{UsageBatch, UsageReport};
use super::usage_identifier::UsageIdentifier;
use crate::billing::UsageError;
use crate::billing::usage_rows::{self, DeadRow};
use crate::clock::Timestamp;
use crate::context::{Actor, TenantContext, TenantDirectory, unknown_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::{Backend, TenantDb};
use crate::tenant::{Tenant, TenantId, TenantStatus};

/// How many tenants are read from the store at once.
const PAGE: u16 = 100;
/// How many reports of invalid meter events one run marks.
const ERRORS: u16 = 1000;

/// Sends what [`UsageMeter`](crate::billing::UsageMeter) recorded to Stripe's billing meters.
///
/// The rows of a tenant, a meter and a finished minute become one batch, which is sent as one meter event. (More than
/// 10,000 rows become several.) The batch is committed with an identifier before the first request, and every attempt
/// sends the same event. So a crash at any point, and several nodes at once, count each row once.
///
/// Create each meter in Stripe with the aggregation `sum`, the payload keys `stripe_customer_id` and `value`, and the
/// name of the `UsageMeter` as its `event_name`.
///
/// ```
/// use tenancy::TenantDb;
/// use tenancy::billing::stripe::{StripeBilling, UsageSender};
/// use tenancy::context::TenantDirectory;
///
/// async fn every_minute(
///     db: TenantDb<sqlx::Sqlite>,
///     directory: TenantDirectory,
///     billing: StripeBilling,
/// ) -> tenancy::Result<()> {
///     let sender = UsageSender::new(db, directory, billing);
///     let report = sender.send_due().await?;
///     if let Some(error) = report.first_error {
///         println!("{} batches wait: {error}", report.waiting);
///     }
///     Ok(())
/// }
/// ```
///
/// # Security
/// Every batch is read in a transaction of its tenant, and sent for the customer that is linked to this tenant.
pub struct UsageSender<DB: Backend> {
    pub(super) db: TenantDb<DB>,
    directory: TenantDirectory,
    pub(super) billing: StripeBilling,
}

impl<DB: Backend> UsageSender<DB> {
    /// A sender for the tenants of `directory`, whose rows are in `db`. Time is that of the webhook of `billing`.
    pub fn new(db: TenantDb<DB>, directory: TenantDirectory, billing: StripeBilling) -> Self {
        Self { db, directory, billing }
    }

    /// Sends the usage of every finished minute, for every tenant with a customer of your own account, also for those that
    /// are suspended or deactivated; not for one that is being provisioned or deleted. Run it every minute, on any number
    /// of nodes.
    ///
    /// A batch that Stripe cannot serve for now is sent again after a minute, then after twice the time, up to an hour.
    /// A batch that Stripe rejects, or that is older than 35 days, is given up: [`dead`](Self::dead). So is one that
    /// Stripe accepted and reported as invalid later, if [`StripeBilling::webhook`] receives thin events.
    ///
    /// # Errors
    /// The errors of the stores, if the tenants cannot be listed. The first error of a tenant is in the report.
    pub async fn send_due(&self) -> Result<UsageReport> {
        let mut report = UsageReport::default();
        self.mark_invalid(&mut report).await?;
        let now = self.now().seconds();
        let open_since = now - now.rem_euclid(60);
        for tenant in self.tenants().await? {
            let id = tenant.id().clone();
            if let Err(error) = self.send_tenant(tenant, open_since, &mut report).await {
                tracing::warn!(tenant.id = %id, %error, "the usage of a tenant was not sent");
                report.first_error.get_or_insert(error);
            }
        }
        Ok(report)
    }

    /// Returns up to `limit` batches that were given up, those of a tenant in the order of time.
    ///
    /// # Errors
    /// The first error of a store, for example if the database of a tenant cannot be reached.
    pub async fn dead(&self, limit: u16) -> Result<Vec<UsageBatch>> {
        let (mut all, mut first_error) = (Vec::new(), None);
        for tenant in self.tenants().await? {
            let left = usize::from(limit).saturating_sub(all.len());
            if left == 0 {
                break;
            }
            match self.dead_of(tenant, u16::try_from(left).unwrap_or(limit)).await {
                Ok(batches) => all.extend(batches),
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        first_error.map_or(Ok(all), Err)
    }

    async fn dead_of(&self, tenant: Arc<Tenant>, limit: u16) -> Result<Vec<UsageBatch>> {
        let ctx = self.context(tenant)?;
        let mut tx = self.db.begin(&ctx).await?;
        let rows = usage_rows::dead(&mut tx, limit).await?;
        tx.rollback().await?;
        let batch = |row: DeadRow| UsageBatch {
            tenant: ctx.tenant_id().clone(),
            identifier: self.identifier(ctx.tenant_id(), &row.id),
            id: row.id,
            meter: row.meter,
            minute: Timestamp::from_seconds(row.minute),
            value: u64::try_from(row.value).unwrap_or(0),
            customer: row.customer,
            error: row.error,
            ended: row.ended,
        };
        Ok(rows.into_iter().map(batch).collect())
    }

    /// Makes a batch that was given up due again, for the tenant's present customer. Returns whether there is one with
    /// this id.
    ///
    /// One that was given up because Stripe counted another sum is sent whatever Stripe counted: compare them first.
    /// A batch that Stripe had accepted gets a new id and identifier, because Stripe would ignore the old one.
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`]; [`ErrorKind::NotFound`] if the tenant has no customer; and the errors of the stores.
    pub async fn retry(&self, tenant: &TenantId, id: &str) -> Result<bool> {
        let customer = self.customer(tenant).await?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the tenant has no customer in Stripe; link one, then retry")
        })?;
        let ctx = self.context_of(tenant).await?;
        let mut tx = self.db.begin(&ctx).await?;
        let new_id = UsageIdentifier::new_batch();
        let found = usage_rows::retry(&mut tx, id, (&new_id, &customer), self.now()).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Deletes usage that was sent or withheld before `before`, and returns how many batches. Keep what you may have to
    /// [`reconcile`](Self::reconcile).
    ///
    /// # Errors
    /// The first error of a store. The other tenants' usage is deleted nevertheless.
    pub async fn forget_sent(&self, before: Timestamp) -> Result<u64> {
        let (mut forgotten, mut first_error) = (0, None);
        for tenant in self.tenants().await? {
            match self.forget_of(tenant, before).await {
                Ok(batches) => forgotten += batches,
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        first_error.map_or(Ok(forgotten), Err)
    }

    async fn forget_of(&self, tenant: Arc<Tenant>, before: Timestamp) -> Result<u64> {
        let ctx = self.context(tenant)?;
        let mut tx = self.db.begin(&ctx).await?;
        let batches = usage_rows::forget(&mut tx, before).await?;
        tx.commit().await?;
        Ok(batches)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.billing.webhook.clock.now()
    }

    /// The context of a tenant, whatever its status.
    pub(super) async fn context_of(&self, tenant: &TenantId) -> Result<TenantContext> {
        self.context(self.directory.store().by_id(tenant).await?.ok_or_else(unknown_tenant)?)
    }

    fn context(&self, tenant: Arc<Tenant>) -> Result<TenantContext> {
        self.directory.unchecked_context(tenant, Actor::system("usage"))
    }

    /// The customer of a tenant in your own account.
    pub(super) async fn customer(&self, tenant: &TenantId) -> Result<Option<String>> {
        let mut tx = self.billing.webhook.store.begin().await?;
        self.billing.stored_customer(&mut *tx, tenant).await
    }

    pub(super) fn identifier(&self, tenant: &TenantId, batch: &str) -> String {
        UsageIdentifier::write(&self.billing.webhook.events.names, batch, tenant)
    }

    /// Every tenant of this region whose place exists.
    async fn tenants(&self) -> Result<Vec<Arc<Tenant>>> {
        let mut all = Vec::new();
        let mut after: Option<TenantId> = None;
        loop {
            let mut page = self.directory.store().list(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = Some(last.id().clone());
            page.retain(|tenant| {
                !matches!(tenant.status(), TenantStatus::Provisioning | TenantStatus::Deleting)
                    && self.directory.serves(tenant)
            });
            all.extend(page);
        }
    }

    /// Marks the batches that Stripe reported as invalid.
    async fn mark_invalid(&self, report: &mut UsageReport) -> Result<()> {
        let errors = self.billing.webhook.store.begin().await?.usage_errors(ERRORS).await?;
        for error in errors {
            if let Err(failure) = self.mark_one_invalid(&error).await {
                tracing::warn!(identifier = error.identifier, %failure, "an invalid meter event was not marked");
                report.first_error.get_or_insert(failure);
            }
        }
        Ok(())
    }

    async fn mark_one_invalid(&self, error: &UsageError) -> Result<()> {
        let names = &self.billing.webhook.events.names;
        let tenant = match UsageIdentifier::parse(names, &error.identifier) {
            Some(found) => self.directory.store().by_id(&found.tenant).await?.map(|of| (of, found.batch)),
            None => None,
        };
        if let Some((tenant, batch)) = tenant {
            if !self.directory.serves(&tenant) {
                return Ok(());
            }
            let ctx = self.context(tenant)?;
            let text = format!("Stripe found the meter event invalid: {}: {}", error.code, error.message);
            let mut tx = self.db.begin(&ctx).await?;
            usage_rows::invalid(&mut tx, &batch, &text, self.now()).await?;
            tx.commit().await?;
        }
        let mut tx = self.billing.webhook.store.begin().await?;
        tx.delete_usage_error(&error.identifier).await?;
        tx.commit().await
    }

    async fn send_tenant(&self, tenant: Arc<Tenant>, before: i64, report: &mut UsageReport) -> Result<()> {
        let Some(customer) = self.customer(tenant.id()).await? else { return Ok(()) };
        let ctx = self.context(tenant)?;
        let sent = self.claim_and_send(&ctx, &customer, before, report).await;
        let mut tx = self.db.begin(&ctx).await?;
        let (waiting, dead, withheld) = usage_rows::counts(&mut tx).await?;
        tx.rollback().await?;
        report.waiting += waiting;
        report.dead += dead;
        report.withheld += withheld;
        sent
    }
}

impl<DB: Backend> Clone for UsageSender<DB> {
    fn clone(&self) -> Self {
        Self { db: self.db.clone(), directory: self.directory.clone(), billing: self.billing.clone() }
    }
}

impl<DB: Backend> fmt::Debug for UsageSender<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageSender")
            .field("db", &self.db)
            .field("billing", &self.billing)
            .finish_non_exhaustive()
    }
}
