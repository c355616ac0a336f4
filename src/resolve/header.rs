use std::net::SocketAddr;

use ipnet::IpNet;
use tracing::warn;

use super::view::{HeaderField, RequestView};
use super::{Naming, Source, SourceOutcome};
use crate::context::ResolvedBy;
use crate::error::{Error, ErrorKind, Result};

/// Reads the tenant from a header, set by a proxy or gateway that you trust.
///
/// A UUID or an integer in it is an id, anything else a slug; [`ids`](Self::ids) and [`slugs`](Self::slugs)
/// settle it. From any other peer the header is ignored, with a warning in the log.
///
/// # Security
/// A header is a selection, not evidence. The proxy must set it on every request and must drop what a client
/// sent under that name.
///
/// ```
/// use tenancy::resolve::{HeaderSource, SourceOutcome, Source, OwnedRequest, TrustedPeers};
///
/// let source = HeaderSource::new("X-Tenant", TrustedPeers::new(["10.0.0.0/8"])?)?;
/// let request = OwnedRequest::get("/").with_header("X-Tenant", "acme");
/// assert!(matches!(source.read(&request.clone().with_peer("10.1.2.3:9999".parse().unwrap())), SourceOutcome::Unverified(_)));
/// assert!(matches!(source.read(&request.with_peer("203.0.113.7:9999".parse().unwrap())), SourceOutcome::Absent));
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
    /// A source over the header `name`, believed only from `peers`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if `name` is not the name of a header.
    pub fn new(name: &str, peers: TrustedPeers) -> Result<Self> {
        Ok(Self { name: header_name(name)?, peers, naming: Naming::Either })
    }

    /// The header always carries an id.
    pub fn ids(self) -> Self {
        Self { naming: Naming::Id, ..self }
    }

    /// The header always carries a slug.
    pub fn slugs(self) -> Self {
        Self { naming: Naming::Slug, ..self }
    }
}

/// The name of a header, in lower case. Underscores are refused, since proxies take them for hyphens.
pub(super) fn header_name(name: &str) -> Result<String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(Error::new(
            ErrorKind::Misconfigured,
            "a header has a name of letters, digits and hyphens, such as `x-tenant`",
        ));
    }
    Ok(name.to_ascii_lowercase())
}

impl Source for HeaderSource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let field = request.header(&self.name);
        if field == HeaderField::Absent {
            return SourceOutcome::Absent;
        }
        if !self.peers.trust(request.peer()) {
            warn!(header = self.name, peer = ?request.peer(), "a tenant header from a peer that is not trusted");
            return SourceOutcome::Absent;
        }
        let HeaderField::Once(value) = field else {
            return SourceOutcome::Invalid(Error::new(
                ErrorKind::InvalidInput,
                "the tenant header is there more than once",
            ));
        };
        let candidate = std::str::from_utf8(value)
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "the tenant header is not text"))
            .and_then(|text| self.naming.read(text));
        candidate.map_or_else(SourceOutcome::Invalid, SourceOutcome::Unverified)
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Header
    }

    fn vary(&self) -> Option<&str> {
        Some(&self.name)
    }
}

/// The networks whose machines may speak for others: your own proxies.
#[derive(Debug, Clone)]
pub struct TrustedPeers(Vec<IpNet>);

impl TrustedPeers {
    /// The peers in these networks, each in CIDR notation such as `10.0.0.0/8` or `::1/128`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if there is none, or one cannot be read.
    pub fn new(networks: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        let networks = networks
            .into_iter()
            .map(|network| {
                network.as_ref().parse().map_err(|error: ipnet::AddrParseError| {
                    Error::new(
                        ErrorKind::Misconfigured,
                        "a trusted network is written like 10.0.0.0/8 or ::1/128",
                    )
                    .with_source(error)
                })
            })
            .collect::<Result<Vec<IpNet>>>()?;
        if networks.is_empty() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "name at least one trusted network, or leave the header source out",
            ));
        }
        Ok(Self(networks))
    }

    /// An address that is not known is not trusted. An IPv4 address is the same inside IPv6.
    pub(super) fn trust(&self, peer: Option<SocketAddr>) -> bool {
        peer.is_some_and(|peer| {
            let address = peer.ip().to_canonical();
            self.0.iter().any(|network| network.contains(&address))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Candidate;
    use super::super::view::OwnedRequest;
    use super::*;

    fn source() -> HeaderSource {
        HeaderSource::new("X-Tenant-Id", TrustedPeers::new(["10.0.0.0/8", "::1/128"]).unwrap()).unwrap()
    }

    fn from_proxy() -> OwnedRequest {
        OwnedRequest::get("/").with_peer("10.0.0.7:5000".parse().unwrap())
    }

    #[test]
    fn only_a_trusted_peer_is_believed() {
        let request = OwnedRequest::get("/").with_header("x-tenant-id", "acme");
        assert!(matches!(source().read(&request), SourceOutcome::Absent), "an unknown peer");
        for (peer, trusted) in
            [("10.9.9.9:1", true), ("[::ffff:10.9.9.9]:1", true), ("[::1]:1", true), ("11.0.0.1:1", false)]
        {
            let signal = source().read(&request.clone().with_peer(peer.parse().unwrap()));
            assert_eq!(matches!(signal, SourceOutcome::Unverified(_)), trusted, "{peer}: {signal:?}");
        }
        // Not even its form is looked at when the peer is not trusted.
        let junk = OwnedRequest::get("/").with_header("x-tenant-id", "'--");
        assert!(matches!(source().read(&junk), SourceOutcome::Absent));
    }

    #[test]
    fn a_value_is_one_id_or_slug_or_it_is_refused() {
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
