//! [`Meter`]: the store of quota counters, and the values that it takes and returns. No policy is decided here.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Limit, MAX_NUMBER, PeriodWindow};
use crate::tenant::TenantId;

/// The store of quota counters. Check and charge are one method, so no caller can separate them.
///
/// Implementations are [`MemoryStore`](crate::store::MemoryStore), `SqlStore` and, with the feature `redis`,
/// `RedisMeter`. You call it through [`Quotas`](crate::quota::Quotas).
///
/// An implementation must:
///
/// - apply a charge completely or not at all, also when several charges run at the same time,
/// - never let `used` plus the live holds exceed [`ChargeLine::hard_limit`],
/// - count a charge with the same idempotency key once,
/// - end a hold once: by a commit, by a release, or by its expiry, whichever is first,
/// - renew only a hold that no charge can have taken for expired.
///
/// [`testing::meter`](crate::testing) tests an implementation against this contract.
#[async_trait]
pub trait Meter: Send + Sync + fmt::Debug {
    /// Charges or holds the amounts of all lines, or of none.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the store cannot be reached,
    /// [`Conflict`](crate::ErrorKind::Conflict) if the idempotency key belongs to another charge.
    async fn charge(&self, charge: &Charge) -> Result<ChargeOutcome>;

    /// Ends a hold.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the store cannot be reached.
    async fn resolve(&self, resolution: &Resolution) -> Result<ResolveOutcome>;

    /// Moves the expiry of a live hold of these lines to a later time; an earlier time changes nothing. Returns `false`,
    /// and changes nothing, if the hold has ended or expired, or if there is none.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the store cannot be reached.
    async fn renew(
        &self,
        tenant: &TenantId,
        hold: Hold,
        lines: &[ChargeLine],
        now: Timestamp,
    ) -> Result<bool>;

    /// The counters of a tenant, of one feature or of all, the newest periods of each first.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the store cannot be reached.
    async fn counters(
        &self,
        tenant: &TenantId,
        feature: Option<&str>,
        now: Timestamp,
        limit: u16,
    ) -> Result<Vec<Counter>>;

    /// The states of these counters, in their order. A counter that does not exist is empty.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the store cannot be reached.
    async fn read(&self, tenant: &TenantId, keys: &[CounterKey], now: Timestamp)
    -> Result<Vec<CounterState>>;

    /// Deletes the counters of periods that ended before this time, and the holds and idempotency keys that expired
    /// before it. Returns how many rows were deleted.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the store cannot be reached.
    async fn delete_before(&self, before: Timestamp) -> Result<u64>;
}

/// What to charge, or to hold, in one step.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Charge {
    /// The tenant.
    pub tenant: TenantId,
    /// One line for each counter, sorted by [`CounterKey`], without duplicates.
    pub lines: Vec<ChargeLine>,
    /// The idempotency key, and when it is forgotten.
    pub key: Option<(String, Timestamp)>,
    /// If set, the amounts are held and not yet used.
    pub hold: Option<Hold>,
    /// The time of the charge.
    pub now: Timestamp,
}

impl Counter {
    /// Orders counters as [`Meter::counters`] returns them, and keeps at most `limit`.
    pub fn newest_first(counters: &mut Vec<Self>, limit: u16) {
        counters.sort_by(|a, b| (b.start, &a.key).cmp(&(a.start, &b.key)));
        counters.truncate(limit.into());
    }
}

impl Charge {
    /// What the idempotency key stands for: the features, subjects and amounts, and whether they are held.
    pub fn fingerprint(&self) -> String {
        let lines = self.lines.iter().map(|line| (&line.counter.feature, &line.counter.subject, line.amount));
        serde_json::json!((self.hold.is_some(), lines.collect::<Vec<_>>())).to_string()
    }
}

/// A hold: its id, and when it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a custom meter stores both")]
pub struct Hold {
    /// The id, unique for the tenant.
    pub id: Uuid,
    /// The first instant at which it counts no more.
    pub expires: Timestamp,
}

/// The name of a counter within its tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a custom meter stores all of it")]
pub struct CounterKey {
    /// The feature's key in the catalog.
    pub feature: String,
    /// What is counted separately within the tenant, such as a user; empty for the whole tenant.
    pub subject: String,
    /// The id of the period.
    pub period: String,
}

