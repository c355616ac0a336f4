//! The tenant in the host: a subdomain, or a custom domain. Hosts are parsed in `authority.rs`.

use std::borrow::Cow;

use tracing::debug;

use super::authority::{Authority, Host, HostError};
use super::candidate::Candidate;
use super::custom_domains::CustomDomains;
use super::forwarded::{ForwardedHost, Forwarding};
use super::source::{Source, SourceOutcome, span_without_tenant};
use super::trusted_peers::TrustedPeers;
use super::view::{RequestView, TlsInfo};
use crate::context::ResolvedBy;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Slug, is_reserved};

/// Reads the tenant from the host: `acme.example.com` is the tenant with the slug `acme`.
///
/// Exactly one label before a base domain is a slug. The base domain itself, a reserved word before it (`www`,
/// `api`), an IP address, and a host under no base domain name no tenant. A host that is malformed, repeated or
/// ambiguous is rejected with [`ErrorKind::InvalidAuthority`].
///
/// With `custom_domains` (feature `custom-domains`), a host under no base domain must be the verified domain of a
/// tenant.
///
/// # Security
/// A host is an unverified hint, not a credential. `Forwarded`, `X-Forwarded-Host` and similar headers are not read.
/// Behind a proxy, configure the proxy to forward the `Host` unchanged, or use
/// [`trusted_proxies`](Self::trusted_proxies).
///
/// ```
/// use tenancy::resolve::{Candidate, HostSource, SourceOutcome, Source, OwnedRequest};
/// use tenancy::tenant::Slug;
///
/// let source = HostSource::new(["example.com", "localhost"])?.ports([443, 3000]);
/// let request = OwnedRequest::get("/").with_header("Host", "ACME.localhost:3000");
/// let SourceOutcome::Unverified(Candidate::Slug(slug)) = source.read(&request) else { panic!("no slug") };
/// assert_eq!(slug.as_str(), "acme");
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct HostSource {
    domains: Vec<String>,
    ports: Option<Vec<u16>>,
    require_sni_match: bool,
    forwarding: Option<Forwarding>,
    vary: &'static str,
    custom: CustomDomains,
}

/// What a host names.
enum HostKind<'a> {
    NoTenant,
    Slug(Slug),
    /// A name under no base domain.
    Custom(Cow<'a, str>),
}

impl HostSource {
    /// Reads the slug before one of these base domains.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the list is empty, or a base domain is not a plain domain name.
    pub fn new(domains: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        let domains = domains
            .into_iter()
            .map(|domain| match Authority::parse(domain.as_ref().as_bytes()) {
                Ok(Authority { host: Host::Name(name), port: None }) => Ok(name.into_owned()),
                _ => Err(Error::new(
                    ErrorKind::Misconfigured,
                    "a base domain is a plain name such as `example.com` or `localhost`; name ports with `ports`",
                )),
            })
            .collect::<Result<Vec<_>>>()?;
        if domains.is_empty() {
            return Err(Error::new(ErrorKind::Misconfigured, "a host source needs at least one base domain"));
        }
        Ok(Self {
            domains,
            ports: None,
            require_sni_match: false,
            forwarding: None,
            vary: "host",
            custom: CustomDomains::none(),
        })
    }

    /// Rejects a host with any other port. A host without a port is accepted.
    pub fn ports(self, ports: impl IntoIterator<Item = u16>) -> Self {
        Self { ports: Some(ports.into_iter().collect()), ..self }
    }

    /// Rejects a request whose host differs from the server name (SNI) of its TLS connection, if
    /// [`RequestView::tls`] contains one. The error is [`ErrorKind::Misdirected`], status 421 (RFC 9110,
    /// section 15.5.20).
    pub fn require_sni_match(self) -> Self {
        Self { require_sni_match: true, ..self }
    }

    /// Reads the host from this header if the peer is one of these proxies. The request's `Host` is then not used,
    /// but must still be well-formed. A header from any other peer is ignored and logged as a warning.
    ///
    /// # Security
    /// The proxy must set the header on every request, and must drop a header of that name that a client sends.
    pub fn trusted_proxies(self, peers: TrustedPeers, header: ForwardedHost) -> Self {
        let vary = match header {
            ForwardedHost::Forwarded => "host, forwarded",
            ForwardedHost::XForwardedHost => "host, x-forwarded-host",
        };
        Self { forwarding: Some(Forwarding { header, peers }), vary, ..self }
    }

