//! A request as the sources see it, whatever the web framework.

use std::net::SocketAddr;

/// The parts of a request that a [`Source`](super::Source) can read, whatever the web framework.
pub trait RequestView {
    /// The method, such as `GET`.
    fn method(&self) -> &str;

    /// The version of HTTP.
    fn version(&self) -> HttpVersion;

    /// The authority of the request target, if it has one: `:authority`, or that of an absolute-form target.
    fn authority(&self) -> Option<&str>;

    /// The path of the target as the client sent it: not decoded, not normalised, without the query.
    fn path(&self) -> &str;

    /// The header with this name. Names are compared without regard to case.
    fn header(&self, name: &str) -> HeaderField<'_>;

    /// All lines of a header that may be repeated, such as `Cookie` over HTTP/2. Empty if the lines cannot be
    /// distinguished.
    fn lines(&self, name: &str) -> Vec<&[u8]> {
        match self.header(name) {
            HeaderField::Once(value) => vec![value],
            HeaderField::Absent | HeaderField::Repeated => Vec::new(),
        }
    }

    /// The address of the peer of the connection; `None` if it is not known.
    fn peer(&self) -> Option<SocketAddr>;

    /// What the TLS handshake of the connection contained; `None` without TLS, or if it is not known.
    fn tls(&self) -> Option<&TlsInfo> {
        None
    }
}

/// The server name and the client's certificate names of a TLS handshake. Your server's accept loop inserts it as a
/// request extension, like the address of the peer.
///
/// # Security
/// Insert only names of a certificate that the handshake has verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct TlsInfo {
    server_name: Option<Box<str>>,
    names: Vec<Box<str>>,
}

impl TlsInfo {
    /// A handshake without a server name and without a client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the server name that the client sent (SNI, RFC 6066, section 3).
    pub fn with_server_name(self, name: impl Into<Box<str>>) -> Self {
        Self { server_name: Some(name.into()), ..self }
    }

    /// Adds a subject alternative name of the client's verified certificate, as text: a DNS name, or a URI such as a
    /// SPIFFE id.
    pub fn with_name(mut self, name: impl Into<Box<str>>) -> Self {
        self.names.push(name.into());
        self
    }

    /// The server name that the client sent.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The subject alternative names of the client's certificate.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }
}

/// A header of a request. A repeated header has no value, so no code can use the first of two by accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a header is absent, present once, or repeated")]
pub enum HeaderField<'a> {
    /// The request has no such header.
    Absent,
    /// The request has exactly one, with this value.
    Once(&'a [u8]),
    /// The request has several.
    Repeated,
}

/// A version of HTTP. It decides whether the host is in `Host` or in `:authority`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpVersion {
    /// HTTP/1.0, and 0.9.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

/// A request that owns its parts: for tests, such as those of your own [`Source`](super::Source).
///
/// ```
/// use tenancy::resolve::{HeaderField, RequestView, OwnedRequest};
///
/// let request = OwnedRequest::get("/orders").with_header("Host", "acme.example.com");
/// assert_eq!(request.header("host"), HeaderField::Once(b"acme.example.com"));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct OwnedRequest {
    method: String,
    version: HttpVersion,
    authority: Option<String>,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    peer: Option<SocketAddr>,
    tls: Option<TlsInfo>,
}

impl OwnedRequest {
    /// A GET request over HTTP/1.1 without headers.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            version: HttpVersion::Http11,
            authority: None,
            path: path.into(),
            headers: Vec::new(),
            peer: None,
            tls: None,
        }
    }

    /// Sets the version of HTTP.
    pub fn with_version(self, version: HttpVersion) -> Self {
        Self { version, ..self }
    }

    /// Sets the authority of the target.
    pub fn with_authority(self, authority: impl Into<String>) -> Self {
        Self { authority: Some(authority.into()), ..self }
    }

    /// Adds a header.
    pub fn with_header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// Sets the address of the peer.
    pub fn with_peer(self, peer: SocketAddr) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// Sets the TLS handshake of the connection.
    pub fn with_tls(self, tls: TlsInfo) -> Self {
        Self { tls: Some(tls), ..self }
    }
}

impl RequestView for OwnedRequest {
    fn method(&self) -> &str {
        &self.method
    }

    fn version(&self) -> HttpVersion {
        self.version
    }

    fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn header(&self, name: &str) -> HeaderField<'_> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => HeaderField::Absent,
            (Some((_, value)), None) => HeaderField::Once(value),
            (Some(_), Some(_)) => HeaderField::Repeated,
        }
    }

    fn lines(&self, name: &str) -> Vec<&[u8]> {
        let lines = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_slice()).collect()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }
}
