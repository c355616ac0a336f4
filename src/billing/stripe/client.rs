//! [`StripeClient`]: [`StripeApi`] over HTTPS, by async-stripe.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use stripe::{AccountId, CustomizedStripeRequest, IdempotencyKey, RequestStrategy, StripeError};
use stripe_client_core::{RequestBuilder, StripeClientErr, StripeMethod};

use super::api::{ApiMethod, ApiRequest, StripeApi};
use super::v2_client::V2Client;
use crate::error::{Error, ErrorKind, Result};

/// How often a request is sent that Stripe cannot serve for now, the first time included.
const MAX_ATTEMPTS: u32 = 3;
/// The pause before the second attempt. It doubles with each attempt.
const PAUSE: Duration = Duration::from_millis(250);
/// The time for one attempt, if none is set.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Sends requests to Stripe over HTTPS (feature `stripe-api`).
///
/// A request that Stripe cannot serve for now is sent up to three times, with the same idempotency key. An attempt ends
/// after 20 seconds.
///
/// ```
/// use tenancy::billing::stripe::StripeClient;
///
/// let stripe = StripeClient::new("sk_test_example")?;
/// # assert!(!format!("{stripe:?}").contains("example"));
/// # Ok::<(), tenancy::Error>(())
/// ```
///
/// # Security
/// Use a [restricted key](https://docs.stripe.com/keys/restricted-api-keys) that may write customers, checkout sessions,
/// portal sessions, subscriptions and meter events, and read prices, events, invoices, charges and meters.
#[derive(Clone)]
pub struct StripeClient {
    client: stripe::Client,
    v2: V2Client,
}

impl StripeClient {
    /// A client for `https://api.stripe.com/`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the key does not begin with `sk_` or `rk_`.
    pub fn new(secret_key: impl Into<String>) -> Result<Self> {
        Self::build(secret_key.into(), "https://api.stripe.com/")
    }

    /// A client for another server with Stripe's API, such as a fake one.
    ///
    /// # Errors
    /// As [`new`](Self::new); and [`ErrorKind::Misconfigured`] if the URL is not valid.
    ///
    /// # Security
    /// The server receives the secret key.
    pub fn with_url(secret_key: impl Into<String>, url: impl AsRef<str>) -> Result<Self> {
        Self::build(secret_key.into(), url.as_ref())
    }

    fn build(secret_key: String, url: &str) -> Result<Self> {
        let is_key = ["sk_", "rk_"].iter().any(|prefix| secret_key.starts_with(prefix));
        if !is_key || secret_key.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "this is not a secret key of Stripe: it begins with sk_ or rk_, without spaces around it",
            ));
        }
        let v2 = V2Client::new(&secret_key, url, TIMEOUT)?;
        let url = format!("{}/", url.trim_end_matches('/'));
        let builder = stripe::ClientBuilder::new(secret_key).timeout(TIMEOUT).url(url);
        let client = builder.build().map_err(|error| {
            Error::new(ErrorKind::Misconfigured, "the URL of Stripe's API is not valid").with_source(error)
        })?;
        Ok(Self { client, v2 })
    }

    /// Sends a request once.
    async fn attempt(&self, request: &ApiRequest) -> Result<Value, Failure> {
        let has_parameters = request.parameters.as_object().is_some_and(|all| !all.is_empty());
        if request.path.starts_with("/v2/") && request.method == ApiMethod::Get && !has_parameters {
            return self.v2.get(&request.path).await.map_err(|error| match error.kind() {
                ErrorKind::BillingUnavailable => Failure::Passing(error),
                _ => Failure::Final(error),
            });
        }
        let path = request.path.strip_prefix("/v1").ok_or(Failure::Final(Error::new(
            ErrorKind::Misconfigured,
            "the client sends requests to /v1, and reads without parameters from /v2",
        )))?;
        let strategy = match &request.idempotency_key {
            Some(key) => RequestStrategy::Idempotent(IdempotencyKey::new(key).map_err(|error| {
                Failure::Final(
                    Error::new(ErrorKind::InvalidInput, "an idempotency key has 1 to 255 characters")
                        .with_source(error),
                )
            })?),
            None => RequestStrategy::Once,
        };
        let method = match request.method {
            ApiMethod::Get => StripeMethod::Get,
            ApiMethod::Post => StripeMethod::Post,
            ApiMethod::Delete => StripeMethod::Delete,
        };
        let mut built = RequestBuilder::new(method, path);
        if has_parameters {
            built = match request.method {
                ApiMethod::Post => built.form(&request.parameters),
                _ => built.query(&request.parameters),
            };
        }
        let mut customized = built.customize::<()>().request_strategy(strategy);
        if let Some(account) = &request.account {
            customized = customized.account_id(AccountId::from(account.as_str()));
        }
        match customized.send(&RawClient(&self.client)).await {
            Err(Reply::Object(bytes)) => serde_json::from_slice(&bytes).map_err(|error| {
                Failure::Passing(unavailable("Stripe's response is not JSON").with_source(error))
            }),
            Err(Reply::Failed(error)) => Err(Failure::of(error)),
            Ok(()) => Err(Failure::Passing(unavailable("Stripe sent no response"))),
        }
    }
}