    fn authority<'a>(&self, request: &'a dyn RequestView) -> Result<Authority<'a>, SourceOutcome> {
        let authority = Authority::of(request).map_err(malformed)?;
        let forwarded = self.forwarding.as_ref().map(|forwarding| forwarding.authority(request));
        if let Some(forwarded) = forwarded.transpose().map_err(malformed)?.flatten() {
            return Ok(forwarded);
        }
        if self.is_misdirected(request, &authority.host) {
            return Err(SourceOutcome::Invalid(Error::new(
                ErrorKind::Misdirected,
                "the connection was made for another host; open one for this host",
            )));
        }
        Ok(authority)
    }

    /// Whether the TLS connection was made for another host.
    fn is_misdirected(&self, request: &dyn RequestView, host: &Host<'_>) -> bool {
        let server_name = request.tls().and_then(TlsInfo::server_name).filter(|_| self.require_sni_match);
        server_name.is_some_and(|name| {
            Authority::parse(name.as_bytes()).map(|named| named.host).as_ref() != Ok(host)
        })
    }

    fn select<'a>(&self, Authority { host, port }: Authority<'a>) -> Result<HostKind<'a>, HostError> {
        if let (Some(ports), Some(port)) = (&self.ports, port)
            && !ports.contains(&port)
        {
            return Err("a port off the list");
        }
        let Host::Name(name) = host else { return Ok(HostKind::NoTenant) };
        if self.domains.iter().any(|domain| *domain == name) {
            return Ok(HostKind::NoTenant);
        }
        // Of two base domains of which one is under the other, the longer one decides.
        let label = self
            .domains
            .iter()
            .filter_map(|domain| name.strip_suffix(domain.as_str())?.strip_suffix('.'))
            .min_by_key(|label| label.len());
        match label {
            None => Ok(HostKind::Custom(name)),
            Some(label) if label.contains('.') => Err("several labels before the base domain"),
            Some(label) => match Slug::parse(label) {
                Ok(slug) => Ok(HostKind::Slug(slug)),
                Err(_) if is_reserved(label) => Ok(HostKind::NoTenant),
                Err(_) => Err("a label that no tenant can have"),
            },
        }
    }
}

#[cfg(feature = "custom-domains")]
impl HostSource {
    /// Looks up a host under no base domain as a custom domain, which a tenant has verified.
    ///
    /// # Security
    /// Every other host under no base domain is rejected with [`ErrorKind::TenantUnknown`], whether it is claimed or
    /// unknown, and whatever the other sources yield. A foreign name that points at this service reaches no tenant,
    /// not even with a valid token. Base domains, reserved words before them, and IP addresses still name no tenant.
    pub fn custom_domains(self, domains: std::sync::Arc<dyn crate::tenant::DomainStore>) -> Self {
        Self { custom: CustomDomains::of(domains), ..self }
    }

    /// Parses a domain that a tenant wants to claim.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the text is not a domain, or is a base domain or under one: those names belong
    /// to slugs.
    pub fn parse_custom(&self, text: &str) -> Result<crate::tenant::Domain> {
        let domain = crate::tenant::Domain::parse(text)?;
        let is_under = |base: &String| {
            domain
                .as_str()
                .strip_suffix(base.as_str())
                .is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        };
        if self.domains.iter().any(is_under) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "not a custom domain: it belongs to this service; use a domain of the tenant's own",
            ));
        }
        Ok(domain)
    }
}

impl Source for HostSource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let authority = match self.authority(request) {
            Ok(authority) => authority,
            Err(outcome) => return outcome,
        };
        match self.select(authority) {
            Ok(HostKind::NoTenant) => SourceOutcome::Absent,
            Ok(HostKind::Slug(slug)) => SourceOutcome::Unverified(Candidate::Slug(slug)),
            Ok(HostKind::Custom(name)) => self.custom.read(&name),
            Err(reason) => malformed(reason),
        }
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Host
    }

    fn vary(&self) -> Option<&str> {
        Some(self.vary)
    }
}

