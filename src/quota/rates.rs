//! [`Rates`]: limits how often something happens, by the rules of the tenant's plan.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::warn;

use super::answer::{LastAnswer, in_time, is_outage};
use super::bucket::{Bucket, RateCall, RateOutcome, RateStore};
use super::count_key::CountKey;
use super::decision::DecisionSource;
use super::key::Rate;
use super::rate_node::{NodeRates, RateClock, RateKey};
use crate::clock::{Clock, Timestamp};
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{FailurePolicy, Limit, RateRule};

/// Limits how often something happens, by the rules of tenants' plans. A clone is cheap and counts together with it.
///
/// A rate of `{ limit = 10, seconds = 1, burst = 20 }` allows 20 at once, and then one each 100 ms (GCRA). What was not
/// used adds up to the burst, so a window of one second can contain `burst + limit`. A denied check changes nothing:
/// repeating it does not extend the wait.
///
/// ```
/// use tenancy::quota::{Rate, Rates};
/// # use std::sync::Arc;
/// # use tenancy::context::{Actor, TenantDirectory};
/// # use tenancy::{ErrorKind, plan::Catalog, store::MemoryStore, tenant::{NewTenant, TenantStore}};
///
/// const REQUESTS: Rate = Rate::new("requests");
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
/// # let catalog = Catalog::from_toml("version = 1\n[features]\nrequests = { kind = \"rate\" }\n[plans.free]\nfeatures = { requests = { limit = 2, seconds = 3600 } }")?;
/// # let store = Arc::new(MemoryStore::new());
/// # let acme = store.insert(NewTenant::active("acme", "free")?).await?;
/// # let ctx = TenantDirectory::new(store, catalog).context(acme.id(), Actor::user("ada")).await?;
/// let rates = Rates::local(); // or `Rates::redis`, for one limit across nodes
/// assert_eq!(rates.check(&ctx, REQUESTS).await?.remaining, Some(1));
/// rates.check(&ctx, REQUESTS).await?;
/// let denied = rates.check(&ctx, REQUESTS).await.unwrap_err();
/// assert_eq!(denied.kind(), ErrorKind::RateLimited); // 429 in the web layer
/// assert!(denied.plan_denial().unwrap().retry_after.is_some());
/// # Ok(()) }
/// ```
///
/// # A changed rule
/// A new plan, add-on or override takes effect at the next check, and begins with its whole burst. The old rule keeps
/// its state for a tenant that changes back. While nodes see different plans, each of the two rules counts on its own.
///
/// # Memory
/// [`local`](Self::local) keeps about 100 bytes for each tenant, feature and subject that was allowed something lately.
/// It deletes a state only when its burst is whole again, so no limit starts again early. Subjects that callers invent
/// each use memory until then: use subjects that your program knows.
#[derive(Debug, Clone)]
pub struct Rates {
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Node(Arc<NodeRates>),
    Shared(Arc<Shared>),
}

/// An allowed check of a rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RateDecision {
    /// The feature's key.
    pub feature: &'static str,
    /// How often in `seconds`.
    pub limit: Limit,
    /// The length of the window in seconds.
    pub seconds: u32,
    /// How often at once, at most.
    pub burst: u32,
    /// How many more are allowed now. `None` for unlimited, and while the store does not answer.
    pub remaining: Option<u32>,
    /// After how long, at the latest, the whole burst is allowed again. `None` like `remaining`.
    pub reset_after: Option<Duration>,
    /// Where the numbers come from.
    pub source: DecisionSource,
}

impl Rates {
    /// Counts in the memory of this process. Each node of a deployment allows the whole rate; across nodes use
    /// `Rates::redis`.
    pub fn local() -> Self {
        Self { place: Place::Node(Arc::new(NodeRates::new(RateClock::monotonic()))) }
    }

