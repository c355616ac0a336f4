//! [`LeasedQuotas`]: quotas that a node charges from its own share, without asking the store each time.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;
use uuid::Uuid;

use super::amount::checked_amount;
use super::answer::{END_TIMEOUT, in_time, is_outage};
use super::core::Core;
use super::count_key::CountKey;
use super::decision::{DecisionSource, until};
use super::key::Quota;
use super::lease::{Lease, LeaseStart, Terms};
use super::lease_options::{CrashPolicy, LeaseOptions};
use super::lease_table::{Asked, LeaseTable, Refresh, Refusal};
use super::line::{Line, denied, quota_line};
use super::meter::{ChargeOutcome, Hold, LineCount};
use super::quotas::Quotas;
use super::returns::Returns;
use crate::clock::Timestamp;
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{FailurePolicy, Rule};

/// Charges quotas from leases: this node's shares, which it takes from the store before it spends them.
///
/// A charge takes about as long as a few memory accesses. All nodes together never exceed the limit. What a lease has
/// not spent yet counts as held in the store, and the warning levels are reached when a lease ends.
///
/// Call [`run`](Self::run) in a task, and [`shut_down`](Self::shut_down) before the program ends.
///
/// ```
/// use tenancy::quota::{CrashPolicy, LeaseOptions, LeasedQuotas, Quota, Quotas};
/// use tenancy::TenantContext;
///
/// const API_CALLS: Quota = Quota::new("api_calls");
///
/// # async fn example(quotas: &Quotas, ctx: &TenantContext) -> tenancy::Result<()> {
/// let leased = LeasedQuotas::new(quotas, LeaseOptions::new(CrashPolicy::Strict, 100).nodes(3));
/// leased.charge(ctx, API_CALLS, 1).await?;
/// leased.shut_down().await; // returns what was not spent
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LeasedQuotas {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
    options: LeaseOptions,
    leases: LeaseTable,
    returns: Returns,
}

impl fmt::Debug for LeasedQuotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedQuotas").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

/// For how long a denial is repeated without asking the store.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// For how long a store that did not answer is not asked again.
const DOWN_FOR: Duration = Duration::from_millis(200);

impl LeasedQuotas {
    /// Leases from the store of these quotas.
    pub fn new(quotas: &Quotas, options: LeaseOptions) -> Self {
        let core = quotas.core().clone();
        let returns = Returns::new(core.clone());
        Self { shared: Arc::new(Shared { core, options, leases: LeaseTable::default(), returns }) }
    }

    /// Charges `n` of a quota. [`DecisionSource::Fallback`] says that the store did not answer, and the rule allows the
    /// charge then.
    ///
    /// A charge that needs the store waits twice the `timeout_ms` of its rule, at most.
    ///
    /// # Errors
    /// As [`Quotas::charge`]. If the store does not answer, a rule with
    /// [`FailurePolicy::LastLease`] or [`FailurePolicy::Closed`] is charged until its lease is spent.
    pub async fn charge(&self, ctx: &TenantContext, quota: Quota, n: u64) -> Result<DecisionSource> {
        match self.shared.charge_now(ctx, quota, None, n)? {
            None => Ok(DecisionSource::Counted),
            Some(next) => next.await,
        }
    }

    /// Charges `n` of a quota that counts [per subject](crate::plan::CountPer::Subject).
    ///
    /// # Errors
    /// As [`charge`](Self::charge).
    pub async fn charge_for(
        &self,
        ctx: &TenantContext,
        quota: Quota,
        subject: Option<&str>,
        n: u64,
    ) -> Result<DecisionSource> {
        match self.shared.charge_now(ctx, quota, subject, n)? {
            None => Ok(DecisionSource::Counted),
            Some(next) => next.await,
        }
    }

    /// Ends leases whose lifetime is over, for ever: other nodes then see what was spent, and can use the rest. Call it
    /// in a task of its own.
    pub async fn run(&self) {
        loop {
            tokio::time::sleep(self.shared.options.lifetime / 2).await;
            self.shared.end_leases(false, Lease::is_over).await;
        }
    }

    /// Ends all leases: counts what was spent, and returns the rest. Call it before the program ends, when no request is
    /// in work any more.
    pub async fn shut_down(&self) {
        self.shared.end_leases(true, |_| true).await;
    }
}

/// The charge of the next lease. In a box, so that a charge of the current lease does not move the memory that it needs.
type ChargeNext = Pin<Box<dyn Future<Output = Result<DecisionSource>> + Send>>;

