//! Stripe's webhook as a route of actix-web.

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderValue;
use actix_web::web::{Payload, post};
use actix_web::{HttpRequest, HttpResponse, Route};

use crate::billing::stripe::StripeWebhook;
use crate::web::webhook::{Answer, MAX_BODY, SIGNATURE, answer};

/// Handles the requests of Stripe with actix-web: `POST`, with a body of at most 1 MiB.
///
/// The responses are those of
/// [`StripeWebhookService`](https://docs.rs/tenancy/latest/tenancy/web/struct.StripeWebhookService.html).
///
/// ```
/// use actix_web::web::{ServiceConfig, resource};
/// use tenancy::billing::stripe::StripeWebhook;
/// use tenancy::web::stripe_webhook_route;
///
/// fn routes(webhook: StripeWebhook) -> impl Fn(&mut ServiceConfig) {
///     move |config| {
///         config.service(resource("/webhooks/stripe").route(stripe_webhook_route(webhook.clone())));
///     }
/// }
/// ```
///
/// # Security
/// The signature covers the body byte for byte: put no middleware in front that decompresses or rewrites it. The route
/// needs no [`TenantMiddleware`](crate::web::TenantMiddleware), because the event names its tenant.
pub fn stripe_webhook_route(webhook: StripeWebhook) -> Route {
    post().to(move |request: HttpRequest, payload: Payload| {
        let webhook = webhook.clone();
        async move {
            let answer = match payload.to_bytes_limited(MAX_BODY).await {
                Ok(Ok(body)) => {
                    let signatures: Vec<&[u8]> =
                        request.headers().get_all(SIGNATURE).map(HeaderValue::as_bytes).collect();
                    answer(&webhook, &body, &signatures).await
                }
                Ok(Err(_)) => Answer::unreadable(),
                Err(_) => Answer::too_large(),
            };
            let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let mut response = HttpResponse::build(status);
            if answer.json.is_empty() {
                response.finish()
            } else {
                response.content_type("application/json").body(answer.json)
            }
        }
    })
}
