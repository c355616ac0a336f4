use std::fmt;

use async_trait::async_trait;

use crate::context::{Actor, TenantContext, unknown_tenant};
use crate::error::Result;
use crate::tenant::TenantId;

/// Who may act for which tenant: your own table of members.
///
/// A [`Resolver`](super::Resolver) that has one asks it about every person whom a credential names: one who was
/// removed is refused although the token is still valid, and one whose credential names no tenant may choose among
/// their own. A machine's credential that names its tenant, such as an API key, belongs to it, and is not asked about.
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
    /// When it cannot be known: the request is refused with the error.
    async fn is_member(&self, tenant: &TenantId, actor: &Actor) -> Result<bool>;

    /// What is at hand, without waiting; `None` if it has to be asked for.
    fn peek(&self, tenant: &TenantId, actor: &Actor) -> Option<bool> {
        let _ = (tenant, actor);
        None
    }

    /// Asks for the person of a context, as a [`Revalidator`](crate::context::Revalidator) does. A machine is let through: one
    /// that is a member, because its credential names no tenant, has to be asked about by [`is_member`](Self::is_member).
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`](crate::ErrorKind::TenantUnknown) for one who is no member, which is also what a
    /// tenant that does not exist is answered with; or as [`is_member`](Self::is_member).
    async fn require(&self, ctx: &TenantContext) -> Result<()> {
        let Actor::User(_) = ctx.actor() else { return Ok(()) };
        if self.is_member(ctx.tenant_id(), ctx.actor()).await? { Ok(()) } else { Err(unknown_tenant()) }
    }
}