    /// Replaces the clock, and forgets what was counted on this node. Without it the clock is one that no change of the
    /// system's time moves. Rates in Redis use the clock of Redis, and this one only for the age of a
    /// [`Fallback`](DecisionSource::Fallback).
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        let clock = RateClock::given(clock);
        let place = match self.place {
            Place::Node(_) => Place::Node(Arc::new(NodeRates::new(clock))),
            Place::Shared(shared) => Place::Shared(Arc::new(Shared::new(shared.store.clone(), clock))),
        };
        Self { place }
    }

    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "a store for several nodes needs Redis"))]
    pub(crate) fn shared(store: Arc<dyn RateStore>) -> Self {
        Self { place: Place::Shared(Arc::new(Shared::new(store, RateClock::monotonic()))) }
    }

    /// Allows one, or returns an error.
    ///
    /// # Errors
    /// [`ErrorKind::RateLimited`], with the time to wait in [`plan_denial`](Error::plan_denial);
    /// [`ErrorKind::FeatureNotInPlan`] for a limit of 0, because waiting does not help; [`ErrorKind::UnknownFeature`] if
    /// the catalog has no such rate; [`ErrorKind::InvalidInput`] if the rate counts per user and the actor is none;
    /// [`ErrorKind::StoreUnavailable`] if the store does not answer in time and the rule is not
    /// [open](FailurePolicy::Open); [`ErrorKind::Misconfigured`] for more than 10,000,000 in a second.
    pub async fn check(&self, ctx: &TenantContext, rate: Rate) -> Result<RateDecision> {
        self.decide(ctx, rate, 1, None).await
    }

    /// Allows all `n` or none, such as the bytes of an upload or the rows of an import.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `n` is 0, or more than the burst: waiting does not help then. Otherwise as
    /// [`check`](Self::check).
    pub async fn check_n(&self, ctx: &TenantContext, rate: Rate, n: u32) -> Result<RateDecision> {
        self.decide(ctx, rate, n, None).await
    }

    /// Allows all `n` or none, of a rate that counts [per subject](crate::plan::CountPer::Subject).
    ///
    /// # Errors
    /// As [`check_n`](Self::check_n).
    pub async fn check_for(
        &self,
        ctx: &TenantContext,
        rate: Rate,
        n: u32,
        subject: &str,
    ) -> Result<RateDecision> {
        self.decide(ctx, rate, n, Some(subject)).await
    }

    /// How many states this process keeps; 0 for rates in Redis.
    pub fn tracked_keys(&self) -> usize {
        match &self.place {
            Place::Node(node) => node.tracked_keys(),
            Place::Shared(_) => 0,
        }
    }

    #[inline]
    async fn decide(
        &self,
        ctx: &TenantContext,
        rate: Rate,
        n: u32,
        subject: Option<&str>,
    ) -> Result<RateDecision> {
        match &self.place {
            Place::Node(node) => Check::read(ctx, rate, n)?.on_node(node, subject),
            // In a box, so that a check on this node does not move the memory that this needs.
            Place::Shared(shared) => Box::pin(shared.take(ctx, rate, n, subject)).await,
        }
    }
}

/// A check of a rate. Without a bucket it is unlimited.
struct Check<'a> {
    ctx: &'a TenantContext,
    rate: Rate,
    rule: &'a RateRule,
    bucket: Option<Bucket>,
    n: NonZeroU32,
}

impl<'a> Check<'a> {
    #[inline]
    fn read(ctx: &'a TenantContext, rate: Rate, n: u32) -> Result<Self> {
        let rule = rate.rule(ctx.entitlements())?;
        let Some(n) = NonZeroU32::new(n) else {
            return Err(Error::new(ErrorKind::InvalidInput, "the amount must be 1 or more"));
        };
        let bucket = match rule.limit() {
            Limit::Unlimited => None,
            Limit::AtMost(0) => return Err(ctx.entitlements().not_included(rate.feature())),
            Limit::AtMost(limit) => Some(Bucket::new(limit, rule)),
        };
        match bucket {
            Some(bucket) if n.get() > bucket.burst => Err(over_burst(rate.feature(), n, bucket)),
            _ => Ok(Self { ctx, rate, rule, bucket, n }),
        }
    }

