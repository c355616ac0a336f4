//! [`Reservation`]: an amount that is held until it is committed or released.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::core::Core;
use super::decision::{Decision, DecisionSource};
use super::line::{Line, decisions, denied};
use super::meter::{Hold, HoldEnd, MAX_COUNT, Resolution, ResolveOutcome};
use crate::clock::Timestamp;
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};

/// An amount of a quota, or a place of a concurrency limit, that is held until it is committed, released or expired.
///
/// Dropping it releases it: at once inside a tokio runtime, otherwise when it expires.
///
/// ```
/// use std::time::Duration;
/// # use tenancy::quota::{Quota, Quotas}; use tenancy::TenantContext;
/// # async fn call_the_model() -> tenancy::Result<u64> { Ok(1) }
/// const TOKENS: Quota = Quota::new("tokens");
///
/// async fn complete(quotas: &Quotas, ctx: &TenantContext) -> tenancy::Result<()> {
///     let mut reserved = quotas.reserve(ctx, TOKENS, 4_000, Duration::from_secs(60)).await?;
///     let used = call_the_model().await?; // an error drops the reservation, which releases it
///     reserved.commit(used).await?;
///     Ok(())
/// }
/// ```
#[must_use = "a reservation that is dropped is released at once"]
pub struct Reservation {
    core: Arc<Core>,
    ctx: TenantContext,
    hold: Hold,
    lines: Vec<Line>,
    decisions: Vec<Decision>,
    /// Whether there is something to release.
    is_open: bool,
    /// What a drop sends: a commit of what was used so far, or a release.
    on_drop: (HoldEnd, u64),
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("tenant", self.ctx.tenant_id())
            .field("id", &self.hold.id)
            .field("expires", &self.hold.expires)
            .finish_non_exhaustive()
    }
}

impl Reservation {
    /// Holds the lines.
    pub(super) async fn hold(
        core: &Arc<Core>,
        ctx: &TenantContext,
        lines: Vec<Line>,
        key: Option<&str>,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self> {
        let hold = Hold { id: Uuid::now_v7(), expires: now.after(lifetime) };
        let decisions = core.charge(ctx, &lines, key, Some(hold), now).await?;
        let source = decisions.first().map(|decision| decision.source);
        if source == Some(DecisionSource::Repeated) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "this idempotency key was used for a reservation; use another key for each reservation",
            ));
        }
        let is_open = source == Some(DecisionSource::Counted);
        let (core, ctx, on_drop) = (core.clone(), ctx.clone(), (HoldEnd::Release, 0));
        Ok(Self { core, ctx, hold, lines, decisions, is_open, on_drop })
    }

    /// The id.
    pub fn id(&self) -> Uuid {
        self.hold.id
    }

    /// The first instant at which it holds nothing any more.
    pub fn expires(&self) -> Timestamp {
        self.hold.expires
    }

    /// The numbers of each reserved quota.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Sets what was used so far. A reservation that is dropped then counts that, and releases the rest.
    ///
    /// For work whose end is not seen, such as a response whose client disconnects.
    pub fn used_so_far(&mut self, used: u64) {
        self.on_drop = (HoldEnd::CommitAnyway, used.min(MAX_COUNT));
    }

    /// What was set as used so far.
    pub fn used(&self) -> u64 {
        self.on_drop.1
    }

    /// Counts `used` as used, of each reserved quota, and releases the rest.
    ///
    /// If the store does not answer, or this future is dropped, the drop of the reservation sends it again.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] if more was used than reserved and the quota does not have so much left;
    /// [`ErrorKind::Expired`] if the reservation has expired; [`ErrorKind::StoreUnavailable`]. Nothing is counted then:
    /// [`commit_anyway`](Self::commit_anyway) counts work that is done.
    pub async fn commit(&mut self, used: u64) -> Result<Vec<Decision>> {
        self.end(HoldEnd::Commit, used).await
    }

    /// Counts `used` as used, also beyond the limit and after the reservation has expired. For work that is done.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`]: nothing is counted.
    pub async fn commit_anyway(&mut self, used: u64) -> Result<Vec<Decision>> {
        self.end(HoldEnd::CommitAnyway, used).await
    }

    /// Releases the reservation. Nothing is counted.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`]: the reservation is released when it expires.
    pub async fn release(mut self) -> Result<()> {
        match self.end(HoldEnd::Release, 0).await {
            Err(error) if error.kind() == ErrorKind::Expired => Ok(()),
            ended => ended.map(|_| ()),
        }
    }

    async fn end(&mut self, end: HoldEnd, used: u64) -> Result<Vec<Decision>> {
        if !self.is_open {
            return Ok(self.decisions.clone());
        }
        if used > MAX_COUNT {
            return Err(Error::new(ErrorKind::InvalidInput, "the amount must be at most 2^53 - 1"));
        }
        let (now, before) = (self.core.now(), self.on_drop);
        self.on_drop = (end, used);
        let outcome = self.core.meter.resolve(&self.resolution(end, used, now)).await?;
        self.core.answered();
        match outcome {
            ResolveOutcome::Resolved(counts) => {
                self.is_open = false;
                let decisions = decisions(&self.lines, counts, DecisionSource::Counted, now);
                self.core.warn(&self.ctx, &decisions);
                Ok(decisions)
            }
            ResolveOutcome::AlreadyResolved => {
                self.is_open = false;
                Ok(self.decisions.clone())
            }
            ResolveOutcome::Expired => {
                self.on_drop = before;
                Err(Error::new(
                    ErrorKind::Expired,
                    "the reservation has expired, and nothing was counted; reserve for longer, or use `commit_anyway`",
                ))
            }
            ResolveOutcome::Denied { line, counts } => {
                self.on_drop = before;
                Err(denied(&self.ctx, &self.lines[line], &counts[line], now))
            }
        }
    }

    fn resolution(&self, end: HoldEnd, used: u64, now: Timestamp) -> Resolution {
        let lines = self.lines.iter().map(|line| {
            let mut line = line.charge.clone();
            line.amount = used;
            line
        });
        Resolution {
            tenant: self.ctx.tenant_id().clone(),
            hold: self.hold.id,
            lines: lines.collect(),
            end,
            now,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let now = self.core.now();
        let (meter, end) = (self.core.meter.clone(), self.resolution(self.on_drop.0, self.on_drop.1, now));
        runtime.spawn(async move {
            if let Err(error) = meter.resolve(&end).await {
                tracing::warn!(%error, tenant = %end.tenant, "a dropped reservation could not be ended");
            }
        });
    }
}
