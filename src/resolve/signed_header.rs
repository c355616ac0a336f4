//! The tenant in a header signed with a shared key. Headers that a proxy sets unsigned are in `header.rs`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::debug;

use super::candidate::Candidate;
use super::source::{Source, SourceOutcome, span_without_tenant};
use super::syntax::header_name;
use super::view::{HeaderField, RequestView};
use crate::clock::{Clock, SystemClock};
use crate::context::{Actor, ResolvedBy};
use crate::error::Result;
use crate::signed::{SigningKeys, signing_key_constructors};
use crate::tenant::TenantId;

/// Reads the tenant from a header that your gateway or another of your services has signed. Use it where the address
/// of the peer proves nothing.
///
/// The signature covers the tenant, the caller, the method, the path and the time. The header is not valid for
/// another method or path, or more than a minute later.
///
/// # Security
/// This is a verified credential. A holder of a key can act for every tenant and every user. The signature covers
/// neither the query, nor the body, nor the receiving service, and headers are not remembered. Whoever reads a header
/// can send it again within the minute, with another query or body, to every service with the same key. So call over
/// TLS, give each receiving service its own key, and protect operations that must not run twice with an idempotency
/// key.
///
/// A service that calls on behalf of a user names the user ([`user`](SignedTenant::user)). The receiver checks the
/// membership of that user like that of any other.
///
/// ```
/// use tenancy::resolve::{HeaderKeys, SourceOutcome, SignedHeaderSource, SignedTenant, Source, OwnedRequest};
/// use tenancy::tenant::TenantId;
///
/// let keys = || HeaderKeys::new("2026-11", b"a secret of at least thirty-two bytes");
/// let acme = TenantId::parse("018f3f5e-3a5a-7c3e-9d0a-000000000001")?;
/// let value = SignedTenant::new("gateway", &acme, "GET", "/orders").user("ada").sign(&keys()?);
///
/// let source = SignedHeaderSource::new("x-tenant-signed", keys()?)?;
/// let request = OwnedRequest::get("/orders").with_header("x-tenant-signed", &value);
/// assert!(matches!(source.read(&request), SourceOutcome::Verified { .. }));
/// let another_path = OwnedRequest::get("/invoices").with_header("x-tenant-signed", &value);
/// assert!(matches!(source.read(&another_path), SourceOutcome::Invalid(_)));
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct SignedHeaderSource {
    name: String,
    keys: HeaderKeys,
    clock: Arc<dyn Clock>,
}

/// How old a header may be, and how far the clocks of signer and reader may differ. In seconds.
const WINDOW: i64 = 60;

impl SignedHeaderSource {
    /// Reads the header `name`, and verifies it with `keys`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if `name` is not the name of a header.
    pub fn new(name: &str, keys: HeaderKeys) -> Result<Self> {
        Ok(Self { name: header_name(name)?, keys, clock: Arc::new(SystemClock) })
    }

    /// Replaces the clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    fn verify(&self, value: &[u8], request: &dyn RequestView) -> Result<SourceOutcome, &'static str> {
        let value = std::str::from_utf8(value).map_err(|_| "not text")?;
        if value.len() > 4096 {
            return Err("longer than 4 KiB");
        }
        let text = self.keys.keys.verify(value, None)?;
        let Contents { service, tenant, user, method, path, at } =
            serde_json::from_str(&text).map_err(|_| "not the contents of this version")?;
        if method != request.method() || path != request.path() {
            return Err("signed for another method or path");
        }
        if self.clock.now().seconds().abs_diff(at) > WINDOW.unsigned_abs() {
            return Err("signed more than a minute ago, or in the future");
        }
        let candidate = TenantId::parse(&tenant).map(Candidate::Id).map_err(|_| "not a tenant id")?;
        let actor = match user {
            Some(user) if is_name(&user) => Actor::user(user),
            None if is_name(&service) => Actor::service(service),
            _ => return Err("not a name"),
        };
        Ok(SourceOutcome::Verified { candidate, actor })
    }
}

fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.chars().any(char::is_control)
}

impl Source for SignedHeaderSource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let verified = match request.header(&self.name) {
            HeaderField::Absent => return SourceOutcome::Absent,
            HeaderField::Repeated => Err("repeated"),
            HeaderField::Once(value) => self.verify(value, request),
        };
        verified.unwrap_or_else(|reason| {
            span_without_tenant().in_scope(|| debug!(reason, header = self.name, "signed header rejected"));
            SourceOutcome::not_valid()
        })
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Header
    }

    fn vary(&self) -> Option<&str> {
        Some(&self.name)
    }
}

/// The keys that sign headers and verify their signatures, with HMAC-SHA256.
///
/// # Security
/// Use random bytes, and use the keys for nothing else.
#[derive(Debug, Clone)]
pub struct HeaderKeys {
    keys: SigningKeys,
}

impl HeaderKeys {
    signing_key_constructors!("tenancy-header-1", "headers");
}

/// The value of a signed header for one request. A gateway or a calling service creates it.
///
/// In another language: `tenancy-header-1.<key id>.<base64url of the JSON>.<base64url of the code>`, both without
/// padding. The code is HMAC-SHA256 over everything before its dot. The JSON is
/// `{"service":"gateway","tenant":"<id>","user":"ada","method":"GET","path":"/orders","at":<Unix seconds>}`, without
/// `user` if the service calls on its own behalf.
#[must_use]
pub struct SignedTenant {
    contents: Contents,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    service: String,
    tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    method: String,
    path: String,
    at: i64,
}

