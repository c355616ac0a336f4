//! The tenant in a header that a trusted proxy sets. Signed headers are in `signed_header.rs`.

use tracing::warn;

use super::candidate::Naming;
use super::source::{Source, SourceOutcome, span_without_tenant};
use super::syntax::header_name;
use super::trusted_peers::TrustedPeers;
use super::view::{HeaderField, RequestView};
use crate::context::ResolvedBy;
use crate::error::{Error, ErrorKind, Result};

/// Reads the tenant from a header that a trusted proxy or gateway sets.
///
/// A UUID or an integer is read as an id, any other value as a slug; [`ids`](Self::ids) and [`slugs`](Self::slugs)
/// restrict the header to one of them. A header from any other peer is ignored and logged as a warning.
///
/// # Security
/// The header is an unverified hint, not a credential. The proxy must set it on every request, and must drop a header
/// of that name that a client sends.
///
/// ```
/// use tenancy::resolve::{HeaderSource, SourceOutcome, Source, OwnedRequest, TrustedPeers};
///
/// let source = HeaderSource::new("X-Tenant", TrustedPeers::new(["10.0.0.0/8"])?)?;
/// let request = OwnedRequest::get("/").with_header("X-Tenant", "acme");
/// let from_proxy = request.clone().with_peer("10.1.2.3:9999".parse().unwrap());
/// assert!(matches!(source.read(&from_proxy), SourceOutcome::Unverified(_)));
/// let from_client = request.with_peer("203.0.113.7:9999".parse().unwrap());
/// assert!(matches!(source.read(&from_client), SourceOutcome::Absent));
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct HeaderSource {
    name: String,
    peers: TrustedPeers,
    naming: Naming,
}

impl HeaderSource {
    /// Reads the header `name`, from `peers` only.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if `name` is not the name of a header.
    pub fn new(name: &str, peers: TrustedPeers) -> Result<Self> {
        Ok(Self { name: header_name(name)?, peers, naming: Naming::Either })
    }

    /// Reads the value as an id only.
    pub fn ids(self) -> Self {
        Self { naming: Naming::Id, ..self }
    }

    /// Reads the value as a slug only.
    pub fn slugs(self) -> Self {
        Self { naming: Naming::Slug, ..self }
    }
}

impl Source for HeaderSource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let field = request.header(&self.name);
        if field == HeaderField::Absent {
            return SourceOutcome::Absent;
        }
        if !self.peers.contains(request.peer()) {
            span_without_tenant().in_scope(|| warn!(header = self.name, peer = ?request.peer(), "a tenant header from a peer that is not trusted"));
            return SourceOutcome::Absent;
        }
        let HeaderField::Once(value) = field else {
            return SourceOutcome::Invalid(Error::new(
                ErrorKind::InvalidInput,
                "the tenant header is repeated; send it once",
            ));
        };
        let candidate = std::str::from_utf8(value)
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "the tenant header is not text"))
            .and_then(|text| self.naming.parse(text));
        candidate.map_or_else(SourceOutcome::Invalid, SourceOutcome::Unverified)
    }

    fn verifies(&self) -> bool {
        false
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Header
    }

    fn vary(&self) -> Option<&str> {
        Some(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidate::Candidate;
    use super::super::view::OwnedRequest;
    use super::*;

    fn source() -> HeaderSource {
        HeaderSource::new("X-Tenant-Id", TrustedPeers::new(["10.0.0.0/8", "::1/128"]).unwrap()).unwrap()
    }

    fn from_proxy() -> OwnedRequest {
        OwnedRequest::get("/").with_peer("10.0.0.7:5000".parse().unwrap())
    }

    #[test]
    fn the_header_of_an_untrusted_peer_is_ignored() {
        let request = OwnedRequest::get("/").with_header("x-tenant-id", "acme");
        assert!(matches!(source().read(&request), SourceOutcome::Absent), "an unknown peer");
        for (peer, trusted) in
            [("10.9.9.9:1", true), ("[::ffff:10.9.9.9]:1", true), ("[::1]:1", true), ("11.0.0.1:1", false)]
        {
            let outcome = source().read(&request.clone().with_peer(peer.parse().unwrap()));
            assert_eq!(matches!(outcome, SourceOutcome::Unverified(_)), trusted, "{peer}: {outcome:?}");
        }
        // From an untrusted peer not even a malformed header is rejected.
        let junk = OwnedRequest::get("/").with_header("x-tenant-id", "'--");
        assert!(matches!(source().read(&junk), SourceOutcome::Absent));
    }

    #[test]
    fn a_value_is_one_id_or_slug_or_is_rejected() {
        let read = |value: &str| source().read(&from_proxy().with_header("x-tenant-id", value));
        let uuid = "018f3f5e-3a5a-7c3e-9d0a-000000000001";
        assert!(matches!(read("acme"), SourceOutcome::Unverified(Candidate::Slug(_))));
        assert!(matches!(read("42"), SourceOutcome::Unverified(Candidate::Id(_))));
        assert!(matches!(read(uuid), SourceOutcome::Unverified(Candidate::Id(_))));
        for bad in ["", "0", "*", "acme'--", "../beta", "acme,globex", "%0d%0a", &"a".repeat(10_000), "null"]
        {
            assert!(matches!(read(bad), SourceOutcome::Invalid(_)), "{bad}");
        }
        let twice = from_proxy().with_header("x-tenant-id", "acme").with_header("X-Tenant-Id", "acme");
        assert!(matches!(source().read(&twice), SourceOutcome::Invalid(_)));
        let ids = source().ids().read(&from_proxy().with_header("x-tenant-id", "acme"));
        assert!(matches!(ids, SourceOutcome::Unverified(Candidate::Id(_))));
        let slugs = source().slugs().read(&from_proxy().with_header("x-tenant-id", "42"));
        assert!(matches!(slugs, SourceOutcome::Invalid(_)));
    }

    #[test]
    fn a_header_source_without_trust_cannot_be_built() {
        let kind = TrustedPeers::new(Vec::<String>::new()).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::Misconfigured);
        assert!(TrustedPeers::new(["everyone"]).is_err());
        assert!(HeaderSource::new("x_tenant", TrustedPeers::new(["::1/128"]).unwrap()).is_err());
    }
}
