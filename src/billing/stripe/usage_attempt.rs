//! One attempt of [`UsageSender`]: claims the rows of finished minutes as batches, and sends the batches that are due.

use std::time::Duration;

use serde_json::json;

use super::api::ApiRequest;
use super::billing::new_key;
use super::usage_batch::UsageReport;
use super::usage_identifier::UsageIdentifier;
use super::usage_sender::UsageSender;
use crate::billing::usage_rows::{self, Batch, Claimed, OpenMinute};
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};
use crate::scope::Backend;

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

impl<DB: Backend> UsageSender<DB> {
    /// Commits the batches of every minute before `before`, and sends what is due.
    pub(super) async fn claim_and_send(
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
                Claimed::TooMuch if limit > 1 => {
                    tx.rollback().await?;
                    limit /= 2;
                }
                Claimed::TooMuch => {
                    return Err(Error::new(
                        ErrorKind::Database,
                        "a row of usage is over 2^53 - 1; was it written by hand? Delete it",
                    ));
                }
                Claimed::Rows(0) => return tx.rollback().await,
                Claimed::Rows(rows) => {
                    tx.commit().await?;
                    // Fewer than asked for: no row of the minute is left.
                    if u32::try_from(rows).is_ok_and(|rows| rows < limit) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Sends a batch. Returns whether Stripe has it. The error is one after which it waits.
    async fn send(&self, ctx: &TenantContext, batch: &Batch) -> Result<bool> {
        let now = self.now();
        let result = if batch.minute < now.seconds() - OLDEST {
            Err(Error::new(
                ErrorKind::BillingRejected,
                "the usage is older than 35 days, which Stripe rejects",
            ))
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
        let meter = self.meter(&batch.meter).await?;
        let counted = self.counted(&meter, &batch.customer, minute).await?;
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
