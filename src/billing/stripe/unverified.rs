//! [`UnverifiedWebhook`]: events without a signature, for tests.

use super::webhook::StripeWebhook;
use crate::billing::EventOutcome;
use crate::error::Result;

/// A [`StripeWebhook`] that verifies no signature (feature `testing`): for tests with recorded events.
///
/// ```
/// use tenancy::billing::stripe::{StripeWebhook, UnverifiedWebhook};
///
/// async fn replay_a_recording(webhook: StripeWebhook, bodies: &[&[u8]]) -> tenancy::Result<()> {
///     let webhook = UnverifiedWebhook::new(webhook);
///     for body in bodies {
///         println!("{}", webhook.receive(body).await?.as_str());
///     }
///     Ok(())
/// }
/// ```
///
/// # Security
/// Never add it to a server: whoever reaches it sets the plan and status of any tenant.
#[derive(Debug, Clone)]
pub struct UnverifiedWebhook(StripeWebhook);

impl UnverifiedWebhook {
    /// The same endpoint without its secrets.
    pub fn new(webhook: StripeWebhook) -> Self {
        Self(webhook)
    }

    /// Handles a body as [`StripeWebhook::receive`] does after the signature is verified.
    ///
    /// # Errors
    /// As [`StripeWebhook::receive`], except
    /// [`ErrorKind::SignatureInvalid`](crate::ErrorKind::SignatureInvalid).
    pub async fn receive(&self, body: &[u8]) -> Result<EventOutcome> {
        self.0.receive_verified(body).await
    }
}
