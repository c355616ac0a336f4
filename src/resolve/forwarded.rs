//! The host in a header that a trusted proxy sets. Whether it names a tenant is decided in `host.rs`.

use super::authority::{Authority, HostError};
use super::source::span_without_tenant;
use super::syntax::is_token;
use super::trusted_peers::TrustedPeers;
use super::view::{HeaderField, RequestView};

/// The header in which your proxy sends the host that the client requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardedHost {
    /// `Forwarded: host=acme.example.com` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-Host: acme.example.com`.
    XForwardedHost,
}

impl ForwardedHost {
    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::XForwardedHost => "x-forwarded-host",
        }
    }

    fn authority(self, value: &[u8]) -> Result<Authority<'_>, HostError> {
        match self {
            Self::Forwarded => Authority::parse(forwarded_host(value)?),
            Self::XForwardedHost => Authority::parse(value),
        }
    }
}

/// A forwarding header, and the proxies that may set it.
#[derive(Debug, Clone)]
pub(super) struct Forwarding {
    pub(super) header: ForwardedHost,
    pub(super) peers: TrustedPeers,
}

impl Forwarding {
    /// The forwarded authority; `None` if the header is absent, or the peer is not trusted.
    pub(super) fn authority<'a>(
        &self,
        request: &'a dyn RequestView,
    ) -> Result<Option<Authority<'a>>, HostError> {
        let field = request.header(self.header.header());
        if field == HeaderField::Absent {
            return Ok(None);
        }
        if !self.peers.contains(request.peer()) {
            span_without_tenant().in_scope(|| {
                tracing::warn!(
                    header = self.header.header(), peer = ?request.peer(),
                    "a forwarded host from a peer that is not trusted"
                );
            });
            return Ok(None);
        }
        match field {
            HeaderField::Once(value) => self.header.authority(value).map(Some),
            _ => Err("the forwarded host is repeated"),
        }
    }
}

/// The `host` of a `Forwarded` header with exactly one element. Each proxy appends an element, and only the last one
/// is trustworthy, so several are rejected.
fn forwarded_host(value: &[u8]) -> Result<&[u8], HostError> {
    let mut host = None;
    let mut remaining = value;
    loop {
        let (name, after) = pair_name(remaining)?;
        let (text, after) = pair_value(after)?;
        if name.eq_ignore_ascii_case(b"host") && host.replace(text).is_some() {
            return Err("Forwarded has two hosts");
        }
        remaining = match after {
            [] => return host.ok_or("Forwarded without a host"),
            [b';', after @ ..] => after,
            _ => return Err("Forwarded with several elements, or not well formed"),
        };
    }
}

/// Splits off the name of a pair and its `=`.
fn pair_name(text: &[u8]) -> Result<(&[u8], &[u8]), HostError> {
    let end = text.iter().position(|b| !is_token(*b)).unwrap_or(text.len());
    match &text[end..] {
        [b'=', after @ ..] if end > 0 => Ok((&text[..end], after)),
        _ => Err("Forwarded is not well formed"),
    }
}

/// Splits off a token or a quoted string.
fn pair_value(text: &[u8]) -> Result<(&[u8], &[u8]), HostError> {
    if let [b'"', quoted @ ..] = text {
        let end = quoted.iter().position(|b| *b == b'"').ok_or("Forwarded with an open quote")?;
        // No character of a host needs an escape.
        if quoted[..end].contains(&b'\\') {
            return Err("Forwarded with an escape");
        }
        return Ok((&quoted[..end], &quoted[end + 1..]));
    }
    let end = text.iter().position(|b| !is_token(*b)).unwrap_or(text.len());
    if end == 0 {
        return Err("Forwarded is not well formed");
    }
    Ok((&text[..end], &text[end..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(value: &str) -> Result<String, HostError> {
        forwarded_host(value.as_bytes()).map(|host| String::from_utf8(host.to_vec()).unwrap())
    }

    #[test]
    fn one_element_has_one_host() {
        for (value, wanted) in [
            ("host=acme.example.com", "acme.example.com"),
            ("Host=\"acme.example.com:8443\"", "acme.example.com:8443"),
            ("for=192.0.2.60;proto=https;host=acme.example.com;by=203.0.113.43", "acme.example.com"),
            ("for=\"[2001:db8::1]:4711\";host=a", "a"),
        ] {
            assert_eq!(host(value).as_deref(), Ok(wanted), "{value}");
        }
        for bad in [
            "",
            "host",
            "host=",
            "host=\"",
            "host=\"a",
            "host=\"a\\\"b\"",
            "host=a;host=b",
            "host=a;Host=a",
            "host=a, host=b",
            "for=1.2.3.4, host=a",
            "host=a,",
            "host=a;",
            "host =a",
            "host= a",
            "host=a b",
            "host=a:80",
            "for=1.2.3.4",
            "=a",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = forwarded_host(&value);
        }
    }
}
