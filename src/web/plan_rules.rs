//! [`PlanRules`]: what a route requires of the tenant's plan, for the middleware of each framework.

use std::borrow::Cow;

#[cfg(feature = "quota")]
use super::rate_limit::RateLimit;
#[cfg(feature = "quota")]
use crate::context::Actor;
use crate::context::TenantContext;
use crate::error::Result;
use crate::plan::Flag;
#[cfg(feature = "quota")]
use crate::quota::{Decision, DecisionSource, Quota, Quotas};

/// What a route requires of the tenant's plan, and what each request is charged.
///
/// [`PlanLayer`](https://docs.rs/tenancy/latest/tenancy/web/struct.PlanLayer.html) applies it in tower and axum,
/// [`PlanMiddleware`](https://docs.rs/tenancy/latest/tenancy/web/struct.PlanMiddleware.html) in actix-web. The plan is
/// checked first, then the features, then the quotas: a request that is rejected earlier is not charged.
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

    /// Charges each request `n` of a quota. A request beyond the quota gets 429 `quota-exceeded` with `Retry-After`,
    /// and a store that does not answer 503, unless the catalog says otherwise (`on_failure`).
    ///
    /// Several quotas are charged together or not at all. The response has the headers `RateLimit` and
    /// `RateLimit-Policy`, and the request has the [`Decisions`] in its extensions.
    #[cfg(feature = "quota")]
    pub fn charge(mut self, quotas: &Quotas, quota: Quota, n: u64) -> Self {
        self.quotas = Some(quotas.clone());
        self.charges.push((quota, n));
        self
    }

    /// Checks the rules, and charges the quotas.
    ///
    /// # Errors
    /// [`PlanTooLow`](crate::ErrorKind::PlanTooLow), [`FeatureNotInPlan`](crate::ErrorKind::FeatureNotInPlan),
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded), [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable),
    /// or [`UnknownFeature`](crate::ErrorKind::UnknownFeature) if the catalog lacks one of the keys.
    #[cfg_attr(not(feature = "quota"), expect(clippy::unused_async, reason = "only quotas wait for a store"))]
    pub async fn apply(&self, ctx: &TenantContext) -> Result<Decisions> {
        let entitlements = ctx.entitlements();
        if let Some(plan) = &self.plan {
            entitlements.require_plan(plan)?;
        }
        for feature in &self.features {
            feature.require(entitlements)?;
        }
        #[cfg(feature = "quota")]
        if let Some(quotas) = &self.quotas {
            let request = quotas.request(ctx);
            let request = self.charges.iter().fold(request, |request, (quota, n)| request.charge(*quota, *n));
            return match request.run().await {
                Ok(charged) => Ok(Decisions::of(ctx, charged)),
                Err(error) if *ctx.actor() == Actor::Anonymous => Err(error.without_numbers()),
                Err(error) => Err(error),
            };
        }
        Ok(Decisions::default())
    }
}

/// The numbers of what a request was charged by [`PlanRules`]. In the extensions of the request.
#[derive(Debug, Clone, Default)]
pub struct Decisions {
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

#[cfg(feature = "quota")]
impl Decisions {
    /// One decision for each charged quota, in the order of the rules.
    pub fn charged(&self) -> &[Decision] {
        &self.charged
    }

    /// An unauthenticated caller gets no numbers, because it may not know how much the tenant uses.
    fn of(ctx: &TenantContext, charged: Vec<Decision>) -> Self {
        let mut headers = RateLimit::default();
        let is_counted =
            |one: &&Decision| matches!(one.source, DecisionSource::Counted | DecisionSource::Repeated);
        for decision in charged.iter().filter(is_counted).filter(|_| *ctx.actor() != Actor::Anonymous) {
            if let Some(remaining) = decision.remaining() {
                let limit = decision.limit.max();
                headers.add(decision.feature, limit, decision.window(), remaining, decision.resets_after);
            }
        }
        Self { charged, headers: headers.into_headers().collect() }
    }
}
