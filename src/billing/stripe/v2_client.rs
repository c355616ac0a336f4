//! [`V2Client`]: reads from the part of Stripe's API under `/v2`, which async-stripe cannot reach.

use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// The version whose events are read. `/v2` requires one.
const API_VERSION: &str = "2026-10-28.endive";
/// The longest response that is read, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Reads from `/v2`. It has the connector of async-stripe, with the same certificates.
#[derive(Clone)]
pub(super) struct V2Client {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    /// Without a slash at its end.
    url: String,
    authorization: HeaderValue,
    timeout: Duration,
}

impl V2Client {
    pub(super) fn new(secret_key: &str, url: &str, timeout: Duration) -> Result<Self> {
        let invalid =
            |_| Error::new(ErrorKind::Misconfigured, "the secret key of Stripe has an invalid character");
        let mut authorization = HeaderValue::from_str(&format!("Bearer {secret_key}")).map_err(invalid)?;
        authorization.set_sensitive(true);
        let connector =
            HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), authorization, timeout })
    }

    /// Reads an object once. `path` begins with `/v2/`.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let uri: Uri = format!("{}{path}", self.url).parse().map_err(|error: http::uri::InvalidUri| {
            Error::new(ErrorKind::InvalidInput, "the path of a request to Stripe is not valid")
                .with_source(error)
        })?;
        let mut request =
            Request::get(uri).header("stripe-version", API_VERSION).body(Empty::new()).map_err(|error| {
                Error::new(ErrorKind::InvalidInput, "a request to Stripe is not valid").with_source(error)
            })?;
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                Error::new(ErrorKind::BillingUnavailable, "Stripe cannot be reached").with_source(error)
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| {
                Error::new(ErrorKind::BillingUnavailable, "Stripe's response cannot be read")
                    .with_source(error.to_string())
            })?;
            Ok((status, body.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(self.timeout, exchange).await.map_err(|error| {
            Error::new(ErrorKind::BillingUnavailable, "Stripe did not respond in time").with_source(error)
        })??;
        let value = serde_json::from_slice::<Value>(&body);
        if status.is_success() {
            return value.map_err(|error| {
                Error::new(ErrorKind::BillingUnavailable, "Stripe's response is not JSON").with_source(error)
            });
        }
        Err(rejection(status, &value.unwrap_or_default()))
    }
}

fn rejection(status: StatusCode, body: &Value) -> Error {
    if matches!(status.as_u16(), 409 | 424 | 429 | 500..) {
        return Error::new(ErrorKind::BillingUnavailable, "Stripe cannot serve the request for now");
    }
    let text = |field: &str, none| body["error"][field].as_str().unwrap_or(none).to_owned();
    let kind = match status.as_u16() {
        401 | 403 => ErrorKind::Misconfigured,
        404 => ErrorKind::NotFound,
        _ => ErrorKind::BillingRejected,
    };
    let (code, message) = (text("code", "no code"), text("message", "no message"));
    Error::new(kind, format!("Stripe rejected the request: {code}: {message}"))
}
