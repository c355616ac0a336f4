//! [`Reservation`]: an amount that is held until it is committed or released.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use uuid::Uuid;

use super::answer::END_TIMEOUT;
use super::core::Core;
use super::decision::{Decision, DecisionSource};
use super::held::{Held, ended};
use super::line::{Line, decisions, denied};
use super::meter::{Hold, HoldEnd, MAX_COUNT, ResolveOutcome};
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
    held: Arc<Held>,
    decisions: Vec<Decision>,
    /// Whether there is something to release.
    is_open: bool,
    /// What a drop sends: a commit of what was used so far, or a release.
    on_drop: (HoldEnd, u64),
    /// Renews it in the background.
    keep_alive: Option<AbortHandle>,
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("tenant", self.held.ctx.tenant_id())
            .field("id", &self.held.id)
            .field("expires", &self.expires())
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
        let new = Hold { id: Uuid::now_v7(), expires: now.after(lifetime) };
        let decisions = core.charge(ctx, &lines, key, Some(new), now).await?;
        let source = decisions.first().map(|decision| decision.source);
        if source == Some(DecisionSource::Repeated) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "this idempotency key was used for a reservation; use another key for each reservation",
            ));
        }
        let is_open = source == Some(DecisionSource::Counted);
        let held = Arc::new(Held::new(core.clone(), ctx.clone(), new, lines));
        Ok(Self { held, decisions, is_open, on_drop: (HoldEnd::Release, 0), keep_alive: None })
    }

    /// Renews it in the background until it ends, so that only the end of the process lets it expire.
    pub(super) fn kept_alive(mut self, lifetime: Duration) -> Self {
        if self.is_open {
            self.keep_alive = Some(self.held.clone().keep_alive(lifetime));
        }
        self
    }

    /// The id.
    pub fn id(&self) -> Uuid {
        self.held.id
    }

    /// The first instant at which it holds nothing any more, unless it is renewed before.
    pub fn expires(&self) -> Timestamp {
        self.held.expires()
    }

    /// The numbers of each reserved quota.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Holds it for at least `lifetime` from now, for work that takes longer than was expected. A place of a concurrency
    /// limit is renewed in the background and needs no call.
    ///
    /// # Errors
    /// [`ErrorKind::Expired`] if it has expired, or was committed or released: it holds nothing any more;
    /// [`ErrorKind::StoreUnavailable`]: it expires as before.
    pub async fn renew(&mut self, lifetime: Duration) -> Result<()> {
        match self.decisions.first().map(|decision| decision.source) {
            // The store did not answer, and the rule allows that: nothing is held.
            Some(DecisionSource::Fallback { .. }) => Ok(()),
            _ if self.is_open => self.held.renew(lifetime).await,
            _ => Err(ended()),
        }
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
        let (held, before) = (&self.held, self.on_drop);
        let now = held.core.now();
        self.on_drop = (end, used);
        match held.resolve(end, used, now, held.timeout()).await? {
            ResolveOutcome::Resolved(counts) => {
                self.is_open = false;
                let decisions = decisions(&held.lines, counts, DecisionSource::Counted, now);
                held.core.warn(&held.ctx, &decisions);
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
                Err(denied(&held.ctx, &held.lines[line], &counts[line], now))
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(renewals) = &self.keep_alive {
            renewals.abort();
        }
        if !self.is_open {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (held, (end, used), now) = (self.held.clone(), self.on_drop, self.held.core.now());
        runtime.spawn(async move {
            if let Err(error) = held.resolve(end, used, now, END_TIMEOUT).await {
                tracing::warn!(%error, tenant = %held.ctx.tenant_id(), "a dropped reservation could not be ended");
            }
        });
    }
}
