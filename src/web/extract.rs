//! Extractors for handlers, whatever the framework: they check the plan and the status of the tenant. The adapters of
//! axum and actix-web find the context of the request.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use crate::context::{Actor, TenantContext, unknown_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Flag;
use crate::tenant::TenantStatus;

/// Gives an extractor with a context the methods of the context.
macro_rules! holds_context {
    ($name:ident) => {
        impl<K> $name<K> {
            /// The context.
            pub fn into_context(self) -> TenantContext {
                self.ctx
            }
        }

        impl<K> Deref for $name<K> {
            type Target = TenantContext;

            fn deref(&self) -> &TenantContext {
                &self.ctx
            }
        }
    };
}
#[cfg(feature = "quota")]
pub(super) use holds_context;

/// Names a flag of the [`Catalog`](crate::plan::Catalog) by a type, for [`RequireFeature`].
///
/// ```
/// use tenancy::plan::Flag;
/// use tenancy::web::{FeatureKey, RequireFeature};
///
/// enum Export {}
///
/// impl FeatureKey for Export {
///     const FLAG: Flag = Flag::new("export"); // `Catalog::require(&[&Export::FLAG])` checks it at start
/// }
///
/// async fn export(ctx: RequireFeature<Export>) -> String {
///     format!("the orders of {}", ctx.tenant().name())
/// }
/// ```
pub trait FeatureKey {
    /// The flag.
    const FLAG: Flag;
}

/// An extractor for axum and actix-web: the context of a tenant whose plan includes the feature `F`.
///
/// A tenant without the feature gets a response with status 403, its plan, and the URL for an upgrade
/// ([`PlanDenial`](crate::PlanDenial)). A key that the catalog does not declare as a flag yields status 500.
///
/// See [`FeatureKey`] for an example.
///
/// # Security
/// On a public route, the response reveals the plan of the tenant to an unauthenticated caller.
pub struct RequireFeature<F> {
    ctx: TenantContext,
    feature: PhantomData<fn() -> F>,
}

impl<F: FeatureKey> RequireFeature<F> {
    /// Checks the plan of a context.
    ///
    /// # Errors
    /// [`ErrorKind::FeatureNotInPlan`], or [`ErrorKind::UnknownFeature`].
    pub fn of(ctx: TenantContext) -> Result<Self> {
        F::FLAG.require(ctx.entitlements())?;
        Ok(Self { ctx, feature: PhantomData })
    }
}

holds_context!(RequireFeature);

impl<F: FeatureKey> fmt::Debug for RequireFeature<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireFeature").field("flag", &F::FLAG).field("ctx", &self.ctx).finish()
    }
}

/// Names a plan of the [`Catalog`](crate::plan::Catalog) by a type, for [`RequirePlan`].
///
/// ```
/// use tenancy::web::{PlanKey, RequirePlan};
///
/// enum Pro {}
///
/// impl PlanKey for Pro {
///     const KEY: &'static str = "pro";
/// }
///
/// async fn audit_log(ctx: RequirePlan<Pro>) -> String {
///     format!("the audit log of {}", ctx.tenant().name())
/// }
/// ```
pub trait PlanKey {
    /// The key of the plan in the catalog. [`Catalog::require_plans`](crate::plan::Catalog::require_plans) checks it
    /// at start.
    const KEY: &'static str;
}

/// An extractor for axum and actix-web: the context of a tenant on the plan `P` or a higher one in the catalog's
/// `order`.
///
/// A tenant on a lower plan gets status 403, and a plan that the `order` lacks yields status 500. See [`PlanKey`] for an
/// example.
///
/// # Security
/// On a public route, the response reveals the plan of the tenant to an unauthenticated caller.
pub struct RequirePlan<P> {
    ctx: TenantContext,
    plan: PhantomData<fn() -> P>,
}

impl<P: PlanKey> RequirePlan<P> {
    /// Checks the plan of a context.
    ///
    /// # Errors
    /// [`ErrorKind::PlanTooLow`], or [`ErrorKind::UnknownPlan`].
    pub fn of(ctx: TenantContext) -> Result<Self> {
        ctx.entitlements().require_plan(P::KEY)?;
        Ok(Self { ctx, plan: PhantomData })
    }
}

holds_context!(RequirePlan);

impl<P: PlanKey> fmt::Debug for RequirePlan<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequirePlan").field("plan", &P::KEY).field("ctx", &self.ctx).finish()
    }
}

/// An extractor for axum and actix-web: the context of a tenant that is [`Active`](TenantStatus::Active) or
/// [`Trialing`](TenantStatus::Trialing).
///
/// The middleware also accepts a tenant whose payment is overdue ([`TenantStatus::is_open`]). Use this extractor
/// where that is not enough, such as on a route that causes costs. A tenant with an overdue payment gets status 402.
///
/// # Security
/// An unauthenticated caller gets 404, as for a tenant that does not exist, so the response does not reveal whether a
/// bill is paid.
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
    /// Checks the status of the tenant.
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
        format!("a payment of this tenant is overdue; settle it{at}, and try again"),
    )
}

impl Deref for RequireActive {
    type Target = TenantContext;

    fn deref(&self) -> &TenantContext {
        &self.0
    }
}
