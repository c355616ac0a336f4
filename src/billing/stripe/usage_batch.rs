//! [`UsageReport`] and [`UsageBatch`]: what became of usage that is sent.

use crate::clock::Timestamp;
use crate::error::Error;
use crate::tenant::TenantId;

/// What [`UsageSender::send_due`](super::UsageSender::send_due) did, and what is left.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct UsageReport {
    /// How many batches Stripe accepted in this run.
    pub sent: u64,
    /// How many batches wait for another attempt.
    pub waiting: u64,
    /// How many batches are given up: [`dead`](super::UsageSender::dead) returns them.
    pub dead: u64,
    /// How many rows are withheld, because they were recorded during a trial.
    pub withheld: u64,
    /// The first error of the run. The other tenants were sent nevertheless.
    pub first_error: Option<Error>,
}

/// The sum of a tenant's usage of one meter in one minute, which was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageBatch {
    /// The tenant.
    pub tenant: TenantId,
    /// The batch's id, for [`retry`](super::UsageSender::retry).
    pub id: String,
    /// The `identifier` of the meter event.
    pub identifier: String,
    /// The meter's `event_name`.
    pub meter: String,
    /// The begin of the minute.
    pub minute: Timestamp,
    /// The sum.
    pub value: u64,
    /// The customer in Stripe.
    pub customer: String,
    /// Why it was given up.
    pub error: String,
    /// When it was given up.
    pub ended: Timestamp,
}
