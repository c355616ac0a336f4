//! Events whose object names no customer, such as disputes: its parent is read from Stripe, and names the customer.

use serde_json::{Value, json};

use super::api::ApiRequest;
use super::envelope::Unusable;
use super::recorded::parent;
use super::webhook::StripeWebhook;
use crate::billing::{BillingEvent, Fact};
use crate::error::{ErrorKind, Result};

impl StripeWebhook {
    /// Reads the parent of the object of an event that was ignored for this reason. `None` if the event stays ignored.
    pub(super) async fn named_by_parent(
        &self,
        body: &[u8],
        ignored: &BillingEvent,
        reason: &str,
    ) -> Result<Option<BillingEvent>> {
        let (Some(api), Some((field, path))) = (&self.api, parent(&ignored.kind, reason)) else {
            return Ok(None);
        };
        let Ok(mut event) = serde_json::from_slice::<Value>(body) else { return Ok(None) };
        let Some(id) = event["data"]["object"][field].as_str() else { return Ok(None) };
        let request = ApiRequest::get(format!("{path}/{id}"), json!({})).in_account(ignored.account.clone());
        event["data"]["object"][field] = match api.send(&request).await {
            Ok(parent) => parent,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                // Stripe would disable an endpoint that rejects the event for days. A later reconciliation applies it.
                tracing::error!(event = %ignored.id, %error, "the parent of an event could not be read");
                return Ok(None);
            }
        };
        let event = self.events.translate(event.to_string().as_bytes()).map_err(Unusable::into_error)?;
        Ok(Some(event).filter(|event| !matches!(event.fact, Fact::Ignored { .. })))
    }
}
