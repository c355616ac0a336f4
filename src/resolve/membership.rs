//! The trait `Membership`. The cache in front of one is in `src/store/cached`.

use std::fmt;

use async_trait::async_trait;

use crate::context::{Actor, TenantContext, unknown_tenant};
use crate::error::Result;
use crate::tenant::TenantId;

/// Looks up whether a person may act for a tenant, in your own table of members.
///
/// A [`Resolver`](super::Resolver) with a membership checks every person whom a credential names. A removed member is
/// rejected although the token is still valid. A person whose credential names no tenant can reach every tenant of
/// which they are a member. A machine's credential that names its tenant, such as an API key, is not checked.
///
/// ```
/// use async_trait::async_trait;
/// use tenancy::context::Actor;
/// use tenancy::resolve::Membership;
/// use tenancy::tenant::TenantId;
///
/// #[derive(Debug)]
/// struct Members(sqlx::PgPool);
///
/// #[async_trait]
/// impl Membership for Members {
///     async fn is_member(&self, tenant: &TenantId, actor: &Actor) -> tenancy::Result<bool> {
///         # let _ = (tenant, actor); Ok(true)
///         // SELECT EXISTS (SELECT 1 FROM members WHERE tenant_id = $1 AND subject = $2)
///     }
/// }
/// ```
#[async_trait]
pub trait Membership: Send + Sync + fmt::Debug {
    /// Whether this person may act for this tenant.
    ///
    /// # Errors
    /// If the lookup fails. The request is rejected with the error.
    async fn is_member(&self, tenant: &TenantId, actor: &Actor) -> Result<bool>;

    /// The cached result, without waiting; `None` if [`is_member`](Self::is_member) must be called.
    fn peek(&self, tenant: &TenantId, actor: &Actor) -> Option<bool> {
        let _ = (tenant, actor);
        None
    }

    /// Checks the person of a context, as a [`Revalidator`](crate::context::Revalidator) does. A machine passes
    /// unchecked. Where machines are members, because their credentials name no tenant, call
    /// [`is_member`](Self::is_member) instead.
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`](crate::ErrorKind::TenantUnknown) for a person who is no member, as for a tenant
    /// that does not exist; or the errors of [`is_member`](Self::is_member).
    async fn require(&self, ctx: &TenantContext) -> Result<()> {
        let Actor::User(_) = ctx.actor() else { return Ok(()) };
        if self.is_member(ctx.tenant_id(), ctx.actor()).await? { Ok(()) } else { Err(unknown_tenant()) }
    }
}
