//! [`UsageSender`]: sends the usage of each finished minute to Stripe's billing meters.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::api::ApiRequest;
use super::billing::{StripeBilling, new_key};
use super::usage_batch::{UsageBatch, UsageReport};
use super::usage_identifier::UsageIdentifier;
use crate::billing::usage_rows::{self, Batch, Claimed, OpenMinute};
use crate::billing::UsageError;
use crate::clock::Timestamp;
use crate::context::{Actor, TenantContext, TenantDirectory, unknown_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::{Backend, TenantDb};
use crate::tenant::{Tenant, TenantId, TenantStatus};

/// How many tenants are read from the store at once.
const PAGE: u16 = 100;
/// How many reports of invalid meter events one run marks.
const ERRORS: u16 = 1000;
/// How many rows a batch counts.
const ROWS: u32 = 10_000;
/// How long a node has a batch for itself.
const LEASE: Duration = Duration::from_mins(5);
/// The pause after the first attempt. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// How old usage may be that Stripe accepts, in seconds.
const OLDEST: i64 = 35 * 86_400;
/// For how long Stripe is sure to know an identifier, in seconds: 24 hours, and an hour for its clock and ours.
const KNOWN: i64 = 23 * 3600;

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
#[derive(Clone)]
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
    /// are suspended or deactivated. Run it every minute, on any number of nodes.
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
        self.each_tenant(async |tenant| {
            if let Err(error) = self.send_tenant(tenant.clone(), open_since, &mut report).await {
                tracing::warn!(tenant.id = %tenant.id(), %error, "the usage of a tenant was not sent");
                report.first_error.get_or_insert(error);
            }
            Ok(())
        })
        .await?;
        Ok(report)
    }

    /// Returns up to `limit` batches that were given up, those of a tenant in the order of time.
    ///
    /// # Errors
    /// The errors of the stores.
    pub async fn dead(&self, limit: u16) -> Result<Vec<UsageBatch>> {
        let mut all = Vec::new();
        self.each_tenant(async |tenant| {
            let left = limit.saturating_sub(u16::try_from(all.len()).unwrap_or(u16::MAX));
            if left == 0 {
                return Ok(());
            }
            let ctx = self.context(tenant)?;
            let mut tx = self.db.begin(&ctx).await?;
            let rows = usage_rows::dead(&mut tx, left).await?;
            tx.rollback().await?;
            all.extend(rows.into_iter().map(|row| UsageBatch {
                tenant: ctx.tenant_id().clone(),
                identifier: self.identifier(ctx.tenant_id(), &row.id),
                id: row.id,
                meter: row.meter,
                minute: Timestamp::from_seconds(row.minute),
                value: u64::try_from(row.value).unwrap_or(0),
                customer: row.customer,
                error: row.error,
                ended: row.ended,
            }));
            Ok(())
        })
        .await?;
        Ok(all)
    }

    /// Makes a batch that was given up due again, for the tenant's present customer. Returns whether there is one with
    /// this id.
    ///
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
    /// The errors of the stores.
    pub async fn forget_sent(&self, before: Timestamp) -> Result<u64> {
        let mut forgotten = 0;
        self.each_tenant(async |tenant| {
            let ctx = self.context(tenant)?;
            let mut tx = self.db.begin(&ctx).await?;
            forgotten += usage_rows::forget(&mut tx, before).await?;
            tx.commit().await
        })
        .await?;
        Ok(forgotten)
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

    fn identifier(&self, tenant: &TenantId, batch: &str) -> String {
        UsageIdentifier::write(&self.billing.webhook.events.names, batch, tenant)
    }

    /// Runs `visit` for every tenant of this region whose place exists. An error does not stop the others; the first one
    /// is returned at the end.
    async fn each_tenant(&self, mut visit: impl AsyncFnMut(Arc<Tenant>) -> Result<()>) -> Result<()> {
        let mut first_error = None;
        let mut after: Option<TenantId> = None;
        loop {
            let tenants = self.directory.store().list(after.as_ref(), PAGE).await?;
            let Some(last) = tenants.last() else { break };
            after = Some(last.id().clone());
            for tenant in tenants {
                if matches!(tenant.status(), TenantStatus::Provisioning | TenantStatus::Deleting)
                    || !self.directory.serves(&tenant)
                {
                    continue;
                }
                if let Err(error) = visit(tenant).await {
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(()), Err)
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

    async fn claim_and_send(
        &self,
        ctx: &TenantContext,
        customer: &str,
        before: i64,
        report: &mut UsageReport,
    ) -> Result<()> {
        loop {
            let mut tx = self.db.begin(ctx).await?;
            let open = usage_rows::open_minutes(&mut tx, before).await?;
            tx.rollback().await?;
            if open.is_empty() {
                break;
            }
            for minute in open {
                self.claim(ctx, &minute, customer).await?;
            }
        }
        loop {
            let mut tx = self.db.begin(ctx).await?;
            let now = self.now();
            let leased = usage_rows::lease(&mut tx, now, now.after(LEASE)).await?;
            tx.commit().await?;
            let Some(batch) = leased else { return Ok(()) };
            report.sent += u64::from(self.send(ctx, &batch).await?);
        }
    }

    /// Commits the batches of a minute.
    async fn claim(&self, ctx: &TenantContext, open: &OpenMinute, customer: &str) -> Result<()> {
        let mut limit = ROWS;
        loop {
            let id = UsageIdentifier::new_batch();
            let mut tx = self.db.begin(ctx).await?;
            match usage_rows::claim(&mut tx, open, (&id, customer), limit, self.now()).await? {
                Claimed::TooMuch => {
                    tx.rollback().await?;
                    limit = (limit / 2).max(1);
                }
                Claimed::Rows(0) => return tx.rollback().await,
                Claimed::Rows(_) => tx.commit().await?,
            }
        }
    }

    /// Sends a batch. Returns whether Stripe has it. The error is one after which it waits.
    async fn send(&self, ctx: &TenantContext, batch: &Batch) -> Result<bool> {
        let now = self.now();
        let result = if batch.minute < now.seconds() - OLDEST {
            Err(Error::new(ErrorKind::BillingRejected, "the usage is older than 35 days, which Stripe rejects"))
        } else if batch.attempts > 1 && batch.first.seconds() < now.seconds() - KNOWN {
            self.send_after_long(ctx, batch).await
        } else {
            self.request(ctx, batch).await
        };
        let mut tx = self.db.begin(ctx).await?;
        let (sent, waits) = match result {
            Ok(()) => {
                usage_rows::sent(&mut tx, &batch.id, now).await?;
                (true, None)
            }
            Err(error) if matches!(error.kind(), ErrorKind::BillingRejected | ErrorKind::NotFound) => {
                tracing::error!(tenant.id = %ctx.tenant_id(), batch = batch.id, %error, "usage was given up");
                usage_rows::rejected(&mut tx, &batch.id, &error.to_string(), now).await?;
                (false, None)
            }
            Err(error) => {
                let doubled = u32::try_from(batch.attempts - 1).unwrap_or(u32::MAX).min(16);
                let pause = FIRST_PAUSE.saturating_mul(1 << doubled).min(LONGEST_PAUSE);
                usage_rows::postpone(&mut tx, &batch.id, &error.to_string(), now.after(pause)).await?;
                (false, Some(error))
            }
        };
        tx.commit().await?;
        waits.map_or(Ok(sent), Err)
    }

    async fn request(&self, ctx: &TenantContext, batch: &Batch) -> Result<()> {
        let event = json!({
            "event_name": batch.meter, "identifier": self.identifier(ctx.tenant_id(), &batch.id),
            "timestamp": batch.minute,
            "payload": { "stripe_customer_id": batch.customer, "value": batch.value.to_string() },
        });
        match self.billing.api.send(&ApiRequest::post("/v1/billing/meter_events", event, new_key())).await {
            // An earlier attempt took effect, and its reply was lost.
            Err(error) if error.to_string().contains("already exists with identifier") => Ok(()),
            result => result.map(drop),
        }
    }

    /// Stripe may have forgotten the identifier of an attempt without a reply. What it counted for the minute shows
    /// whether that attempt took effect.
    async fn send_after_long(&self, ctx: &TenantContext, batch: &Batch) -> Result<()> {
        let minute = (batch.minute, batch.minute + 60);
        let mut tx = self.db.begin(ctx).await?;
        let sums = usage_rows::sums(&mut tx, &batch.meter, minute).await?;
        tx.rollback().await?;
        let of_customer = sums.sent.iter().filter(|(customer, _)| *customer == batch.customer);
        let sent: u64 = of_customer.map(|(_, sum)| sum).sum();
        let counted = self.counted(&batch.meter, &batch.customer, minute).await?;
        if counted == sent {
            self.request(ctx, batch).await
        } else if Some(counted) == u64::try_from(batch.value).ok().and_then(|value| sent.checked_add(value)) {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::BillingRejected,
                "no attempt of the last 23 hours had a reply, and Stripe counted another sum for the minute; compare \
                 them with `UsageSender::reconcile`, then retry",
            ))
        }
    }
}

impl<DB: Backend> fmt::Debug for UsageSender<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageSender").field("db", &self.db).field("billing", &self.billing).finish_non_exhaustive()
    }
}
