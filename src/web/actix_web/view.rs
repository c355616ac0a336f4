//! A request of actix-web as a `RequestView`.

use std::cell::Ref;
use std::net::SocketAddr;

use actix_web::HttpMessage;
use actix_web::dev::{Extensions, ServiceRequest};
use actix_web::http::header::HeaderValue;
use actix_web::http::{Uri, Version, uri};

use super::super::peer::PeerAddr;
use crate::error::{Error, ErrorKind, Result};
use crate::resolve::{HeaderField, HttpVersion, RequestView, TlsInfo};

/// Adapts a request of actix-web for the sources.
pub(super) struct View<'a> {
    request: &'a ServiceRequest,
    extensions: Ref<'a, Extensions>,
}

impl<'a> View<'a> {
    pub(super) fn of(request: &'a ServiceRequest) -> Self {
        Self { request, extensions: request.extensions() }
    }

    fn uri(&self) -> &Uri {
        &self.request.head().uri
    }
}

impl RequestView for View<'_> {
    fn method(&self) -> &str {
        self.request.method().as_str()
    }

    fn version(&self) -> HttpVersion {
        match self.request.version() {
            Version::HTTP_2 => HttpVersion::Http2,
            Version::HTTP_3 => HttpVersion::Http3,
            Version::HTTP_11 => HttpVersion::Http11,
            _ => HttpVersion::Http10,
        }
    }

    fn authority(&self) -> Option<&str> {
        self.uri().authority().map(uri::Authority::as_str)
    }

    fn path(&self) -> &str {
        self.uri().path()
    }

    fn header(&self, name: &str) -> HeaderField<'_> {
        let mut values = self.request.headers().get_all(name);
        match (values.next(), values.next()) {
            (None, _) => HeaderField::Absent,
            (Some(value), None) => HeaderField::Once(value.as_bytes()),
            (Some(_), Some(_)) => HeaderField::Repeated,
        }
    }

    fn lines(&self, name: &str) -> Vec<&[u8]> {
        self.request.headers().get_all(name).map(HeaderValue::as_bytes).collect()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.extensions.get::<PeerAddr>().map(|peer| peer.0).or_else(|| self.request.peer_addr())
    }

    fn tls(&self) -> Option<&TlsInfo> {
        self.extensions.get().or_else(|| self.request.conn_data())
    }
}

/// Rejects a path in which an unreserved character is escaped. The router decodes escapes and sources do not, so both
/// would read different paths.
///
/// All other escapes are safe: no prefix of a source and no name of a tenant contains a character that needs an
/// escape, and the router does not decode an escaped slash.
pub(super) fn reject_needless_escapes(path: &str) -> Result<()> {
    let hex = |byte: u8| char::from(byte).to_digit(16);
    let is_needless = |three: &[u8]| {
        let (Some(high), Some(low)) = (hex(three[1]), hex(three[2])) else { return false };
        let byte = u8::try_from(high * 16 + low).unwrap_or_default();
        three[0] == b'%' && (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    if path.as_bytes().windows(3).any(is_needless) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the path escapes a letter, a digit or one of `-._~`; send it unescaped (RFC 3986, section 2.3)",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreserved_characters_must_not_be_escaped() {
        for good in [
            "/",
            "/t/acme/orders",
            "/caf%C3%A9",
            "/a%2Fb",
            "/100%25",
            "/%2574",
            "/%zz",
            "/a%",
            "/%7",
            "/a%20b",
        ] {
            assert!(reject_needless_escapes(good).is_ok(), "{good}");
        }
        for bad in ["/%74/acme", "/t/%61cme", "/t/a%2Dcme", "/%%37", "/%2e%2E/x", "/%7E", "/caf%C3%A9/%41"] {
            assert_eq!(reject_needless_escapes(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
        }
    }
}
