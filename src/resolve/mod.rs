//! From a request to its tenant: every [`Source`] is read, and the [`Resolver`] lets only one tenant through.
//!
//! A source either *proves* (a verified token) or merely *selects* (a host, a path, a header). Sources are not
//! ranked: if two of them name different tenants, the request is refused. A route that touches a tenant's
//! data asks for proof ([`Resolver::resolve`]); a public page may live with a selection
//! ([`Resolver::resolve_unauthenticated`]).
//!
//! Nothing here knows a web framework: a request is a [`RequestView`]. With the feature `tower` the
//! middleware does all of this for you.
//!
//! `docs/identity.md` says what each source is worth, and lists the attacks that are tested, with what becomes of each.
//!
//! ```
//! use std::sync::Arc;
//! use tenancy::ErrorKind;
//! use tenancy::context::TenantDirectory;
//! use tenancy::resolve::{HostSource, Resolver, OwnedRequest};
//! # use tenancy::{plan::Catalog, store::MemoryStore, tenant::{NewTenant, Slug, TenantStatus, TenantStore}};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
//! # let store = Arc::new(MemoryStore::new());
//! # let catalog = Arc::new(Catalog::from_toml("version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }")?);
//! # store.insert(NewTenant::new(Slug::parse("acme")?, "Acme", "free").status(TenantStatus::Active)).await?;
//! let resolver = Resolver::new(TenantDirectory::new(store, catalog)).source(HostSource::new(["example.com"])?);
//!
//! let request = OwnedRequest::get("/").with_header("Host", "acme.example.com");
//! let ctx = resolver.resolve_unauthenticated(&request).await?;
//! assert_eq!(ctx.tenant().slug().as_str(), "acme");
//!
//! // A host selects; it proves nothing.
//! let refused = resolver.resolve(&request).await.unwrap_err();
//! assert_eq!(refused.kind(), ErrorKind::CredentialMissing);
//! # Ok(()) }
//! ```

#[cfg(feature = "api-keys")]
mod api_key;
mod authority;
#[cfg(any(feature = "api-keys", feature = "jwt"))]
mod bearer;
mod certificate;
mod evidence;
mod forwarded;
mod header;
mod host;
mod identity;
#[cfg(feature = "jwt")]
mod jwt;
mod membership;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "no_metrics.rs"]
mod metrics;
mod path;
mod resolver;
mod session;
#[cfg(feature = "signed-header")]
mod signed_header;
mod view;

use std::fmt;
use std::pin::Pin;

#[cfg(feature = "api-keys")]
pub use self::api_key::ApiKeySource;
pub use self::certificate::CertificateSource;
pub use self::forwarded::ForwardedHost;
pub use self::header::{HeaderSource, TrustedPeers};
pub use self::host::HostSource;
pub use self::identity::Identity;
#[cfg(feature = "jwks")]
pub use self::jwt::RemoteJwks;
#[cfg(feature = "jwt")]
pub use self::jwt::{JwtAlgorithm, JwtSource, JwtSourceBuilder};
pub use self::membership::Membership;
pub use self::path::PathSource;
pub use self::resolver::{ResolveFuture, Resolver};
pub use self::session::SessionSource;
#[cfg(feature = "signed-header")]
pub use self::signed_header::{HeaderKeys, SignedHeaderSource, SignedTenant};
pub use self::view::{HeaderField, HttpVersion, OwnedRequest, RequestView, TlsInfo};
use crate::context::{Actor, ResolvedBy};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Slug, TenantId};

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
    Pending(Later),
}

type Later = Pin<Box<dyn Future<Output = SourceOutcome> + Send>>;

impl SourceOutcome {
    /// The one answer to every credential that is not good; why it is not is for the log.
    fn not_valid() -> Self {
        Self::Invalid(Error::new(ErrorKind::CredentialInvalid, "the credential is not valid"))
    }
}

impl fmt::Debug for SourceOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Unverified(candidate) => f.debug_tuple("Selected").field(candidate).finish(),
            Self::Verified { candidate, actor } => {
                f.debug_struct("Proven").field("candidate", candidate).field("actor", actor).finish()
            }
            Self::VerifiedActor(actor) => f.debug_tuple("Identified").field(actor).finish(),
            Self::Forbidden { candidate, actor } => {
                f.debug_struct("Denied").field("candidate", candidate).field("actor", actor).finish()
            }
            Self::Invalid(error) => f.debug_tuple("Invalid").field(error).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}

/// A tenant as a request names it, not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Candidate {
    /// By its id.
    Id(TenantId),
    /// By its slug.
    Slug(Slug),
}

/// How a text names a tenant.
#[derive(Debug, Clone, Copy)]
enum Naming {
    /// A UUID or an integer is an id, anything else a slug.
    Either,
    Id,
    Slug,
}

impl Naming {
    fn read(self, text: &str) -> Result<Candidate> {
        let looks_like_an_id = || text.parse::<u64>().is_ok() || uuid::Uuid::try_parse(text).is_ok();
        match self {
            Self::Id => TenantId::parse(text).map(Candidate::Id),
            Self::Either if looks_like_an_id() => TenantId::parse(text).map(Candidate::Id),
            Self::Either | Self::Slug => Slug::parse(text).map(Candidate::Slug),
        }
    }
}