impl Shared {
    /// Charges the current lease. Returns the charge of the next one, if it has not so much.
    #[inline(never)]
    fn charge_now(
        self: &Arc<Self>,
        ctx: &TenantContext,
        quota: Quota,
        subject: Option<&str>,
        n: u64,
    ) -> Result<Option<ChargeNext>> {
        let rule = quota.rule(ctx.entitlements())?;
        let key = CountKey::new(ctx, rule.per(), subject, quota.id)?;
        match self.leases.spend(&key, checked_amount(n)?, &Terms::of(ctx, rule)) {
            Some(false) => Ok(None),
            Some(true) => {
                self.refresh_ahead(Needed::new(ctx, quota, subject, 1, key));
                Ok(None)
            }
            None => {
                let (shared, needed) = (self.clone(), Needed::new(ctx, quota, subject, n, key));
                Ok(Some(Box::pin(async move { shared.charge_next(needed).await })))
            }
        }
    }

    /// Takes the next lease while the current one is still being spent.
    fn refresh_ahead(self: &Arc<Self>, needed: Needed) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shared, refresh) = (self.clone(), self.leases.refresh(&needed.key));
        runtime.spawn(async move {
            let Ok(mut asked) = refresh.try_lock() else { return };
            // If this fails, the request that finds the lease spent reports it.
            if let Ok((Ok(next), timeout)) = shared.take(&needed).await {
                *asked = Asked::default();
                shared.install(&needed.key, next, timeout).await;
            }
        });
    }

    /// Charges what the current lease does not have.
    async fn charge_next(self: &Arc<Self>, needed: Needed) -> Result<DecisionSource> {
        let (shared, refresh) = (self.clone(), self.leases.refresh(&needed.key));
        // A task of its own: a request that is dropped must not lose the lease that it takes.
        match tokio::spawn(async move { shared.refresh(&refresh, &needed).await }).await {
            Ok(charged) => charged,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Error::new(ErrorKind::StoreUnavailable, "the program is ending")),
        }
    }

    /// Spends what is needed, from a new lease if the current one does not have so much.
    async fn refresh(&self, refresh: &Refresh, needed: &Needed) -> Result<DecisionSource> {
        let Needed { ctx, quota, n, key, .. } = needed;
        let rule = quota.rule(ctx.entitlements())?;
        let terms = Terms::of(ctx, rule);
        let now = self.core.now();
        let line = needed.line(now)?;
        let turn = in_time(rule.timeout(), "quotas", async { Ok(refresh.lock().await) });
        let mut asked = match turn.await {
            Ok(asked) => asked,
            Err(error) => return self.without_store(key, rule, &line, error),
        };
        if self.leases.spend(key, *n, &terms).is_some() {
            return Ok(DecisionSource::Counted);
        }
        if asked.down_until.is_some_and(|until| Instant::now() < until) {
            let text = "the store of quotas did not answer a moment ago, and is not asked again yet";
            return self.without_store(key, rule, &line, Error::new(ErrorKind::StoreUnavailable, text));
        }
        if let Some(known) = &asked.refused
            && known.terms == terms
            && *n >= known.line.charge.amount
            && known.line.charge.counter == line.charge.counter
            && Instant::now() < known.until
        {
            return Err(denied(ctx, &line, &known.count, now));
        }
        let mut taken = self.take(needed).await;
        if matches!(taken, Ok((Err(_), _)))
            && let Some(lease) = self.leases.replace(key, None)
        {
            // What the current lease has left may be enough.
            self.returns.end(&lease, rule.timeout()).await;
            taken = self.take(needed).await;
        }
        match taken {
            Ok((Ok(next), timeout)) => {
                *asked = Asked::default();
                next.spend_late(*n);
                self.install(key, next, timeout).await;
                Ok(DecisionSource::Counted)
            }
            Ok((Err(count), _)) => {
                let error = denied(ctx, &line, &count, now);
                let until = Instant::now() + REFUSED_FOR;
                *asked = Asked { refused: Some(Refusal { terms, line, count, until }), down_until: None };
                Err(error)
            }
            Err(error) if is_outage(&error) => {
                asked.down_until = Some(Instant::now() + DOWN_FOR);
                self.without_store(key, rule, &line, error)
            }
            Err(error) => Err(error),
        }
    }

    /// The store does not answer: the current lease is spent, whatever its time, within its period.
    fn without_store(
        &self,
        key: &CountKey,
        rule: &Rule,
        line: &Line,
        error: Error,
    ) -> Result<DecisionSource> {
        let fallback = || self.core.last_answer.fallback("lease", self.core.now());
        if rule.on_failure() == FailurePolicy::Open {
            warn!(%error, feature = line.feature, "a charge is allowed without being counted");
            return Ok(fallback());
        }
        // A lease of the policy `Generous` can be granted to another node when its lifetime is over.
        let is_safe = |lease: &Lease| match self.options.policy {
            CrashPolicy::Strict => lease.line.charge.counter == line.charge.counter,
            CrashPolicy::Generous => !lease.is_over(),
        };
        let is_allowed = |lease: &Arc<Lease>| rule.on_failure() == FailurePolicy::LastLease && is_safe(lease);
        let lease = self.leases.lease(key).filter(is_allowed);
        lease.and_then(|lease| lease.spend_late(line.charge.amount)).map(|_| fallback()).ok_or(error)
    }

    /// Takes a lease from the store. The inner error is what was found if not even the needed amount is left. All
    /// clocks are read before the store is asked, and one after the other.
    async fn take(&self, needed: &Needed) -> Result<(Result<Arc<Lease>, LineCount>, Duration)> {
        let (ctx, start, started, now) = (&needed.ctx, LeaseStart::now(), Instant::now(), self.core.now());
        let rule = needed.quota.rule(ctx.entitlements())?;
        let mut line = needed.line(now)?;
        let (n, wait) = (line.charge.amount, rule.timeout());
        let left = || wait.saturating_sub(started.elapsed());
        let reading = self.core.meter.read(ctx.tenant_id(), std::slice::from_ref(&line.charge.counter), now);
        let states = in_time(wait, "quotas", reading).await?;
        let mut size = self.options.size(n, rule, &states.first().copied().unwrap_or_default());
        loop {
            line.charge.amount = size;
            let hold = Hold { id: Uuid::now_v7(), expires: self.expiry(&line, now) };
            let charge = self.core.to_charge(ctx, std::slice::from_ref(&line), None, Some(hold), now);
            match self.core.ask(&charge, left()).await {
                Ok(ChargeOutcome::Denied { mut counts, .. }) if size <= n => {
                    return Ok((Err(counts.pop().unwrap_or_default()), wait));
                }
                Ok(ChargeOutcome::Denied { .. }) => size = (size / 2).max(n),
                Ok(_) => {
                    let spending_time = self.spending_time(&line, now);
                    let lease = Lease::new((hold, line), ctx, Terms::of(ctx, rule), start, spending_time);
                    return Ok((Ok(Arc::new(lease)), wait));
                }
                Err(error) => {
                    self.returns.release(hold.id, &line, ctx, wait);
                    return Err(error);
                }
            }
        }
    }

    /// When the hold of a lease ends by itself, if its process died. A lease that is alive is ended before.
    fn expiry(&self, line: &Line, now: Timestamp) -> Timestamp {
        match (self.options.policy, line.charge.window.end) {
            (CrashPolicy::Generous, _) => now.after(self.options.lifetime * 2),
            (CrashPolicy::Strict, Some(end)) => end,
            (CrashPolicy::Strict, None) => now.after(Duration::from_hours(24 * 365 * 10)),
        }
    }

    /// For how long a lease is spent: a tenth less than its lifetime, and not beyond the period.
    fn spending_time(&self, line: &Line, now: Timestamp) -> Duration {
        let lifetime = self.options.lifetime / 10 * 9;
        line.charge.window.end.map_or(lifetime, |end| lifetime.min(until(end, now)))
    }

    async fn install(&self, key: &CountKey, next: Arc<Lease>, timeout: Duration) {
        if let Some(last) = self.leases.replace(key, Some(next)) {
            self.returns.end(&last, timeout).await;
        }
    }

    async fn end_leases(&self, also_in_work: bool, is_over: impl Fn(&Lease) -> bool) {
        for (key, refresh) in self.leases.all() {
            // A counter whose next lease is taken right now is not idle.
            let guard = if also_in_work { Some(refresh.lock().await) } else { refresh.try_lock().ok() };
            if guard.is_none() {
                continue;
            }
            match self.leases.lease(&key) {
                Some(lease) if is_over(&lease) => {
                    self.returns.end(&lease, END_TIMEOUT).await;
                    self.leases.replace(&key, None);
                }
                Some(_) => continue,
                None => {}
            }
            // Idle counters take no memory, and a denial is forgotten.
            self.leases.remove_idle(&key);
        }
        self.returns.send_all().await;
    }
}

/// What a request needs. A refresh outlives the request.
struct Needed {
    ctx: TenantContext,
    quota: Quota,
    subject: Option<String>,
    n: u64,
    key: CountKey,
}

impl Needed {
    fn new(ctx: &TenantContext, quota: Quota, subject: Option<&str>, n: u64, key: CountKey) -> Self {
        Self { ctx: ctx.clone(), quota, subject: subject.map(str::to_owned), n, key }
    }

    fn line(&self, now: Timestamp) -> Result<Line> {
        quota_line(&self.ctx, self.quota, self.subject.as_deref(), self.n, now)
    }
}