impl SignedTenant {
    /// A call by `service` for this tenant, with this method and path (without the query), at the current time.
    pub fn new(
        service: impl Into<String>,
        tenant: &TenantId,
        method: impl Into<String>,
        path: impl Into<String>,
    ) -> Self {
        let (service, tenant) = (service.into(), tenant.to_string());
        let (method, path, at) = (method.into(), path.into(), SystemClock.now().seconds());
        Self { contents: Contents { service, tenant, user: None, method, path, at } }
    }

    /// Sets the user on whose behalf the service calls.
    pub fn user(mut self, subject: impl Into<String>) -> Self {
        self.contents.user = Some(subject.into());
        self
    }

    /// Sets the time of the call from another clock.
    pub fn at(mut self, clock: &dyn Clock) -> Self {
        self.contents.at = clock.now().seconds();
        self
    }

    /// The value of the header.
    pub fn sign(&self, keys: &HeaderKeys) -> String {
        // Strings and a number always serialise; the reader would reject an empty text.
        keys.keys.sign(serde_json::to_vec(&self.contents).unwrap_or_default(), None)
    }
}

impl fmt::Debug for SignedTenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedTenant").field("tenant", &self.contents.tenant).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::OwnedRequest;
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    const NOW: i64 = 1_900_000_000;

    fn keys(id: &str) -> HeaderKeys {
        HeaderKeys::new(id, [7_u8; 32]).unwrap()
    }

    fn at(seconds: i64) -> Arc<ManualClock> {
        Arc::new(ManualClock::new(Timestamp::from_seconds(seconds)))
    }

    fn acme() -> TenantId {
        TenantId::parse("018f3f5e-3a5a-7c3e-9d0a-000000000001").unwrap()
    }

    fn call() -> SignedTenant {
        SignedTenant::new("gateway", &acme(), "GET", "/orders").at(&*at(NOW))
    }

    fn read(path: &str, value: impl AsRef<[u8]>) -> SourceOutcome {
        let source =
            SignedHeaderSource::new("X-Signed", keys("b").with_previous_key("a", [8_u8; 32]).unwrap());
        source.unwrap().with_clock(at(NOW)).read(&OwnedRequest::get(path).with_header("x-signed", value))
    }

    fn actor_of(outcome: &SourceOutcome) -> Option<&Actor> {
        match outcome {
            SourceOutcome::Verified { candidate: Candidate::Id(id), actor } if *id == acme() => Some(actor),
            _ => None,
        }
    }

    #[test]
    fn a_header_signed_for_this_request_is_verified() {
        assert_eq!(actor_of(&read("/orders", call().sign(&keys("b")))), Some(&Actor::service("gateway")));
        assert_eq!(
            actor_of(&read("/orders", call().user("ada").sign(&keys("b")))),
            Some(&Actor::user("ada"))
        );
        let old = HeaderKeys::new("a", [8_u8; 32]).unwrap();
        assert!(actor_of(&read("/orders", call().sign(&old))).is_some(), "an older key");
        for off in [-WINDOW, WINDOW] {
            assert!(actor_of(&read("/orders", call().at(&*at(NOW + off)).sign(&keys("b")))).is_some());
        }
    }

    #[test]
    fn every_other_header_is_rejected() {
        let good = call().sign(&keys("b"));
        let job = crate::signed::SigningKeys::new("tenancy-job-1", "b".to_owned(), &[7; 32]).unwrap();
        let by = |contents: &str| keys("b").keys.sign(contents, None);
        let [flipped, cut] = [
            good.char_indices()
                .map(|(i, c)| {
                    if i == 40 && c != 'A' {
                        'A'
                    } else if i == 40 {
                        'B'
                    } else {
                        c
                    }
                })
                .collect(),
            good[..good.len() - 1].to_owned(),
        ];
        for (name, value) in [
            ("another key", call().sign(&HeaderKeys::new("b", [9_u8; 32]).unwrap())),
            ("a key that is not known", call().sign(&keys("c"))),
            ("another purpose", job.sign(serde_json::to_vec(&call().contents).unwrap(), None)),
            ("too old", call().at(&*at(NOW - WINDOW - 1)).sign(&keys("b"))),
            ("from the future", call().at(&*at(NOW + WINDOW + 1)).sign(&keys("b"))),
            (
                "another method",
                SignedTenant::new("gateway", &acme(), "POST", "/orders").at(&*at(NOW)).sign(&keys("b")),
            ),
            ("nobody", call().user("").sign(&keys("b"))),
            ("a line break", call().user("ada\nroot").sign(&keys("b"))),
            ("no tenant", by(r#"{"service":"g","method":"GET","path":"/orders","at":1900000000}"#)),
            ("*", by(r#"{"service":"g","tenant":"*","method":"GET","path":"/orders","at":1900000000}"#)),
            (
                "more",
                by(r#"{"service":"g","tenant":"7","method":"GET","path":"/orders","at":1900000000,"x":1}"#),
            ),
            (
                "twice",
                by(
                    r#"{"service":"g","tenant":"7","tenant":"8","method":"GET","path":"/orders","at":1900000000}"#,
                ),
            ),
            ("changed", flipped),
            ("cut", cut),
            ("long", "a".repeat(5000)),
            ("empty", String::new()),
        ] {
            assert!(matches!(read("/orders", value), SourceOutcome::Invalid(_)), "{name}");
        }
        assert!(matches!(read("/orders", b"\xff"), SourceOutcome::Invalid(_)));
        assert!(matches!(read("/orders/1", &good), SourceOutcome::Invalid(_)), "another path");
        let source = SignedHeaderSource::new("x-signed", keys("b")).unwrap().with_clock(at(NOW));
        let repeated =
            OwnedRequest::get("/orders").with_header("x-signed", &good).with_header("x-signed", &good);
        assert!(matches!(source.read(&repeated), SourceOutcome::Invalid(_)), "twice");
        assert!(matches!(source.read(&OwnedRequest::get("/orders")), SourceOutcome::Absent));
    }
}
