//! Webhooks over HTTP: the response to each result, and a service for tower and axum.

use crate::billing::stripe::StripeWebhook;
use crate::error::{Error, ErrorKind};

/// The longest body that is read, in bytes.
pub(super) const MAX_BODY: usize = 1 << 20;
/// The header of Stripe's signature.
pub(super) const SIGNATURE: &str = "stripe-signature";

/// The status and the body of a response. The sender is told no reason: it repeats the event, or it does not.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) json: Vec<u8>,
}

impl Answer {
    pub(super) fn too_large() -> Self {
        Self { status: 413, json: Vec::new() }
    }

    pub(super) fn unreadable() -> Self {
        Self { status: 400, json: Vec::new() }
    }
}

/// Handles a request whose body was read.
pub(super) async fn answer(webhook: &StripeWebhook, body: &[u8], signatures: &[&[u8]]) -> Answer {
    match webhook.receive(body, signatures).await {
        Ok(outcome) => {
            let json = serde_json::json!({ "received": outcome.as_str() }).to_string().into_bytes();
            Answer { status: 200, json }
        }
        Err(error) => Answer { status: status(&error), json: Vec::new() },
    }
}

/// The status for an error: the sender repeats only what can succeed later.
fn status(error: &Error) -> u16 {
    let status = match error.kind() {
        ErrorKind::SignatureInvalid | ErrorKind::InvalidInput => 400,
        ErrorKind::Misconfigured => 422,
        _ => 503,
    };
    let (kind, cause) = (error.kind().code(), error.cause().map(tracing::field::display));
    if status == 400 {
        tracing::warn!(target: "tenancy::billing", kind, %error, "a webhook was rejected");
    } else {
        tracing::error!(target: "tenancy::billing", kind, %error, cause, "a webhook could not be handled");
    }
    status
}
