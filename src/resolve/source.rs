//! The trait `Source`, and the outcomes of reading one. Each source of this crate has a file of its own.

use std::fmt;
use std::pin::Pin;

use tracing::{Span, info_span};

use super::candidate::Candidate;
use super::view::RequestView;
use crate::context::{Actor, ResolvedBy};
use crate::error::{Error, ErrorKind};

/// The span of what is logged before the tenant of a request is known, and if it has none. A request with a tenant has
/// the span of its context only.
pub(crate) fn span_without_tenant() -> Span {
    info_span!("tenant", tenant.id = %"unknown")
}

/// Reads the tenant from one part of a request, such as its host or a token.
///
/// Implement it for a kind of credential that this crate does not read:
///
/// ```
/// use tenancy::resolve::{HeaderField, OwnedRequest, RequestView, Source, SourceOutcome};
/// use tenancy::tenant::Slug;
/// use tenancy::{Error, ErrorKind};
///
/// /// Reads a slug from the header `x-workspace`, which any client can set.
/// #[derive(Debug)]
/// struct Workspace;
///
/// impl Source for Workspace {
///     fn read(&self, request: &dyn RequestView) -> SourceOutcome {
///         match request.header("x-workspace") {
///             HeaderField::Absent => SourceOutcome::Absent,
///             HeaderField::Once(value) => match Slug::parse(&String::from_utf8_lossy(value)) {
///                 Ok(slug) => SourceOutcome::Unverified(slug.into()),
///                 Err(error) => SourceOutcome::Invalid(error),
///             },
///             HeaderField::Repeated => {
///                 SourceOutcome::Invalid(Error::new(ErrorKind::InvalidInput, "x-workspace is repeated"))
///             }
///         }
///     }
///
///     fn vary(&self) -> Option<&str> {
///         Some("x-workspace")
///     }
/// }
///
/// let request = OwnedRequest::get("/").with_header("X-Workspace", "acme");
/// assert!(matches!(Workspace.read(&request), SourceOutcome::Unverified(_)));
/// ```
///
/// # Security
/// Return [`SourceOutcome::Verified`] only for a credential that the source itself has verified. Return
/// [`SourceOutcome::Invalid`] for anything malformed, repeated or ambiguous: with `Absent`, another source would
/// decide alone.
pub trait Source: Send + Sync + fmt::Debug {
    /// Reads this source in one request.
    fn read(&self, request: &dyn RequestView) -> SourceOutcome;

    /// The kind of this source, for the context and the audit log.
    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Custom
    }

    /// The request headers that this source reads, separated by commas, for the `Vary` header of responses. `None` if
    /// the outcome depends on the URL or the connection alone.
    fn vary(&self) -> Option<&str> {
        None
    }

    /// The scheme of the credential that this source reads, for the `WWW-Authenticate` header of a response with status
    /// 401 (RFC 9110, section 11.6.1). `None` if it reads no `Authorization` header.
    fn challenge(&self) -> Option<&str> {
        None
    }

    /// Whether this source can return a verified credential: by default all but a host and a path. A layer that needs a
    /// credential warns if no source can.
    fn verifies(&self) -> bool {
        !matches!(self.resolved_by(), ResolvedBy::Host | ResolvedBy::Path)
    }
}

/// The result of reading one [`Source`] in one request.
#[non_exhaustive]
pub enum SourceOutcome {
    /// The request does not use this source.
    Absent,
    /// An unverified hint: the request names this tenant and proves nothing.
    Unverified(Candidate),
    /// A verified credential for this tenant. With the actor [`Anonymous`](Actor::Anonymous) it counts as an
    /// unverified hint.
    Verified {
        /// The tenant that the credential was issued for.
        candidate: Candidate,
        /// The actor that the credential names.
        actor: Actor,
    },
    /// A verified credential that names a caller and no tenant. Another source must name the tenant, and the
    /// [`Membership`](super::Membership) of the resolver must confirm that the caller is a member.
    VerifiedActor(Actor),
    /// A verified credential that may not act for the tenant it names. The request is rejected as a conflict, and the
    /// rejection is written to the audit log of that tenant.
    Forbidden {
        /// The tenant that the credential names.
        candidate: Candidate,
        /// The actor that the credential names.
        actor: Actor,
    },
    /// The request uses this source wrongly. It is rejected with this error, whatever the other sources yield.
    Invalid(Error),
    /// Not known yet: a store must be queried, or a key fetched. Return an outcome that is known at once directly,
    /// since a future costs an allocation.
    Pending(OutcomeFuture),
}

pub(super) type OutcomeFuture = Pin<Box<dyn Future<Output = SourceOutcome> + Send>>;

impl SourceOutcome {
    /// The same error for every credential that is not valid. Only the log contains the reason.
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
