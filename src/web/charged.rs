//! [`Charged`]: an extractor that charges a quota.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use super::extract::holds_context;
use super::plan_rules::shown_to;
use crate::context::TenantContext;
use crate::error::Result;
use crate::quota::{Decision, Quota, Quotas};

/// Names a quota of the [`Catalog`](crate::plan::Catalog) by a type, for [`Charged`].
///
/// ```
/// use tenancy::quota::Quota;
/// use tenancy::web::{Charged, QuotaKey};
///
/// enum Reports {}
///
/// impl QuotaKey for Reports {
///     const QUOTA: Quota = Quota::new("reports");
/// }
///
/// async fn report(reports: Charged<Reports>) -> String {
///     format!("report {} of {}", reports.decision().used, reports.tenant().name())
/// }
/// ```
///
/// In axum, the state of the router contains the [`Quotas`]:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use std::sync::Arc;
/// use axum::extract::FromRef;
/// use tenancy::quota::Quotas;
///
/// #[derive(Clone)]
/// struct App {
///     quotas: Quotas,
/// }
///
/// impl FromRef<App> for Quotas {
///     fn from_ref(app: &App) -> Self {
///         app.quotas.clone()
///     }
/// }
/// # }
/// ```
///
/// In actix-web, the application has them as data: `App::new().app_data(web::Data::new(quotas))`.
pub trait QuotaKey {
    /// The quota.
    const QUOTA: Quota;
    /// What one request costs.
    const AMOUNT: u64 = 1;
}

/// An extractor for axum and actix-web: the context of a tenant that was charged for this request.
///
/// A request beyond the quota gets status 429. See [`QuotaKey`] for an example. An extractor cannot add headers to the
/// response: for `RateLimit` and for several quotas at once, use [`PlanRules`](crate::web::PlanRules).
///
/// A request stays charged if a later extractor rejects it. So make this the last argument before the body.
///
/// # Security
/// On a public route, anybody can use up the quota of the tenant.
pub struct Charged<K> {
    ctx: TenantContext,
    decision: Decision,
    key: PhantomData<fn() -> K>,
}

impl<K: QuotaKey> Charged<K> {
    /// Charges the tenant of a context.
    ///
    /// # Errors
    /// As [`Quotas::charge`]. An unauthenticated caller gets no numbers.
    pub async fn of(ctx: TenantContext, quotas: &Quotas) -> Result<Self> {
        let charged = quotas.charge(&ctx, K::QUOTA, K::AMOUNT).await;
        let decision = charged.map_err(|error| shown_to(&ctx, error))?;
        Ok(Self { ctx, decision, key: PhantomData })
    }
}

impl<K> Charged<K> {
    /// The numbers of the quota, with this request.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }
}

holds_context!(Charged);

impl<K> fmt::Debug for Charged<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charged").field("decision", &self.decision).field("ctx", &self.ctx).finish()
    }
}