fn malformed(reason: HostError) -> SourceOutcome {
    span_without_tenant().in_scope(|| debug!(reason, "host rejected"));
    SourceOutcome::Invalid(Error::new(
        ErrorKind::InvalidAuthority,
        "the host of this request is malformed or ambiguous",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::view::{HttpVersion, OwnedRequest};
    use super::*;

    fn source() -> HostSource {
        HostSource::new(["example.com", "eu.example.com", "localhost"]).unwrap()
    }

    fn read(request: &OwnedRequest) -> std::result::Result<Option<String>, ErrorKind> {
        match source().read(request) {
            SourceOutcome::Absent => Ok(None),
            SourceOutcome::Unverified(Candidate::Slug(slug)) => Ok(Some(slug.to_string())),
            SourceOutcome::Invalid(error) => Err(error.kind()),
            other => panic!("{other:?}"),
        }
    }

    fn host(host: &str) -> std::result::Result<Option<String>, ErrorKind> {
        read(&OwnedRequest::get("/").with_header("Host", host))
    }

    #[test]
    fn one_label_before_a_base_domain_is_the_slug() {
        for good in ["acme.example.com", "acme.eu.example.com", "acme.localhost:3000", "ACME.Example.COM."] {
            assert_eq!(host(good), Ok(Some("acme".to_owned())), "{good}");
        }
        for none in [
            "example.com",
            "eu.example.com",
            "www.example.com",
            "api.example.com",
            "localhost",
            "127.0.0.1:3000",
            "[::1]:3000",
            "127.1",
            "evil.com",
            "acme.example.com.evil.com",
            "acmeexample.com",
            "notlocalhost",
        ] {
            assert_eq!(host(none), Ok(None), "{none}");
        }
        for bad in ["x.acme.example.com", "acme.x.example.com", "xn--80ak.example.com", "42.example.com", ""]
        {
            assert_eq!(host(bad), Err(ErrorKind::InvalidAuthority), "{bad}");
        }
    }

    #[test]
    fn there_is_exactly_one_authority() {
        let invalid = Err(ErrorKind::InvalidAuthority);
        let acme = Ok(Some("acme".to_owned()));
        let get = || OwnedRequest::get("/");
        let name = "acme.example.com";

        assert_eq!(read(&get()), invalid);
        assert_eq!(read(&get().with_version(HttpVersion::Http10)), invalid);
        assert_eq!(read(&get().with_header("Host", name).with_header("host", name)), invalid);
        assert_eq!(
            read(&get().with_authority(name)),
            invalid,
            "HTTP/1.1 needs Host beside an absolute target"
        );
        assert_eq!(read(&get().with_authority("ACME.example.com.").with_header("Host", name)), acme);
        assert_eq!(read(&get().with_authority("evil.com").with_header("Host", name)), invalid);
        assert_eq!(read(&get().with_authority(name).with_header("Host", "evil.com")), invalid);
        assert_eq!(read(&get().with_authority("acme.example.com:80").with_header("Host", name)), invalid);
        assert_eq!(read(&get().with_authority("acme@evil.com").with_header("Host", name)), invalid);

        let two = || get().with_version(HttpVersion::Http2);
        assert_eq!(read(&two().with_authority(name)), acme);
        assert_eq!(read(&two().with_authority(name).with_header("Host", name)), acme);
        assert_eq!(read(&two().with_authority(name).with_header("Host", "evil.example.com")), invalid);
        assert_eq!(
            read(&two().with_authority(name).with_header("Host", name).with_header("Host", name)),
            invalid
        );
        assert_eq!(read(&two().with_header("Host", name)), invalid, "HTTP/2 needs :authority");
    }

    #[test]
    fn a_port_off_the_list_is_rejected() {
        let source = source().ports([8443]);
        let read = |host: &str| source.read(&OwnedRequest::get("/").with_header("Host", host));
        assert!(matches!(read("acme.example.com:8443"), SourceOutcome::Unverified(_)));
        assert!(matches!(read("acme.example.com"), SourceOutcome::Unverified(_)));
        assert!(matches!(read("acme.example.com:80"), SourceOutcome::Invalid(_)));
    }

    #[test]
    fn a_forwarded_host_counts_from_a_trusted_peer_only() {
        let peers = || TrustedPeers::new(["10.0.0.0/8"]).unwrap();
        let get = || OwnedRequest::get("/").with_header("Host", "acme.example.com");
        let (proxy, untrusted) = ("10.0.0.7:1".parse().unwrap(), "203.0.113.9:1".parse().unwrap());
        for (header, name, value, two) in [
            (
                ForwardedHost::Forwarded,
                "Forwarded",
                "for=_x;host=globex.example.com",
                "host=a.example.com, host=b",
            ),
            (
                ForwardedHost::XForwardedHost,
                "X-Forwarded-Host",
                "globex.example.com",
                "a.example.com, b.example.com",
            ),
        ] {
            let source = source().trusted_proxies(peers(), header);
            let read = |request: OwnedRequest| match source.read(&request) {
                SourceOutcome::Unverified(Candidate::Slug(slug)) => Ok(slug.to_string()),
                SourceOutcome::Invalid(error) => Err(error.kind()),
                other => panic!("{other:?}"),
            };
            let (acme, globex) = (Ok("acme".to_owned()), Ok("globex".to_owned()));
            let bad = Err(ErrorKind::InvalidAuthority);
            assert_eq!(read(get().with_header(name, value).with_peer(proxy)), globex, "{name}");
            assert_eq!(read(get().with_peer(proxy)), acme, "{name}: nothing forwarded");
            assert_eq!(
                read(get().with_header(name, value).with_peer(untrusted)),
                acme,
                "{name}: an untrusted peer"
            );
            assert_eq!(read(get().with_header(name, value)), acme, "{name}: an unknown peer");
            assert_eq!(read(get().with_header(name, two).with_peer(proxy)), bad, "{name}: two");
            let twice = get().with_header(name, value).with_header(name, value).with_peer(proxy);
            assert_eq!(read(twice), bad, "{name}: twice");
            let no_host = OwnedRequest::get("/").with_header(name, value).with_peer(proxy);
            assert_eq!(read(no_host), bad, "{name}: the request's own host");
            let other = if name == "Forwarded" { "X-Forwarded-Host" } else { "Forwarded" };
            assert_eq!(read(get().with_header(other, "host=globex.example.com").with_peer(proxy)), acme);
            assert!(source.vary().unwrap().contains(&name.to_ascii_lowercase()));
        }
    }

    #[test]
    fn a_connection_made_for_another_host_is_misdirected() {
        let acme = OwnedRequest::get("/").with_header("Host", "acme.example.com:8443");
        let over = |name: &str| acme.clone().with_tls(TlsInfo::new().with_server_name(name));
        let read = |source: &HostSource, request: &OwnedRequest| match source.read(request) {
            SourceOutcome::Unverified(_) => Ok(()),
            SourceOutcome::Invalid(error) => Err(error.kind()),
            other => panic!("{other:?}"),
        };
        let strict = source().require_sni_match();
        assert_eq!(read(&strict, &over("ACME.example.com.")), Ok(()));
        for other in ["globex.example.com", "example.com", "not a name", ""] {
            assert_eq!(read(&strict, &over(other)), Err(ErrorKind::Misdirected), "{other}");
            assert_eq!(read(&source(), &over(other)), Ok(()), "{other}, without the option");
        }
        let without_sni = acme.clone().with_tls(TlsInfo::new());
        assert_eq!(
            (read(&strict, &acme), read(&strict, &without_sni)),
            (Ok(()), Ok(())),
            "no server name, no check"
        );
    }

    #[test]
    fn a_base_domain_is_a_plain_name() {
        for bad in ["", "localhost:3000", "*.example.com", "127.0.0.1", "https://example.com"] {
            assert_eq!(HostSource::new([bad]).unwrap_err().kind(), ErrorKind::Misconfigured, "{bad}");
        }
        assert!(HostSource::new(Vec::<String>::new()).is_err());
    }
}
