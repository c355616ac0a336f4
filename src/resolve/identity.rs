//! The result of a hook that maps a session or a certificate to a caller.

use super::candidate::Candidate;
use super::source::SourceOutcome;
use crate::context::Actor;
use crate::tenant::{Slug, TenantId};

/// The caller that a session or a certificate belongs to, and the tenant it is valid for. Your hook returns it.
///
/// Without a tenant, another source must name one, and the [`Membership`](super::Membership) of the resolver must
/// confirm that the caller is a member.
///
/// ```
/// use tenancy::context::Actor;
/// use tenancy::resolve::Identity;
/// use tenancy::tenant::Slug;
///
/// let ada = Identity::new(Actor::user("ada"));
/// let ada_at_acme = ada.clone().tenant(Slug::parse("acme")?);
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Identity {
    actor: Actor,
    tenant: Option<Candidate>,
}

impl Identity {
    /// A caller without a tenant. The actor [`Anonymous`](Actor::Anonymous), such as a guest session, proves nothing.
    pub fn new(actor: Actor) -> Self {
        Self { actor, tenant: None }
    }

    /// Sets the tenant, by id or by slug.
    pub fn tenant(self, tenant: impl Into<Candidate>) -> Self {
        Self { tenant: Some(tenant.into()), ..self }
    }
}

impl From<Identity> for SourceOutcome {
    fn from(Identity { actor, tenant }: Identity) -> Self {
        match tenant {
            Some(candidate) => Self::Verified { candidate, actor },
            None => Self::VerifiedActor(actor),
        }
    }
}

impl From<TenantId> for Candidate {
    fn from(id: TenantId) -> Self {
        Self::Id(id)
    }
}

impl From<Slug> for Candidate {
    fn from(slug: Slug) -> Self {
        Self::Slug(slug)
    }
}
