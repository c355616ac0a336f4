//! Finds the tenant of a request: a [`Resolver`] reads every [`Source`], and all sources must agree on one tenant.
//!
//! A source yields either a *verified credential* (such as a token whose signature was checked) or an *unverified
//! hint* (a host, a path, a header). Sources are not ranked: if two of them name different tenants, the request is
//! rejected. A route that touches tenant data requires a credential ([`Resolver::resolve`]). On a public page a hint
//! suffices ([`Resolver::resolve_unauthenticated`]).
//!
//! This module depends on no web framework: a request is a [`RequestView`]. The middleware for tower, axum and
//! actix-web is in [`web`](crate::web).
//!
//! `docs/explanation/identity.md` explains what each source proves. `docs/reference/identity-attacks.md` lists the
//! tested attacks and their results.
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
//! // A host is an unverified hint; this route requires a credential.
//! let error = resolver.resolve(&request).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::CredentialMissing);
//! # Ok(()) }
//! ```

#[cfg(feature = "api-keys")]
mod api_key;
mod authority;
#[cfg(any(feature = "api-keys", feature = "jwt"))]
mod bearer;
mod candidate;
mod certificate;
#[cfg(feature = "custom-domains")]
mod custom_domains;
#[cfg(not(feature = "custom-domains"))]
#[path = "no_custom_domains.rs"]
mod custom_domains;
mod decision;
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
mod source;
mod syntax;
mod trusted_peers;
mod view;

#[cfg(feature = "api-keys")]
pub use self::api_key::ApiKeySource;
pub use self::candidate::Candidate;
pub use self::certificate::CertificateSource;
pub use self::forwarded::ForwardedHost;
pub use self::header::HeaderSource;
pub use self::host::HostSource;
pub use self::identity::Identity;
#[cfg(feature = "jwks")]
pub use self::jwt::RemoteJwks;
#[cfg(feature = "jwt")]
pub use self::jwt::{ClaimPath, JwtAlgorithm, JwtSource, JwtSourceBuilder};
pub use self::membership::Membership;
pub use self::path::PathSource;
pub use self::resolver::{ResolveFuture, Resolver};
pub use self::session::SessionSource;
#[cfg(feature = "signed-header")]
pub use self::signed_header::{HeaderKeys, SignedHeaderSource, SignedTenant};
#[cfg(any(feature = "tower", feature = "actix-web"))]
pub(crate) use self::source::span_without_tenant;
pub use self::source::{Source, SourceOutcome};
pub use self::trusted_peers::TrustedPeers;
pub use self::view::{HeaderField, HttpVersion, OwnedRequest, RequestView, TlsInfo};
