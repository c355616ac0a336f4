//! [`StripeWebhookService`]: Stripe's webhook as a service of tower, for axum as well.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tower_service::Service;

use super::webhook::{Answer, MAX_BODY, SIGNATURE, answer};
use crate::billing::stripe::StripeWebhook;

/// Handles the requests of Stripe: `POST`, with a body of at most 1 MiB.
///
/// | result | status |
/// |---|---|
/// | the event was applied, is a duplicate, older, ignored, or in the quarantine | 200, with the outcome as JSON |
/// | the signature is missing or wrong, or several were sent | 400 |
/// | another method | 405 |
/// | the body is longer | 413 |
/// | the destination sends thin events, and the webhook cannot read from Stripe | 422 |
/// | the database is down, or Stripe for a thin event | 503: Stripe sends the event again |
///
/// ```
/// use tenancy::billing::stripe::StripeWebhook;
/// use tenancy::web::StripeWebhookService;
///
/// fn routes(webhook: StripeWebhook) -> axum::Router {
///     axum::Router::new().route_service("/webhooks/stripe", StripeWebhookService::new(webhook))
/// }
/// ```
///
/// # Security
/// The signature covers the body byte for byte: put no middleware in front that decompresses or rewrites it. The route
/// needs no [`TenantLayer`](crate::web::TenantLayer), because the event names its tenant.
#[derive(Clone)]
#[must_use]
pub struct StripeWebhookService {
    webhook: StripeWebhook,
}

impl StripeWebhookService {
    /// Creates the service.
    pub fn new(webhook: StripeWebhook) -> Self {
        Self { webhook }
    }
}

impl fmt::Debug for StripeWebhookService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeWebhookService").finish_non_exhaustive()
    }
}

/// The future of [`StripeWebhookService`].
type WebhookFuture = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send>>;

impl<B> Service<Request<B>> for StripeWebhookService
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = WebhookFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> WebhookFuture {
        let webhook = self.webhook.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            if parts.method != Method::POST {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                return Ok(response);
            }
            let answer = match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => answer(&webhook, &body.to_bytes(), &signatures(&parts.headers)).await,
                Err(error) if error.is::<LengthLimitError>() => Answer::too_large(),
                Err(_) => Answer::unreadable(),
            };
            Ok(response(answer))
        })
    }
}

fn signatures(headers: &HeaderMap) -> Vec<&[u8]> {
    headers.get_all(SIGNATURE).iter().map(HeaderValue::as_bytes).collect()
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let json = !answer.json.is_empty();
    let mut response = Response::new(Full::from(answer.json));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    if json {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}
