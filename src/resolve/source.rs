//! What a [`Source`] is, and what it can find in a request.

use std::fmt;
use std::pin::Pin;

use super::candidate::Candidate;
use super::view::RequestView;
use crate::context::{Actor, ResolvedBy};
use crate::error::{Error, ErrorKind};

/// One place of a request that can name a tenant.
///
/// For a credential of your own, such as an API key or a client certificate, implement this trait.
///
/// # Security
/// Answer [`SourceOutcome::Verified`] only for what you verified yourself, and [`SourceOutcome::Invalid`] for anything
/// malformed, repeated or ambiguous: `Absent` would let another source decide alone.
pub trait Source: Send + Sync + fmt::Debug {
    /// What the request says here.
    fn read(&self, request: &dyn RequestView) -> SourceOutcome;

    /// The name of this way, for the context and the audit log.
    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Custom
    }

    /// The request header that decides the answer, for the `Vary` header of responses, or several with commas between;
    /// `None` if the answer depends on the URL or the connection alone.
    fn vary(&self) -> Option<&str> {
        None
    }
}

/// What one [`Source`] says about one request.
#[non_exhaustive]
pub enum SourceOutcome {
    /// Nothing: the request does not use this source.
    Absent,
    /// The request picks this tenant, and proves nothing.
    Unverified(Candidate),
    /// A verified credential binds the request to this tenant. One that speaks for nobody in particular
    /// ([`Anonymous`](Actor::Anonymous)) merely selects it.
    Verified {
        /// The tenant that the credential was issued for.
        candidate: Candidate,
        /// Who the credential speaks for.
        actor: Actor,
    },
    /// A verified credential says who is calling, and no tenant. Another source selects one, and the
    /// [`Membership`] of the resolver says whether it is theirs.
    VerifiedActor(Actor),
    /// A verified credential names a tenant that it may not speak for: the request is refused as a conflict, and told
    /// to that tenant's audit trail.
    Forbidden {
        /// The tenant that the credential names.
        candidate: Candidate,
        /// Who the credential speaks for.
        actor: Actor,
    },
    /// The request uses this source in a way that cannot be accepted: it is refused, whatever the other
    /// sources say.
    Invalid(Error),
    /// Not known yet: a store, or a key that has to be fetched, is asked first. Answer so only where that is so: what is
    /// at hand costs no allocation.
    Pending(OutcomeFuture),
}

pub(super) type OutcomeFuture = Pin<Box<dyn Future<Output = SourceOutcome> + Send>>;

impl SourceOutcome {
    /// The one answer to every credential that is not good; why it is not is for the log.
    pub(super) fn not_valid() -> Self {
        Self::Invalid(Error::new(ErrorKind::CredentialInvalid, "the credential is not valid"))
    }
}

impl fmt::Debug for SourceOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Unverified(candidate) => f.debug_tuple("Unverified").field(candidate).finish(),
            Self::Verified { candidate, actor } => {
                f.debug_struct("Verified").field("candidate", candidate).field("actor", actor).finish()
            }
            Self::VerifiedActor(actor) => f.debug_tuple("VerifiedActor").field(actor).finish(),
            Self::Forbidden { candidate, actor } => {
                f.debug_struct("Forbidden").field("candidate", candidate).field("actor", actor).finish()
            }
            Self::Invalid(error) => f.debug_tuple("Invalid").field(error).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}
