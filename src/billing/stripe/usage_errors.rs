//! Thin events about meter events that Stripe found invalid. The details are in the event, which is read from Stripe.

use serde_json::{Value, json};

use super::api::{ApiRequest, StripeApi};
use super::usage_identifier::UsageIdentifier;
use super::webhook::StripeWebhook;
use crate::billing::{EventOutcome, UsageError};
use crate::error::Result;

/// The types of these events. Stripe sends them as thin events only.
const TYPES: [&str; 2] = ["v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found"];

/// The longest message that is stored.
const MAX_MESSAGE: usize = 500;

pub(super) fn is_usage_error(kind: &str) -> bool {
    TYPES.contains(&kind)
}

impl StripeWebhook {
    /// Stores the meter events that a thin event samples. Those of another installation are ignored.
    pub(super) async fn read_usage_errors(
        &self,
        api: &dyn StripeApi,
        event: &str,
        livemode: bool,
        context: Option<&str>,
    ) -> Result<EventOutcome> {
        if !self.events.is_in_mode(livemode) {
            return Ok(EventOutcome::Ignored { reason: "the event is of the other mode" });
        }
        if context.is_some() {
            return Ok(EventOutcome::Ignored { reason: "usage is sent to the own account only" });
        }
        let plain = event.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain {
            return Ok(EventOutcome::Ignored { reason: "the id of the event is malformed" });
        }
        let read = api.send(&ApiRequest::get(format!("/v2/core/events/{event}"), json!({}))).await?;
        let now = self.clock.now();
        let samples = samples(&read);
        let reported = read["data"]["reason"]["error_count"].as_u64().unwrap_or_default();
        if reported > samples.len() as u64 {
            tracing::warn!(
                event,
                reported,
                "Stripe names only some of the invalid meter events; reconcile the usage"
            );
        }
        let mut tx = self.store.begin().await?;
        if !tx.record_once(event, None, now).await? {
            return Ok(EventOutcome::Duplicate);
        }
        let mut own = 0;
        for (identifier, code, message) in samples {
            if UsageIdentifier::parse(&self.events.names, identifier).is_none() {
                continue;
            }
            own += 1;
            let message = message.chars().take(MAX_MESSAGE).collect();
            let identifier = identifier.to_owned();
            tx.add_usage_error(&UsageError { identifier, code: code.to_owned(), message, received: now })
                .await?;
        }
        tx.commit().await?;
        Ok(if own > 0 {
            EventOutcome::Unchanged
        } else {
            EventOutcome::Ignored { reason: "none of the meter events is of this installation" }
        })
    }
}

/// The identifier, the code and the message of each meter event that a report samples.
fn samples(event: &Value) -> Vec<(&str, &str, &str)> {
    let mut samples = Vec::new();
    for kind in event["data"]["reason"]["error_types"].as_array().into_iter().flatten() {
        let code = kind["code"].as_str().unwrap_or("no code");
        for sample in kind["sample_errors"].as_array().into_iter().flatten() {
            if let Some(identifier) = sample["request"]["identifier"].as_str() {
                samples.push((identifier, code, sample["error_message"].as_str().unwrap_or_default()));
            }
        }
    }
    samples
}
