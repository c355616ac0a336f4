//! [`UsageMeter`]: records what a tenant uses, in the caller's transaction.

use uuid::Uuid;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::database::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::MAX_NUMBER;
use crate::scope::{Backend, Run, Statement, Tx};
use crate::tenant::TenantStatus;

/// Counts what a tenant uses, such as API calls or gigabytes, for an invoice by usage.
///
/// Each [`record`](Self::record) inserts one row in the caller's transaction, so usage is counted exactly if the work
/// commits. Concurrent transactions do not wait for each other.
/// [`UsageSender`](crate::billing::stripe::UsageSender) sends the sum of each minute.
///
/// During a trial on a plan with `usage_in_trial = false` the row is marked as withheld: it is kept, and never sent.
///
/// A row is a change: under [`AuditPolicy::Required`](crate::audit::AuditPolicy::Required) the transaction must record an
/// event.
///
/// ```
/// use tenancy::billing::UsageMeter;
/// use tenancy::{TenantContext, TenantDb};
///
/// const API_CALLS: UsageMeter = UsageMeter::new("api_calls");
///
/// async fn call(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext) -> tenancy::Result<()> {
///     let mut tx = db.begin(ctx).await?;
///     // .. the work ..
///     API_CALLS.record(&mut tx, 1).await?;
///     tx.commit().await // commits the work and the usage together
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UsageMeter {
    event_name: &'static str,
    at: Option<Timestamp>,
}

/// The highest value, 2^53 − 1: every database and every JSON parser represents it exactly.
const MAX_VALUE: i64 = MAX_NUMBER.cast_signed();
/// The longest name of a meter's events, and the longest key.
const MAX_LENGTH: usize = 100;

impl UsageMeter {
    /// A meter. The name is the `event_name` of the meter in Stripe, whose aggregation must be `sum`.
    pub const fn new(event_name: &'static str) -> Self {
        Self { event_name, at: None }
    }

    /// The name of the meter's events.
    pub const fn event_name(&self) -> &'static str {
        self.event_name
    }

    /// The meter for usage of this time, instead of now. Stripe accepts usage of the last 35 days.
    #[must_use]
    pub const fn at(self, time: Timestamp) -> Self {
        Self { at: Some(time), ..self }
    }

    /// Records usage.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the value is 0 or over 2^53 − 1; [`ErrorKind::Misconfigured`] if the name of the
    /// meter is empty or longer than 100 characters; otherwise as any write.
    pub async fn record<DB: Backend>(&self, tx: &mut Tx<'_, DB>, value: u64) -> Result<()> {
        self.insert(tx, value, None).await.map(|_| ())
    }

    /// Records usage, unless the tenant has usage of this meter with the same key. Returns whether it was recorded.
    ///
    /// Use the id of the job or of the request as the key, if that may run twice. A transaction with the same key waits
    /// until the first one ends. A key is known until
    /// [`forget_sent`](crate::billing::stripe::UsageSender::forget_sent) deletes its row.
    ///
    /// # Errors
    /// As [`record`](Self::record); and [`ErrorKind::InvalidInput`] if the key is empty or longer than 100 characters.
    pub async fn record_once<DB: Backend>(&self, tx: &mut Tx<'_, DB>, value: u64, key: &str) -> Result<bool> {
        if key.is_empty() || key.chars().count() > MAX_LENGTH {
            return Err(Error::new(ErrorKind::InvalidInput, "the key of usage has 1 to 100 characters"));
        }
        self.insert(tx, value, Some(key)).await
    }

    async fn insert<DB: Backend>(&self, tx: &mut Tx<'_, DB>, value: u64, key: Option<&str>) -> Result<bool> {
        if self.event_name.is_empty() || self.event_name.chars().count() > MAX_LENGTH {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "the name of a usage meter has 1 to 100 characters; use the `event_name` of the meter in Stripe",
            ));
        }
        let Ok(value @ 1..=MAX_VALUE) = i64::try_from(value) else {
            return Err(Error::new(ErrorKind::InvalidInput, "usage must be 1 to 2^53 - 1"));
        };
        let ctx = tx.context();
        let is_trial = ctx.tenant().status() == TenantStatus::Trialing;
        let withheld = (is_trial && !ctx.entitlements().usage_in_trial()).then_some("trial");
        let seconds = self.at.unwrap_or_else(|| SystemClock.now()).seconds();
        let statement = Statement::internal_table(
            &tx.bound_internal(),
            "INSERT INTO @tenancy_usage (tenant_id, id, meter, minute, value, once_key, withheld) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (tenant_id, meter, once_key) WHERE once_key IS NOT NULL DO NOTHING",
            &[
                Value::Text(&Uuid::now_v7().to_string()),
                Value::Text(self.event_name),
                Value::Int(seconds - seconds.rem_euclid(60)),
                Value::Int(value),
                Value::OptionalText(key),
                Value::OptionalText(withheld),
            ],
        )?;
        Ok(tx.execute(statement).await? == 1)
    }
}
