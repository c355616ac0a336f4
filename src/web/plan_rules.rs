//! [`PlanRules`]: what a route requires of the tenant's plan, for the middleware of each framework.

use std::borrow::Cow;

use super::problem::is_rate;
#[cfg(feature = "quota")]
use super::rate_limit::RateLimit;
use crate::context::{Actor, TenantContext};
use crate::error::{Error, Result};
use crate::plan::Flag;
#[cfg(feature = "quota")]
use crate::quota::{Decision, DecisionSource, Quota, Quotas};
#[cfg(feature = "rates")]
use crate::quota::{Rate, RateDecision, Rates};

/// What a route requires of the tenant's plan, and what each request is charged.
///
/// [`PlanLayer`](https://docs.rs/tenancy/latest/tenancy/web/struct.PlanLayer.html) applies it in tower and axum,
/// [`PlanMiddleware`](https://docs.rs/tenancy/latest/tenancy/web/struct.PlanMiddleware.html) in actix-web. The plan is
/// checked first, then the features, the rates and the quotas: a request that is rejected earlier is not charged.
///
/// ```
/// use tenancy::plan::Flag;
/// use tenancy::web::PlanRules;
///
/// const EXPORT: Flag = Flag::new("export");
///
/// let rules = PlanRules::new().require_plan("pro").require_feature(EXPORT);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct PlanRules {
    plan: Option<Cow<'static, str>>,
    features: Vec<Flag>,
    #[cfg(feature = "rates")]
    rates: Vec<(Rates, Rate)>,
    #[cfg(feature = "quota")]
    quotas: Option<Quotas>,
    #[cfg(feature = "quota")]
    charges: Vec<(Quota, u64)>,
}

impl PlanRules {
    /// No rule.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires this plan or a higher one in the catalog's `order`. Otherwise the response is 403 `plan-too-low`.
    pub fn require_plan(self, plan: impl Into<Cow<'static, str>>) -> Self {
        Self { plan: Some(plan.into()), ..self }
    }

    /// Requires a feature. Otherwise the response is 403 `feature-not-in-plan`.
    pub fn require_feature(mut self, feature: Flag) -> Self {
        self.features.push(feature);
        self
    }

    /// Limits how often requests come. A request beyond the rate gets 429 `rate-limited` with `Retry-After`.
    ///
    /// The response has the headers `RateLimit` and `RateLimit-Policy`, and the request has the [`Decisions`] in its
    /// extensions. A rate counts requests that come, so one that another rule rejects afterwards is counted too. Add this
    /// rule once for each rate, also for one of each user.
    ///
    /// ```
    /// use tenancy::quota::{Rate, Rates};
    /// use tenancy::web::PlanRules;
    ///
    /// const REQUESTS: Rate = Rate::new("requests");
    ///
    /// let rules = PlanRules::new().limit_rate(&Rates::local(), REQUESTS);
    /// ```
    #[cfg(feature = "rates")]
    pub fn limit_rate(mut self, rates: &Rates, rate: Rate) -> Self {
        self.rates.push((rates.clone(), rate));
        self
    }

    /// Charges each request `n` of a quota. A request beyond the quota gets 429 `quota-exceeded` with `Retry-After`,
    /// and a store that does not answer 503, unless the catalog says otherwise (`on_failure`).
    ///
    /// A request stays charged if its handler fails: reserve in the handler where that is not fair
    /// ([`Quotas::reserve`]). Several quotas are charged together or not at all. The response has the headers `RateLimit` and
    /// `RateLimit-Policy`, and the request has the [`Decisions`] in its extensions.
    #[cfg(feature = "quota")]
    pub fn charge(mut self, quotas: &Quotas, quota: Quota, n: u64) -> Self {
        self.quotas = Some(quotas.clone());
        self.charges.push((quota, n));
        self
    }

    /// Checks the rules, and charges the quotas. An unauthenticated caller gets no numbers, because it may not know how
    /// much the tenant uses.
    ///
    /// # Errors
    /// [`PlanTooLow`](crate::ErrorKind::PlanTooLow), [`FeatureNotInPlan`](crate::ErrorKind::FeatureNotInPlan),
    /// [`RateLimited`](crate::ErrorKind::RateLimited), [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded),
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable), or
    /// [`UnknownFeature`](crate::ErrorKind::UnknownFeature) if the catalog lacks one of the keys.
    pub async fn apply(&self, ctx: &TenantContext) -> Result<Decisions> {
        let mut decisions = self.decide(ctx).await.map_err(|error| shown_to(ctx, error))?;
        if *ctx.actor() == Actor::Anonymous {
            decisions.headers.clear();
        }
        Ok(decisions)
    }

    #[cfg_attr(not(feature = "quota"), expect(clippy::unused_async, reason = "only quotas wait for a store"))]
    async fn decide(&self, ctx: &TenantContext) -> Result<Decisions> {
        let entitlements = ctx.entitlements();
        if let Some(plan) = &self.plan {
            entitlements.require_plan(plan)?;
        }
        for feature in &self.features {
            feature.require(entitlements)?;
        }
        #[cfg_attr(not(feature = "quota"), expect(unused_mut, reason = "only rates and quotas have numbers"))]
        let mut decisions = Decisions::default();
        #[cfg(feature = "rates")]
        for (rates, rate) in &self.rates {
            decisions.rates.push(rates.check(ctx, *rate).await?);
        }
        #[cfg(feature = "quota")]
        if let Some(quotas) = &self.quotas {
            let request = quotas.request(ctx);
            let request = self.charges.iter().fold(request, |request, (quota, n)| request.charge(*quota, *n));
            decisions.charged = request.run().await?;
        }
        #[cfg(feature = "quota")]
        decisions.add_headers();
        Ok(decisions)
    }
}

/// The error of a rate or a quota, without its numbers if the caller is unauthenticated.
pub(super) fn shown_to(ctx: &TenantContext, error: Error) -> Error {
    if *ctx.actor() == Actor::Anonymous && is_rate(error.kind()) { error.without_numbers() } else { error }
}

/// The numbers of what [`PlanRules`] counted for a request. In the extensions of the request.
#[derive(Debug, Clone, Default)]
pub struct Decisions {
    #[cfg(feature = "rates")]
    rates: Vec<RateDecision>,
    #[cfg(feature = "quota")]
    charged: Vec<Decision>,
    headers: Vec<(&'static str, Cow<'static, str>)>,
}

impl Decisions {
    /// The headers of the response.
    pub(super) fn headers(&self) -> &[(&'static str, Cow<'static, str>)] {
        &self.headers
    }
}

#[cfg(feature = "rates")]
impl Decisions {
    /// One decision for each rate, in the order of the rules.
    pub fn rates(&self) -> &[RateDecision] {
        &self.rates
    }
}

#[cfg(feature = "quota")]
impl Decisions {
    /// One decision for each charged quota, in the order of the rules.
    pub fn charged(&self) -> &[Decision] {
        &self.charged
    }

    /// Writes the headers. What the store did not count, and what is unlimited, is not in them.
    fn add_headers(&mut self) {
        let mut headers = RateLimit::default();
        #[cfg(feature = "rates")]
        for rate in &self.rates {
            headers.add_rate(rate);
        }
        let is_counted =
            |one: &&Decision| matches!(one.source, DecisionSource::Counted | DecisionSource::Repeated);
        for decision in self.charged.iter().filter(is_counted) {
            if let Some(remaining) = decision.remaining() {
                let limit = decision.limit.max();
                headers.add(decision.feature, limit, decision.window(), remaining, decision.resets_after);
            }
        }
        self.headers = headers.into_headers().collect();
    }
}
