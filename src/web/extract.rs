//! What a handler can ask for in its signature, whatever the framework. Each adapter finds the context of the request,
//! and asks here.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use tracing::error;

use crate::context::{Actor, TenantContext, unknown_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantStatus;

/// The error of a handler that takes a context on a route without the middleware.
pub(super) fn forgotten(mend: &str) -> Error {
    error!(
        "a handler takes a TenantContext, and its route is not behind the middleware that finds it; add {mend}"
    );
    Error::new(ErrorKind::Misconfigured, "the route is not behind the middleware that finds its tenant")
}

/// A flag of the [`Catalog`](crate::plan::Catalog), as a type that a handler's signature can name.
///
/// ```
/// use tenancy::web::{FeatureKey, RequireFeature};
///
/// enum Export {}
///
/// impl FeatureKey for Export {
///     const KEY: &'static str = "export";
/// }
///
/// async fn export(ctx: RequireFeature<Export>) -> String {
///     format!("the orders of {}", ctx.tenant().name())
/// }
/// ```
pub trait FeatureKey {
    /// The key of the flag in the catalog.
    const KEY: &'static str;
}

/// The context of a tenant whose plan has the flag `F`: an extractor for axum and actix-web.
///
/// A tenant without it is answered 403, with what the plan is and where it can be changed
/// ([`PlanDenial`](crate::PlanDenial)); a key that the catalog does not declare as a flag, 500.
///
/// # Security
/// Behind the public middleware the answer tells a stranger which plan the tenant is on.
pub struct RequireFeature<F> {
    ctx: TenantContext,
    feature: PhantomData<fn() -> F>,
}

impl<F: FeatureKey> RequireFeature<F> {
    /// The context, if its plan has the flag.
    ///
    /// # Errors
    /// [`ErrorKind::FeatureNotInPlan`], or [`ErrorKind::UnknownFeature`].
    pub fn of(ctx: TenantContext) -> Result<Self> {
        ctx.entitlements().require(F::KEY)?;
        Ok(Self { ctx, feature: PhantomData })
    }
}

impl<F> RequireFeature<F> {
    /// The context.
    pub fn into_context(self) -> TenantContext {
        self.ctx
    }
}

impl<F> Deref for RequireFeature<F> {
    type Target = TenantContext;

    fn deref(&self) -> &TenantContext {
        &self.ctx
    }
}

impl<F: FeatureKey> fmt::Debug for RequireFeature<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireFeature").field("feature", &F::KEY).field("ctx", &self.ctx).finish()
    }
}

/// The context of a tenant that is [`Active`](TenantStatus::Active) or [`Trialing`](TenantStatus::Trialing): an
/// extractor for axum and actix-web.
///
/// The middleware lets a tenant in whose payment is overdue ([`TenantStatus::is_open`]). Where that is not enough,
/// such as before something that costs you money, take this: its people are answered 402.
///
/// # Security
/// Somebody who proved nothing hears 404, as of a tenant that does not exist: whether a bill is paid is not theirs to
/// know.
///
/// ```
/// use tenancy::web::RequireActive;
///
/// async fn start_machine(ctx: RequireActive) -> String {
///     format!("a machine for {}", ctx.tenant().name())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct RequireActive(TenantContext);

impl RequireActive {
    /// The context, if its tenant owes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::PaymentOverdue`], or [`ErrorKind::TenantUnknown`] for an [anonymous](Actor::Anonymous) caller.
    pub fn of(ctx: TenantContext) -> Result<Self> {
        match (ctx.tenant().status(), ctx.actor()) {
            (TenantStatus::Active | TenantStatus::Trialing, _) => Ok(Self(ctx)),
            (_, Actor::Anonymous) => Err(unknown_tenant()),
            (TenantStatus::PastDue, _) => Err(overdue(ctx.entitlements().upgrade_url())),
            _ => Err(Error::new(ErrorKind::TenantInactive, "this tenant is not open for requests")),
        }
    }

    /// The context.
    pub fn into_context(self) -> TenantContext {
        self.0
    }
}

fn overdue(url: Option<&str>) -> Error {
    let at = url.map(|url| format!(" at {url}")).unwrap_or_default();
    Error::new(
        ErrorKind::PaymentOverdue,
        format!("a payment of this tenant is overdue; settle it{at}, and ask again"),
    )
}

impl Deref for RequireActive {
    type Target = TenantContext;

    fn deref(&self) -> &TenantContext {
        &self.0
    }
}
