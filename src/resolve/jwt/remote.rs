use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use reqwest::header::ACCEPT;
use reqwest::{Client, StatusCode, Url, redirect};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use super::JwtSourceBuilder;
use super::document;
use super::issuer::{Fetched, Wait};
use super::key::VerificationKey;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};

const LARGEST: usize = 64 * 1024;
/// Between two tokens of unknown keys that have the set fetched.
const UNKNOWN_KEY: Duration = Duration::from_mins(1);
/// Between two attempts of which the first one failed.
const RETRY: Duration = Duration::from_secs(5);

/// The keys that an issuer publishes as a JSON Web Key Set.
///
/// - They are fetched when the first token needs them, or before by [`load`](Self::load).
/// - Those that are older than [`every`](Self::every) are fetched anew while requests go on with them.
/// - A token whose `kid` is not among them has them fetched anew, at most once a minute.
/// - However many requests need them at once, they are fetched once.
/// - When the issuer does not answer, those that are there serve for [`stale_for`](Self::stale_for) longer. Then every
///   token is refused with [`ErrorKind::StoreUnavailable`].
///
/// Clones share their keys. A Tokio runtime is needed. Which keys of a set are used says
/// [`JwtSourceBuilder::jwks`](super::JwtSourceBuilder::jwks); a set without any refuses every token.
///
/// # Security
/// Only the URL given here is asked, over HTTPS, with the certificates that the system trusts; a redirect is not
/// followed, and of an answer no more than 64 KiB is read. What the issuer withdraws is accepted until the next fetch; so
/// is a key that it exchanges for another of the same `kid`. Its `Cache-Control` is not read.
///
/// ```
/// use tenancy::resolve::{JwtSource, RemoteJwks};
///
/// # async fn start() -> tenancy::Result<()> {
/// let keys = RemoteJwks::new("https://login.example.com/.well-known/jwks.json")?;
/// keys.load().await?; // no keys, no start
/// let source = JwtSource::builder()
///     .issuer("https://login.example.com")
///     .audience("https://api.example.com")
///     .remote_jwks(&keys)
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RemoteJwks {
    url: Url,
    client: Client,
    every: Duration,
    stale_for: Duration,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    shared: Arc<SharedState>,
}

#[derive(Default)]
struct SharedState {
    loaded: RwLock<Option<Loaded>>,
    attempts: Mutex<Attempts>,
}

/// Keys, and when they were asked for, in seconds.
#[derive(Clone)]
struct Loaded {
    keys: Arc<[VerificationKey]>,
    at: i64,
}

#[derive(Default)]
struct Attempts {
    /// The last one, which may be under way.
    flight: Option<(AbortHandle, Flight)>,
    last: Option<i64>,
    /// The last one for the sake of a key that was not known.
    for_unknown_key: Option<i64>,
}

/// How many keys came, or why none did.
type Flight = Shared<Pin<Box<dyn Future<Output = Result<usize, Arc<str>>> + Send>>>;

impl RemoteJwks {
    /// The keys at this URL. Nothing is fetched yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the URL is not one of HTTPS with a host and without a user and a fragment.
    pub fn new(url: &str) -> Result<Self> {
        let url = parse(url).filter(|url| url.scheme() == "https").ok_or_else(|| {
            misconfigured("the URL of a JWKS is `https://…`, with a host and without a user and a fragment")
        })?;
        Self::with_client(url, Client::builder().https_only(true))
    }

    /// The keys at a URL of plain HTTP on this machine itself, for tests and for an issuer that runs beside the
    /// program.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the URL is not one of HTTP whose host is `127.0.0.1` or `[::1]`.
    pub fn plain_on_loopback(url: &str) -> Result<Self> {
        let here =
            |url: &Url| url.scheme() == "http" && matches!(url.host_str(), Some("127.0.0.1" | "[::1]"));
        let url = parse(url).filter(here).ok_or_else(|| {
            misconfigured(
                "a JWKS over plain HTTP is at `http://127.0.0.1` or `http://[::1]`; use HTTPS elsewhere",
            )
        })?;
        // Without certificates: a system that has none can use this all the same.
        Self::with_client(url, Client::builder().no_proxy().tls_certs_only([]))
    }

