use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::debug;

use super::header::header_name;
use super::view::{HeaderField, RequestView};
use super::{Candidate, Source, SourceOutcome};
use crate::clock::{Clock, SystemClock};
use crate::context::{Actor, ResolvedBy};
use crate::error::Result;
use crate::signed::SigningKeys;
use crate::tenant::TenantId;

/// Reads the tenant from a header that a gateway, or another service of yours, has signed: for where the address of the
/// peer proves nothing.
///
/// What is signed is the tenant, on whose behalf the call is made, the method, the path, and the time: the header is of
/// no use for another method or path, and for nothing a minute after.
///
/// # Security
/// This proves. Who has a key can speak for every tenant and everybody. Neither the query nor the body is signed, nor who
/// is called, and nothing remembers a header: who sees one can send it again within the minute, with another query or
/// body, to whoever has the same key. Call over TLS, give each service that is called a key of its own, and what must not
/// be done twice an idempotency key.
///
/// A service that calls on somebody's behalf names them ([`user`](SignedTenant::user)), and the callee asks about their
/// membership as about any other's.
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
/// let elsewhere = OwnedRequest::get("/invoices").with_header("x-tenant-signed", &value);
/// assert!(matches!(source.read(&elsewhere), SourceOutcome::Invalid(_)));
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct SignedHeaderSource {
    name: String,
    keys: HeaderKeys,
    clock: Arc<dyn Clock>,
}

/// How far the clocks of signer and reader may differ, and how long a header is good for. In seconds.
const WINDOW: i64 = 60;

impl SignedHeaderSource {
    /// A source over the header `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if `name` is not the name of a header.
    pub fn new(name: &str, keys: HeaderKeys) -> Result<Self> {
        Ok(Self { name: header_name(name)?, keys, clock: Arc::new(SystemClock) })
    }

    /// With another clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    fn verify(&self, value: &[u8], request: &dyn RequestView) -> Result<SourceOutcome, &'static str> {
        let value = std::str::from_utf8(value).map_err(|_| "not text")?;
        if value.len() > 4096 {
            return Err("longer than 4 KiB");
        }
        let text = self.keys.0.verify(value, None)?;
        let Contents { service, tenant, user, method, path, at } =
            serde_json::from_str(&text).map_err(|_| "its contents are not those of this version")?;
        if method != request.method() || path != request.path() {
            return Err("it was signed for another request");
        }
        if self.clock.now().seconds().abs_diff(at) > WINDOW.unsigned_abs() {
            return Err("it was not signed just now");
        }
        let candidate = TenantId::parse(&tenant).map(Candidate::Id).map_err(|_| "not a tenant's id")?;
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
            HeaderField::Repeated => Err("it is there more than once"),
            HeaderField::Once(value) => self.verify(value, request),
        };
        verified.unwrap_or_else(|reason| {
            debug!(reason, header = self.name, "a signed header was refused");
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

/// The keys that sign headers, and prove that they were signed: HMAC-SHA256.
///
/// # Security
/// Take random bytes for them, and share them with no other use.
#[derive(Debug)]
pub struct HeaderKeys(SigningKeys);

impl HeaderKeys {
    /// The key that signs, under the id by which its headers name it.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) for a secret under 32 bytes, or an id that is not 1 to 32 letters, digits and `-`.
    pub fn new(id: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self> {
        SigningKeys::new("tenancy-header-1", id.into(), secret.as_ref()).map(Self)
    }

    /// With another key, whose headers are still believed.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for an id that is there already.
    pub fn with_previous_key(self, id: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self> {
        self.0.also(id.into(), secret.as_ref()).map(Self)
    }
}

/// The value of a signed header, for one request: what a gateway or a calling service writes.
///
/// In another language: `tenancy-header-1.<key id>.<base64url of the JSON>.<base64url of the code>`, both without
/// padding, where the code is HMAC-SHA256 over all before its dot, and the JSON is
/// `{"service":"gateway","tenant":"<id>","user":"ada","method":"GET","path":"/orders","at":<Unix seconds>}`, with
/// `user` left out if the service calls for itself.
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
    /// A call of `service` for this tenant, with this method and path (without the query), now.
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

    /// On behalf of this person.
    pub fn user(mut self, subject: impl Into<String>) -> Self {
        self.contents.user = Some(subject.into());
        self
    }

    /// At the time of another clock.
    pub fn at(mut self, clock: &dyn Clock) -> Self {
        self.contents.at = clock.now().seconds();
        self
    }

    /// The value of the header.
    pub fn sign(&self, keys: &HeaderKeys) -> String {
        // Texts and a number always serialise; an empty text would be refused.
        keys.0.sign(serde_json::to_vec(&self.contents).unwrap_or_default(), None)
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

    fn who(signal: &SourceOutcome) -> Option<&Actor> {
        match signal {
            SourceOutcome::Verified { candidate: Candidate::Id(id), actor } if *id == acme() => Some(actor),
            _ => None,
        }
    }

    #[test]
    fn what_was_signed_for_this_request_proves() {
        assert_eq!(who(&read("/orders", call().sign(&keys("b")))), Some(&Actor::service("gateway")));
        assert_eq!(who(&read("/orders", call().user("ada").sign(&keys("b")))), Some(&Actor::user("ada")));
        let old = HeaderKeys::new("a", [8_u8; 32]).unwrap();
        assert!(who(&read("/orders", call().sign(&old))).is_some(), "an older key");
        for off in [-WINDOW, WINDOW] {
            assert!(who(&read("/orders", call().at(&*at(NOW + off)).sign(&keys("b")))).is_some());
        }
    }

    #[test]
    fn what_was_not_is_refused() {
        let good = call().sign(&keys("b"));
        let job = crate::signed::SigningKeys::new("tenancy-job-1", "b".to_owned(), &[7; 32]).unwrap();
        let by = |contents: &str| keys("b").0.sign(contents, None);
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
        let twice =
            OwnedRequest::get("/orders").with_header("x-signed", &good).with_header("x-signed", &good);
        assert!(matches!(source.read(&twice), SourceOutcome::Invalid(_)), "twice");
        assert!(matches!(source.read(&OwnedRequest::get("/orders")), SourceOutcome::Absent));
    }
}