#[async_trait]
impl StripeApi for StripeClient {
    async fn send(&self, request: &ApiRequest) -> Result<Value> {
        let (mut attempt, mut pause) = (1, PAUSE);
        loop {
            match self.attempt(request).await {
                Ok(object) => return Ok(object),
                Err(Failure::Passing(error)) if attempt < MAX_ATTEMPTS => {
                    tracing::debug!(path = request.path, attempt, %error, "a request to Stripe is repeated");
                    tokio::time::sleep(pause).await;
                    (attempt, pause) = (attempt + 1, pause * 2);
                }
                Err(Failure::Passing(error) | Failure::Final(error)) => return Err(error),
            }
        }
    }
}

impl fmt::Debug for StripeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeClient").finish_non_exhaustive()
    }
}

/// Why an attempt failed.
enum Failure {
    /// Another attempt may succeed.
    Passing(Error),
    /// Another attempt fails too.
    Final(Error),
}

impl Failure {
    fn of(error: StripeError) -> Self {
        let StripeError::Stripe(reason, status) = &error else {
            return Self::Passing(unavailable("Stripe cannot be reached").with_source(error));
        };
        // 409: another request with the same key, or on the same object, is running. 424: a part of Stripe is down.
        if matches!(status, 409 | 424 | 429 | 500..) {
            return Self::Passing(unavailable("Stripe cannot serve the request for now").with_source(error));
        }
        let code = reason.code.as_ref().map_or("no code", |code| code.as_str());
        let message = reason.message.as_deref().unwrap_or("no message");
        let kind = match status {
            401 | 403 => ErrorKind::Misconfigured,
            _ if code == "resource_missing" => ErrorKind::NotFound,
            _ => ErrorKind::BillingRejected,
        };
        Self::Final(Error::new(kind, format!("Stripe rejected the request: {code}: {message}")))
    }
}

fn unavailable(text: &'static str) -> Error {
    Error::new(ErrorKind::BillingUnavailable, text)
}

/// A client that returns the bytes of a response. async-stripe would parse them into a type of one API version, and fail
/// if a field is missing, after the request took effect.
struct RawClient<'a>(&'a stripe::Client);

/// The outcome of a request, which leaves async-stripe as its error, and so unparsed.
enum Reply {
    Object(Bytes),
    Failed(StripeError),
}

impl StripeClientErr for Reply {
    fn deserialize_err(message: impl fmt::Display) -> Self {
        Self::Failed(StripeError::JSONDeserialize(message.to_string()))
    }
}

impl stripe_client_core::StripeClient for RawClient<'_> {
    type Err = Reply;

    async fn execute(&self, request: CustomizedStripeRequest) -> Result<Bytes, Reply> {
        Err(match self.0.execute(request).await {
            Ok(bytes) => Reply::Object(bytes),
            Err(error) => Reply::Failed(error),
        })
    }
}