    fn with_client(url: Url, client: reqwest::ClientBuilder) -> Result<Self> {
        let client = client
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| misconfigured("the HTTP client cannot be set up").with_source(error))?;
        Ok(Self {
            url,
            client,
            every: Duration::from_mins(5),
            stale_for: Duration::from_hours(1),
            timeout: Duration::from_secs(5),
            clock: Arc::new(SystemClock),
            shared: Arc::default(),
        })
    }

    /// The age at which keys are fetched anew, instead of 5 minutes.
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// How much longer keys serve while the issuer does not answer, instead of an hour.
    pub fn stale_for(self, stale_for: Duration) -> Self {
        Self { stale_for, ..self }
    }

    /// How long a fetch may take, instead of 5 seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// With another clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Fetches the keys now. Call it at the start, so that a program without keys does not start.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if they cannot be fetched, or none of them can be used.
    pub async fn load(&self) -> Result<()> {
        let flight = self.fetch_now(&mut self.attempts());
        let unavailable = |reason: &str| {
            Error::new(
                ErrorKind::StoreUnavailable,
                format!("no keys from the JWKS at {}: {reason}", self.url),
            )
        };
        match flight {
            None => Err(misconfigured("a JWKS is fetched on a Tokio runtime, and there is none here")),
            Some(flight) => match flight.await {
                Ok(0) => Err(unavailable("it holds none that can be used")),
                Ok(_) => Ok(()),
                Err(reason) => Err(unavailable(&reason)),
            },
        }
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.shared.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loaded(&self) -> Option<Loaded> {
        self.shared.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    fn is_usable(&self, loaded: &Loaded) -> bool {
        is_within(self.every.saturating_add(self.stale_for), loaded.at, self.now())
    }

    /// The fetch that is under way, or a new one. It goes on when whoever asked for it is gone.
    fn fetch_now(&self, attempts: &mut Attempts) -> Option<Flight> {
        if let Some((task, flight)) = &attempts.flight
            && !task.is_finished()
        {
            return Some(flight.clone());
        }
        let runtime = Handle::try_current().ok()?;
        let this = self.clone();
        let task = runtime.spawn(async move { this.fetch().await });
        let handle = task.abort_handle();
        let flight = async move { task.await.unwrap_or_else(|_| Err("the fetch was ended".into())) };
        let flight = flight.boxed().shared();
        attempts.flight = Some((handle, flight.clone()));
        attempts.last = Some(self.now());
        Some(flight)
    }

    async fn fetch(&self) -> Result<usize, Arc<str>> {
        let at = self.now();
        let fetched = self.download().await.and_then(|body| document::keys(&body).map_err(str::to_owned));
        match fetched {
            Ok(keys) => {
                debug!(url = %self.url, keys = keys.len(), "keys fetched");
                let count = keys.len();
                let loaded = Loaded { keys: keys.into(), at };
                *self.shared.loaded.write().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
                Ok(count)
            }
            Err(reason) => {
                warn!(url = %self.url, reason, "a JWKS cannot be fetched");
                Err(reason.into())
            }
        }
    }

    async fn download(&self) -> Result<Vec<u8>, String> {
        let request = self.client.get(self.url.clone()).timeout(self.timeout);
        let request = request.header(ACCEPT, "application/jwk-set+json, application/json");
        let mut response = request.send().await.map_err(reason)?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reason)? {
            if body.len() + chunk.len() > LARGEST {
                return Err("it is larger than 64 KiB".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

impl Fetched for RemoteJwks {
    fn at_hand(&self) -> Option<Arc<[VerificationKey]>> {
        let loaded = self.loaded()?;
        let now = self.now();
        if !is_within(self.every, loaded.at, now) {
            let mut attempts = self.attempts();
            if attempts.last.is_none_or(|last| !is_within(RETRY, last, now)) {
                self.fetch_now(&mut attempts);
            }
        }
        self.is_usable(&loaded).then_some(loaded.keys)
    }

    fn others_than(&self, seen: Option<&Arc<[VerificationKey]>>) -> Option<Wait> {
        let mut attempts = self.attempts();
        let now = self.now();
        // Somebody else may have fetched them since.
        if let Some(loaded) = self.loaded().filter(|loaded| self.is_usable(loaded))
            && seen.is_none_or(|seen| !Arc::ptr_eq(seen, &loaded.keys))
        {
            return Some(Box::pin(async {}));
        }
        let under_way = attempts.flight.as_ref().is_some_and(|(task, _)| !task.is_finished());
        let (last, pause) = match seen {
            None => (&mut attempts.last, RETRY),
            Some(_) => (&mut attempts.for_unknown_key, UNKNOWN_KEY),
        };
        if !under_way {
            if last.is_some_and(|last| is_within(pause, last, now)) {
                return None;
            }
            *last = Some(now);
        }
        let flight = self.fetch_now(&mut attempts)?;
        Some(Box::pin(async move {
            // Whether it failed shows in the keys that are there then.
            let _ = flight.await;
        }))
    }
}

impl fmt::Debug for RemoteJwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJwks")
            .field("url", &self.url.as_str())
            .field("every", &self.every)
            .field("stale_for", &self.stale_for)
            .field("keys", &self.loaded().map(|loaded| loaded.keys))
            .finish_non_exhaustive()
    }
}

impl JwtSourceBuilder {
    /// The public keys that the issuer publishes at a URL.
    pub fn remote_jwks(mut self, keys: &RemoteJwks) -> Self {
        if self.keys.fetched.replace(Arc::new(keys.clone())).is_some() {
            return self.fault("an issuer publishes its keys at one URL");
        }
        self
    }
}

/// Whether no more than this went by. A clock that was set back says nothing of how much did.
fn is_within(span: Duration, since: i64, now: i64) -> bool {
    u64::try_from(now.saturating_sub(since)).is_ok_and(|seconds| seconds < span.as_secs())
}

fn parse(url: &str) -> Option<Url> {
    let url = Url::parse(url).ok()?;
    let plain =
        url.has_host() && url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    plain.then_some(url)
}

/// What went wrong, with its causes and without the URL.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn misconfigured(text: &'static str) -> Error {
    Error::new(ErrorKind::Misconfigured, text)
}
