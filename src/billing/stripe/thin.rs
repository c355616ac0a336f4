//! Thin events, which name an object instead of containing it: the object is read from Stripe.

use serde::Deserialize;
use serde_json::{Value, json};

use super::api::ApiRequest;
use super::envelope::Unusable;
use super::received::Received;
use super::usage_errors::is_usage_error;
use super::webhook::StripeWebhook;
use crate::billing::{BillingEvent, Fact};
use crate::error::{Error, ErrorKind, Result};

/// The fields of a thin event that are used.
/// See <https://docs.stripe.com/event-destinations#thin-events>.
#[derive(Deserialize)]
struct ThinEvent {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    livemode: bool,
    /// The account that it happened in; for an organisation a path of several ids.
    context: Option<String>,
    related_object: Option<RelatedObject>,
    /// The id of the snapshot event about the same change.
    snapshot_event: Option<String>,
}

#[derive(Deserialize)]
struct RelatedObject {
    id: String,
    url: String,
}

impl StripeWebhook {
    /// Reads the object of a thin event. A subscription is applied at once, with its present state.
    pub(super) async fn read_thin<'a>(&self, body: &'a [u8]) -> Result<Received<'a>> {
        let Some(api) = &self.api else { return Err(Unusable::Thin.into_error()) };
        let not_an_event = |reason| Received::NotAnEvent { body, reason };
        let ignored = |reason| Ok(Received::ignored(reason));
        let Ok(thin) = serde_json::from_slice::<ThinEvent>(body) else {
            return Ok(not_an_event("a field of the thin event is missing or has another type"));
        };
        if is_usage_error(&thin.kind) {
            let context = thin.context.as_deref();
            let outcome = self.read_usage_errors(&**api, &thin.id, thin.livemode, context).await?;
            return Ok(Received::Handled(outcome));
        }
        // Of a subscription the type says nothing that its state does not say.
        let is_subscription = thin.kind.starts_with("v1.customer.subscription.");
        let kind = if is_subscription {
            "customer.subscription.updated"
        } else {
            thin.kind.strip_prefix("v1.").unwrap_or(&thin.kind)
        };
        if thin
            .context
            .as_deref()
            .is_some_and(|context| !context.starts_with("acct_") || context.contains('/'))
        {
            return ignored("the event is of an organisation");
        }
        // One change makes a thin event and a snapshot event: whichever comes first is used.
        let id = thin.snapshot_event.as_deref().unwrap_or(&thin.id);
        let snapshot = |object: Value| {
            let event = json!({
                "object": "event", "id": id, "type": kind, "created": self.clock.now().seconds(),
                "livemode": thin.livemode, "account": thin.context, "data": { "object": object },
            });
            self.events.translate(event.to_string().as_bytes()).map_err(Unusable::into_error)
        };
        // An object that can never be read must not block the endpoint for days.
        let failed = async |error: Error| {
            if error.is_transient() || error.kind() == ErrorKind::StaleVersion {
                return Err(error);
            }
            let fact = Fact::Unreadable { reason: "the object of the thin event cannot be read" };
            let event = BillingEvent {
                livemode: thin.livemode,
                account: thin.context.clone(),
                raw: body.to_vec(),
                ..BillingEvent::new(id, self.clock.now(), kind, fact)
            };
            self.failed(&event, error).await.map(Received::Handled)
        };
        // Without an object a type that is used cannot be read, and every other type is ignored.
        if let Fact::Ignored { reason } = snapshot(Value::Null)?.fact {
            return ignored(reason);
        }
        let Some(related) = &thin.related_object else { return ignored("the thin event names no object") };
        if is_subscription {
            let event = Some(id);
            let read = self.read_subscription_for(&**api, &related.id, thin.context.as_deref(), event).await;
            return match read {
                Ok(Some(outcome)) => Ok(Received::Handled(outcome)),
                Ok(None) => ignored(GONE),
                Err(error) => failed(error).await,
            };
        }
        if !related.url.starts_with("/v1/")
            || related.url.contains(['?', '#', '%'])
            || related.url.contains("..")
        {
            return Ok(not_an_event("the URL of the thin event's object is not of Stripe's API"));
        }
        let request = ApiRequest::get(related.url.as_str(), json!({})).in_account(thin.context.clone());
        match api.send(&request).await {
            Ok(object) => Ok(Received::Event(Box::new(snapshot(object)?))),
            Err(error) if error.kind() == ErrorKind::NotFound => ignored(GONE),
            Err(error) => failed(error).await,
        }
    }
}

const GONE: &str = "the object of the event does not exist any more";