    #[inline]
    fn on_node(&self, node: &Arc<NodeRates>, subject: Option<&str>) -> Result<RateDecision> {
        let Some(bucket) = self.bucket else { return Ok(self.decision(None, DecisionSource::Counted)) };
        let key = RateKey { count: self.key(subject)?, bucket };
        self.decide(bucket, node.take(&key, self.n)?)
    }

    #[inline]
    fn key(&self, subject: Option<&str>) -> Result<CountKey> {
        CountKey::new(self.ctx, self.rule.per(), subject, self.rate.id)
    }

    #[inline]
    fn decide(&self, bucket: Bucket, outcome: RateOutcome) -> Result<RateDecision> {
        match outcome {
            RateOutcome::Denied { wait } => Err(rate_limited(self.ctx, self.rate.feature(), bucket, wait)),
            RateOutcome::Allowed { remaining, interval } => {
                let reset = interval.saturating_mul(bucket.burst.saturating_sub(remaining));
                Ok(self.decision(Some((bucket, remaining, reset)), DecisionSource::Counted))
            }
        }
    }

    #[inline]
    fn decision(&self, numbers: Option<(Bucket, u32, Duration)>, source: DecisionSource) -> RateDecision {
        RateDecision {
            feature: self.rate.feature(),
            limit: self.rule.limit(),
            seconds: self.rule.seconds(),
            burst: numbers.map_or(self.rule.burst(), |(bucket, ..)| bucket.burst),
            remaining: numbers.map(|(_, remaining, _)| remaining),
            reset_after: numbers.map(|(.., reset)| reset),
            source,
        }
    }
}

/// A store of rates for several nodes, and when it last answered.
#[derive(Debug)]
struct Shared {
    store: Arc<dyn RateStore>,
    clock: RateClock,
    last_answer: LastAnswer,
}

impl Shared {
    fn new(store: Arc<dyn RateStore>, clock: RateClock) -> Self {
        Self { store, clock, last_answer: LastAnswer::never() }
    }

    /// The time of this clock, from its start.
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0).after(self.clock.elapsed())
    }

    async fn take(
        &self,
        ctx: &TenantContext,
        rate: Rate,
        n: u32,
        subject: Option<&str>,
    ) -> Result<RateDecision> {
        let check = Check::read(ctx, rate, n)?;
        let Some(bucket) = check.bucket else { return Ok(check.decision(None, DecisionSource::Counted)) };
        let (CountKey { tenant, subject, .. }, feature) = (&check.key(subject)?, rate.feature());
        let call = RateCall { tenant, feature, subject, bucket, interval: bucket.interval(feature)?, n };
        match in_time(check.rule.timeout(), "rates", self.store.take(&call)).await {
            Ok(outcome) => {
                self.last_answer.record(self.now());
                check.decide(bucket, outcome)
            }
            Err(error) if is_outage(&error) && check.rule.on_failure() == FailurePolicy::Open => {
                warn!(%error, %tenant, feature, "a rate is not limited");
                Ok(check.decision(None, self.last_answer.fallback("rate", self.now())))
            }
            Err(error) => Err(error),
        }
    }
}

fn over_burst(feature: &str, n: NonZeroU32, bucket: Bucket) -> Error {
    let burst = bucket.burst;
    Error::new(
        ErrorKind::InvalidInput,
        format!("the plan allows {burst} `{feature}` at once, and never {n}; use fewer at a time"),
    )
}

fn rate_limited(ctx: &TenantContext, feature: &str, bucket: Bucket, wait: Duration) -> Error {
    let mut denial = ctx.entitlements().denial(Some(feature));
    (denial.limit, denial.retry_after) = (Some(bucket.limit), Some(wait));
    denial.window = Some(Duration::from_secs(bucket.seconds.into()));
    let (plan, Bucket { limit, seconds, .. }) = (ctx.entitlements().plan(), bucket);
    let text = format!("the plan `{plan}` allows {limit} `{feature}` in {seconds} s; try again in {wait:?}");
    Error::denied(ErrorKind::RateLimited, text, denial)
}
