//! The tenant in a client certificate. The handshake itself is verified by your TLS server.

use std::fmt;

use tracing::debug;

use super::identity::Identity;
use super::source::{Source, SourceOutcome, span_without_tenant};
use super::view::{RequestView, TlsInfo};
use crate::context::ResolvedBy;

/// Reads the caller from the client's certificate (mutual TLS). Your hook maps a name of the certificate to an
/// [`Identity`].
///
/// The hook is called with every subject alternative name, such as `spiffe://example.com/acme/worker`. If it returns
/// `None` for all names, the source is absent. A certificate whose names map to different identities is rejected.
///
/// # Security
/// This is a verified credential. The server must have verified the certificate before it inserts the names into the
/// request as [`TlsInfo`].
///
/// ```
/// use tenancy::context::Actor;
/// use tenancy::resolve::{CertificateSource, Identity, SourceOutcome, Source, OwnedRequest, TlsInfo};
/// use tenancy::tenant::Slug;
///
/// let source = CertificateSource::new(|name| {
///     let (tenant, service) = name.strip_prefix("spiffe://example.com/")?.split_once('/')?;
///     Some(Identity::new(Actor::service(service)).tenant(Slug::parse(tenant).ok()?))
/// });
/// let tls = TlsInfo::new().with_name("spiffe://example.com/acme/worker");
/// assert!(matches!(source.read(&OwnedRequest::get("/").with_tls(tls)), SourceOutcome::Verified { .. }));
/// ```
#[must_use]
pub struct CertificateSource {
    hook: Hook,
}

type Hook = Box<dyn Fn(&str) -> Option<Identity> + Send + Sync>;

impl CertificateSource {
    /// Maps the names of client certificates with `hook`.
    pub fn new(hook: impl Fn(&str) -> Option<Identity> + Send + Sync + 'static) -> Self {
        Self { hook: Box::new(hook) }
    }
}

impl Source for CertificateSource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let names = request.tls().into_iter().flat_map(TlsInfo::names);
        let mut known = names.filter_map(|name| (self.hook)(name));
        let Some(first) = known.next() else { return SourceOutcome::Absent };
        if known.any(|other| other != first) {
            span_without_tenant()
                .in_scope(|| debug!("the names of a certificate map to different identities"));
            return SourceOutcome::not_valid();
        }
        first.into()
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Certificate
    }
}

impl fmt::Debug for CertificateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateSource").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::OwnedRequest;
    use super::*;
    use crate::context::Actor;
    use crate::tenant::Slug;

    #[test]
    fn the_names_of_a_certificate_map_to_one_identity_or_none() {
        let source = CertificateSource::new(|name| {
            let tenant = Slug::parse(name.strip_suffix(".clients.example.com")?).ok()?;
            Some(Identity::new(Actor::service("sync")).tenant(tenant))
        });
        let read = |names: &[&str]| {
            let tls = names.iter().fold(TlsInfo::new(), |tls, name| tls.with_name(*name));
            source.read(&OwnedRequest::get("/").with_tls(tls))
        };
        let (acme, globex) = ("acme.clients.example.com", "globex.clients.example.com");
        assert!(matches!(read(&[acme]), SourceOutcome::Verified { .. }));
        assert!(matches!(read(&["other.example.com", acme, acme]), SourceOutcome::Verified { .. }));
        assert!(matches!(read(&[acme, globex]), SourceOutcome::Invalid(_)));
        assert!(matches!(read(&[]), SourceOutcome::Absent));
        assert!(matches!(read(&["evil.com"]), SourceOutcome::Absent));
        assert!(matches!(source.read(&OwnedRequest::get("/")), SourceOutcome::Absent), "no TLS");
    }
}
