use std::fmt;
use std::sync::Arc;

use tracing::debug;

use super::bearer::bearer;
use super::header::header_name;
use super::view::{HeaderField, RequestView};
use super::{Candidate, Source, SourceOutcome};
use crate::clock::{Clock, SystemClock};
use crate::context::{Actor, ResolvedBy};
use crate::error::Result;
use crate::tenant::{ApiKeyFormat, ApiKeyStore, Presented};

/// Proves the tenant by one of its API keys, in `Authorization: Bearer acme_live_…` or in a header of its own.
///
/// The tenant is that of the stored key, and nothing in the key's text. A bearer token that does not begin as a key of
/// this service is somebody else's, and is left alone. A key that is mistyped costs no look into the store. A source of
/// JSON Web Tokens takes every bearer token for its own, and refuses what is none: tell it of the keys beside it
/// (`JwtSourceBuilder::ignore_api_keys`), or have keys sent in a header of their own.
///
/// # Security
/// A key that is unknown, wrong, revoked, expired or malformed is refused in one and the same way. Its secret is compared in
/// constant time, and with nothing if no key has its id; an id is looked for in the same way whether there is such a key
/// or not, but for the time that your store takes. A key in the URL is never read. With a store that is
/// [`CachedStore`](crate::store::CachedStore), what another process revoked still opens until the time to live is over.
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
/// let SourceOutcome::Pending(answer) = source.read(&request) else { panic!("the store is asked") };
/// assert!(matches!(answer.await, SourceOutcome::Verified { .. }));
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
    /// A source over the keys of this format.
    pub fn new(format: ApiKeyFormat, store: Arc<dyn ApiKeyStore>) -> Self {
        Self { format, store, clock: Arc::new(SystemClock), header: None, vary: "authorization".to_owned() }
    }

    /// Reads this header as well. A request uses it or `Authorization` for its key, never both.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) for a name with anything but letters, digits and hyphens.
    pub fn header(self, name: &str) -> Result<Self> {
        let name = header_name(name)?;
        Ok(Self { vary: format!("authorization, {name}"), header: Some(name), ..self })
    }

    /// With another clock, which says when a key has expired.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The text of the key that the request holds, if it holds one.
    fn find<'r>(&self, request: &'r dyn RequestView) -> Result<Option<&'r [u8]>, &'static str> {
        let bearer = match request.header("authorization") {
            HeaderField::Absent => None,
            HeaderField::Once(value) => bearer(value).filter(|token| self.format.is_meant_by(token)),
            HeaderField::Repeated => return Err("several Authorization headers"),
        };
        let own = match self.header.as_deref().map_or(HeaderField::Absent, |name| request.header(name)) {
            HeaderField::Absent => None,
            HeaderField::Once(value) => Some(value),
            HeaderField::Repeated => return Err("several headers of the key's own"),
        };
        match (bearer, own) {
            (Some(_), Some(_)) => Err("a key in two places"),
            (bearer, own) => Ok(bearer.or(own)),
        }
    }
}

impl Source for ApiKeySource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let parse = |text| Presented::parse(&self.format, text);
        let presented = match self.find(request).and_then(|found| found.map(parse).transpose()) {
            Ok(None) => return SourceOutcome::Absent,
            Ok(Some(presented)) => presented,
            Err(fault) => return refused(fault, None),
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
                Err(fault) => refused(fault, Some(&presented.id)),
            }
        }))
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::ApiKey
    }

    fn vary(&self) -> Option<&str> {
        Some(&self.vary)
    }
}

fn refused(reason: &str, key: Option<&str>) -> SourceOutcome {
    debug!(reason, key, "API key refused");
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
