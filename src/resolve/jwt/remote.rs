//! Keys that are fetched from the issuer. Which keys of a document are used is decided in `document.rs`.

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

use super::builder::JwtSourceBuilder;
use super::document;
use super::issuer::{FetchedKeys, Wait};
use super::key::VerificationKey;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};

const MAX_BODY: usize = 64 * 1024;
/// The minimum time between two fetches because of an unknown `kid`.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_mins(1);
/// The minimum time between a failed fetch and the next.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Fetches and caches the keys that an issuer publishes as a JSON Web Key Set.
///
/// - The keys are fetched when the first token needs them, or earlier by [`load`](Self::load).
/// - Keys older than [`every`](Self::every) are fetched again in the background; requests use the old ones meanwhile.
/// - A token with an unknown `kid` triggers a fetch, at most once a minute.
/// - Concurrent requests share one fetch.
/// - If the issuer does not respond, the cached keys stay usable for another [`stale_for`](Self::stale_for). Then
///   every token is rejected with [`ErrorKind::StoreUnavailable`].
///
/// Clones share their keys. A Tokio runtime is required. [`JwtSourceBuilder::jwks`](super::JwtSourceBuilder::jwks)
/// documents which keys of a set are used; with a set without usable keys, every token is rejected.
///
/// # Security
/// Keys are fetched from this URL only, over HTTPS, with the certificates that the system trusts. Redirects are not
/// followed, and a response over 64 KiB is rejected. A key that the issuer withdraws, or replaces under the same
/// `kid`, is accepted until the next fetch. `Cache-Control` is not read.
///
/// ```
/// use tenancy::resolve::{JwtSource, RemoteJwks};
///
/// # async fn start() -> tenancy::Result<()> {
/// let keys = RemoteJwks::new("https://login.example.com/.well-known/jwks.json")?;
/// keys.load().await?; // fail at start-up if the keys cannot be fetched
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

/// Keys, and the time at which their fetch began, in seconds.
#[derive(Clone)]
struct Loaded {
    keys: Arc<[VerificationKey]>,
    at: i64,
}

#[derive(Default)]
struct Attempts {
    /// The last fetch, which may still run.
    flight: Option<(AbortHandle, Flight)>,
    last: Option<i64>,
    /// The last one because of an unknown `kid`.
    for_unknown_key: Option<i64>,
}

/// The number of keys, or why the fetch failed.
type Flight = Shared<Pin<Box<dyn Future<Output = Result<usize, Arc<str>>> + Send>>>;

impl RemoteJwks {
    /// The keys at this URL. They are not fetched yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the URL is not `https://…` with a host and without a user and a fragment.
    pub fn new(url: &str) -> Result<Self> {
        let url = parse(url).filter(|url| url.scheme() == "https").ok_or_else(|| {
            misconfigured("the URL of a JWKS is `https://…`, with a host and without a user and a fragment")
        })?;
        Self::with_client(url, Client::builder().https_only(true))
    }

    /// The keys at a plain HTTP URL on the loopback interface, for tests and for an issuer on the same machine.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the URL is not `http://127.0.0.1` or `http://[::1]`.
    pub fn plain_on_loopback(url: &str) -> Result<Self> {
        let is_loopback =
            |url: &Url| url.scheme() == "http" && matches!(url.host_str(), Some("127.0.0.1" | "[::1]"));
        let url = parse(url).filter(is_loopback).ok_or_else(|| {
            misconfigured(
                "a JWKS over plain HTTP is at `http://127.0.0.1` or `http://[::1]`; use HTTPS elsewhere",
            )
        })?;
        // No root certificates are loaded, so this also works on a system without any.
        Self::with_client(url, Client::builder().no_proxy().tls_certs_only([]))
    }

    fn with_client(url: Url, client: reqwest::ClientBuilder) -> Result<Self> {
        let client = client
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| misconfigured("the HTTP client cannot be built").with_source(error))?;
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

    /// Sets the age at which keys are fetched again. The default is 5 minutes.
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Sets how much longer keys stay usable while the issuer does not respond. The default is one hour.
    pub fn stale_for(self, stale_for: Duration) -> Self {
        Self { stale_for, ..self }
    }

    /// Sets the timeout of a fetch. The default is 5 seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Replaces the clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Fetches the keys now. Call it at start-up to fail early if there are no keys.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the keys cannot be fetched, or none is usable.
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
                Ok(0) => Err(unavailable("it contains no usable key")),
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

    /// Joins the running fetch or starts one. A fetch continues when the request that started it is cancelled.
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
        let flight = async move { task.await.unwrap_or_else(|_| Err("the fetch was aborted".into())) };
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
            return Err(format!("it responds with status {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reason)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err("it is larger than 64 KiB".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

impl FetchedKeys for RemoteJwks {
    fn current(&self) -> Option<Arc<[VerificationKey]>> {
        let loaded = self.loaded()?;
        let now = self.now();
        if !is_within(self.every, loaded.at, now) {
            let mut attempts = self.attempts();
            if attempts.last.is_none_or(|last| !is_within(RETRY_PAUSE, last, now)) {
                self.fetch_now(&mut attempts);
            }
        }
        self.is_usable(&loaded).then_some(loaded.keys)
    }

    fn newer_than(&self, seen: Option<&Arc<[VerificationKey]>>) -> Option<Wait> {
        let mut attempts = self.attempts();
        let now = self.now();
        // Another request may have fetched them meanwhile.
        if let Some(loaded) = self.loaded().filter(|loaded| self.is_usable(loaded))
            && seen.is_none_or(|seen| !Arc::ptr_eq(seen, &loaded.keys))
        {
            return Some(Box::pin(async {}));
        }
        let is_running = attempts.flight.as_ref().is_some_and(|(task, _)| !task.is_finished());
        let (last, pause) = match seen {
            None => (&mut attempts.last, RETRY_PAUSE),
            Some(_) => (&mut attempts.for_unknown_key, UNKNOWN_KEY_PAUSE),
        };
        if !is_running {
            if last.is_some_and(|last| is_within(pause, last, now)) {
                return None;
            }
            *last = Some(now);
        }
        let flight = self.fetch_now(&mut attempts)?;
        Some(Box::pin(async move {
            // A failure shows in the keys, which are then unchanged.
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
    /// Verifies tokens with the public keys that the issuer publishes at a URL.
    pub fn remote_jwks(mut self, keys: &RemoteJwks) -> Self {
        if self.keys.fetched.replace(Arc::new(keys.clone())).is_some() {
            return self.fault("`remote_jwks` can be set once: an issuer publishes its keys at one URL");
        }
        self
    }
}

/// Whether less than `span` has passed. `false` if the clock was set back.
fn is_within(span: Duration, since: i64, now: i64) -> bool {
    u64::try_from(now.saturating_sub(since)).is_ok_and(|seconds| seconds < span.as_secs())
}

fn parse(url: &str) -> Option<Url> {
    let url = Url::parse(url).ok()?;
    let is_valid =
        url.has_host() && url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    is_valid.then_some(url)
}

/// The error with its causes, and without the URL.
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
