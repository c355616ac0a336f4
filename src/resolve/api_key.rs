//! The tenant of an API key. Keys are issued and compared in `src/tenant/api_key.rs`.

use std::fmt;
use std::sync::Arc;

use tracing::debug;

use super::bearer::{BEARER, token};
use super::candidate::Candidate;
use super::source::{Source, SourceOutcome, span_without_tenant};
use super::syntax::header_name;
use super::view::{HeaderField, RequestView};
use crate::clock::{Clock, SystemClock};
use crate::context::{Actor, ResolvedBy};
use crate::error::Result;
use crate::tenant::{ApiKeyFormat, ApiKeyStore, Presented};

/// Reads the tenant of an API key, in `Authorization: Bearer acme_live_…` or in a header that you name.
///
/// The tenant comes from the stored key, never from the text of the key. A bearer token that does not begin with the
/// name of this format is ignored. A mistyped key is rejected by its checksum, without a query to the store. A source
/// of JSON Web Tokens rejects every bearer token that is not a token: make it skip keys with
/// `JwtSourceBuilder::ignore_api_keys`, or have clients send keys in a separate [`header`](Self::header).
///
/// # Security
/// This is a verified credential. A key that is unknown, wrong, revoked, expired or malformed yields the same error.
/// The secret is compared in constant time, and the comparison also runs when no key has the id. Known and unknown
/// ids take the same path, apart from the time of your store. A key in the URL is never read. With a
/// [`CachedStore`](crate::store::CachedStore), a key that another process revoked is accepted until its cache entry
/// expires.
///
/// ```
/// use std::sync::Arc;
/// use tenancy::clock::{Clock, SystemClock};
/// use tenancy::resolve::{ApiKeySource, SourceOutcome, Source, OwnedRequest};
/// use tenancy::store::MemoryStore;
/// use tenancy::tenant::{ApiKey, ApiKeyFormat, ApiKeyStore, TenantId};
/// use secrecy::ExposeSecret;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
/// let store = Arc::new(MemoryStore::new());
/// let format = ApiKeyFormat::new("acme", "live")?;
/// let (key, secret) = ApiKey::issue(&format, TenantId::random(), "CI", SystemClock.now());
/// store.insert_key(&key).await?;
///
/// let source = ApiKeySource::new(format, store).header("x-api-key")?;
/// let request = OwnedRequest::get("/").with_header("X-Api-Key", secret.expose_secret());
/// let SourceOutcome::Pending(lookup) = source.read(&request) else { panic!("the store is queried") };
/// assert!(matches!(lookup.await, SourceOutcome::Verified { .. }));
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct ApiKeySource {
    format: ApiKeyFormat,
    store: Arc<dyn ApiKeyStore>,
    clock: Arc<dyn Clock>,
    header: Option<String>,
    vary: String,
}

impl ApiKeySource {
    /// Reads keys of this format, and looks them up in `store`.
    pub fn new(format: ApiKeyFormat, store: Arc<dyn ApiKeyStore>) -> Self {
        Self { format, store, clock: Arc::new(SystemClock), header: None, vary: "authorization".to_owned() }
    }

    /// Reads this header as well as `Authorization`. A request with a key in both is rejected.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) for a name with anything but letters, digits and
    /// hyphens.
    pub fn header(self, name: &str) -> Result<Self> {
        let name = header_name(name)?;
        Ok(Self { vary: format!("authorization, {name}"), header: Some(name), ..self })
    }

    /// Replaces the clock that decides whether a key has expired.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The text of the key in the request, if it contains one.
    fn find<'r>(&self, request: &'r dyn RequestView) -> Result<Option<&'r [u8]>, &'static str> {
        let bearer = match request.header("authorization") {
            HeaderField::Absent => None,
            HeaderField::Once(value) => {
                token(value, BEARER).filter(|token| self.format.has_service_prefix(token))
            }
            HeaderField::Repeated => return Err("several Authorization headers"),
        };
        let from_header =
            match self.header.as_deref().map_or(HeaderField::Absent, |name| request.header(name)) {
                HeaderField::Absent => None,
                HeaderField::Once(value) => Some(value),
                HeaderField::Repeated => return Err("several API key headers"),
            };
        match (bearer, from_header) {
            (Some(_), Some(_)) => Err("a key in two headers"),
            (bearer, from_header) => Ok(bearer.or(from_header)),
        }
    }
}

impl Source for ApiKeySource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let parse = |text| Presented::parse(&self.format, text);
        let presented = match self.find(request).and_then(|found| found.map(parse).transpose()) {
            Ok(None) => return SourceOutcome::Absent,
            Ok(Some(presented)) => presented,
            Err(fault) => return rejected(fault, None),
        };
        let (store, clock) = (self.store.clone(), self.clock.clone());
        SourceOutcome::Pending(Box::pin(async move {
            let stored = match store.key(&presented.id).await {
                Ok(stored) => stored,
                Err(error) => return SourceOutcome::Invalid(error),
            };
            match presented.check(stored.as_deref(), clock.now()) {
                Ok(key) => SourceOutcome::Verified {
                    candidate: Candidate::Id(key.tenant().clone()),
                    actor: Actor::api_key(key.id()),
                },
                Err(fault) => rejected(fault, Some(&presented.id)),
            }
        }))
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::ApiKey
    }

    fn vary(&self) -> Option<&str> {
        Some(&self.vary)
    }

    fn challenge(&self) -> Option<&str> {
        Some(BEARER)
    }
}

fn rejected(reason: &str, key: Option<&str>) -> SourceOutcome {
    span_without_tenant().in_scope(|| debug!(reason, key, "API key rejected"));
    SourceOutcome::not_valid()
}

impl fmt::Debug for ApiKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeySource")
            .field("format", &self.format)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