/// One counter of a charge, with its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChargeLine {
    /// The counter.
    pub counter: CounterKey,
    /// The period of the counter.
    pub window: PeriodWindow,
    /// How much to charge, from 1 to 2^53 − 1.
    pub amount: u64,
    /// The limit of the plan.
    pub limit: Limit,
    /// The limit that is enforced, with what the plan allows beyond the limit.
    pub hard_limit: Limit,
    /// For how long after the limit was first exceeded the hard limit holds; after that the limit does. `None` for
    /// the whole period.
    pub grace: Option<Duration>,
    /// The warning levels: the percentage, and the count at which it is reached. Ascending.
    pub warn: Vec<(u16, u64)>,
}

/// What one counter has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a custom meter builds it")]
pub struct CounterState {
    /// What is used.
    pub used: u64,
    /// What live holds reserve.
    pub held: u64,
    /// When the limit was first exceeded.
    pub over_since: Option<Timestamp>,
    /// The highest warning level that was reported, in percent.
    pub warned: u16,
}

/// The state of a counter after a charge, and the warning levels that the charge reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a custom meter builds it")]
pub struct LineCount {
    /// What is used.
    pub used: u64,
    /// What live holds reserve.
    pub held: u64,
    /// The warning levels that this charge reached, in percent, ascending. Of all charges in a period, one has a level.
    pub reached: Vec<u16>,
}

/// The result of [`Meter::charge`]. The counts are in the order of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a custom meter returns one of these")]
pub enum ChargeOutcome {
    /// Everything was charged.
    Charged(Vec<LineCount>),
    /// The idempotency key was charged before. These are the counts of that time.
    Repeated(Vec<LineCount>),
    /// The line with this index does not fit. Nothing was charged.
    Denied {
        /// The index of the first line that does not fit.
        line: usize,
        /// The counts that were found.
        counts: Vec<LineCount>,
    },
}

/// How a hold ends.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resolution {
    /// The tenant.
    pub tenant: TenantId,
    /// The id of the hold.
    pub hold: Uuid,
    /// The lines of the hold. For a commit, `amount` is what was really used; 0 is allowed.
    pub lines: Vec<ChargeLine>,
    /// Whether to count the amounts, and which.
    pub end: HoldEnd,
    /// The time of the resolution.
    pub now: Timestamp,
}

/// The end of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a custom meter handles each")]
pub enum HoldEnd {
    /// Nothing was used.
    Release,
    /// The amounts were used. More than was held must fit in the limits, and the hold must not have expired.
    Commit,
    /// The amounts were used, whatever the limits and the expiry.
    CommitAnyway,
}

/// The result of [`Meter::resolve`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a custom meter returns one of these")]
pub enum ResolveOutcome {
    /// The hold has ended. The counts are in the order of the lines.
    Resolved(Vec<LineCount>),
    /// The hold was committed or released before. Nothing changed.
    AlreadyResolved,
    /// The hold has expired, or there is none. Nothing changed.
    Expired,
    /// More was used than was held, and it does not fit. Nothing changed, and the hold is still there.
    Denied {
        /// The index of the first line that does not fit.
        line: usize,
        /// The counts that were found.
        counts: Vec<LineCount>,
    },
}

/// A stored counter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a custom meter builds it")]
pub struct Counter {
    /// The name of the counter.
    pub key: CounterKey,
    /// The start of its period.
    pub start: Timestamp,
    /// The end of its period; `None` if it has none.
    pub end: Option<Timestamp>,
    /// What is used.
    pub used: u64,
    /// What live holds reserve.
    pub held: u64,
    /// The highest warning level that was reached, in percent; 0 for none.
    pub warned: u16,
}

/// The largest count, 2^53 − 1: every store counts up to it exactly. An unlimited quota ends there, too.
pub const MAX_COUNT: u64 = MAX_NUMBER;

/// The error of an idempotency key that was used for another charge. For meters of your own.
pub fn other_charge() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "this idempotency key was used for another charge; use a new key for each charge",
    )
}
