use super::{Candidate, SourceOutcome};
use crate::context::Actor;
use crate::tenant::{Slug, TenantId};

/// Who a session or a certificate stands for, and whose data it may reach: the answer of a hook of yours.
///
/// Without a tenant it says who is calling and no more: another source selects the tenant, and the
/// [`Membership`](super::Membership) of the resolver says whether it is theirs.
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
    /// Somebody, of no particular tenant. A guest, who is [`Anonymous`](Actor::Anonymous), proves nothing.
    pub fn new(actor: Actor) -> Self {
        Self { actor, tenant: None }
    }

    /// Of this tenant: an id, or a slug.
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
