//! [`EventEnvelope`]: the fields around every Stripe event, and [`Unusable`]: a body that has no such fields.

use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;

use super::fields::whole;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};

/// A body that cannot become a `BillingEvent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// The body is not an event, for this reason.
    NotAnEvent(&'static str),
    /// The body is an event without state.
    Thin,
}

impl Unusable {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NotAnEvent(reason) => Error::new(
                ErrorKind::InvalidInput,
                format!("the webhook's body is not a Stripe event: {reason}"),
            ),
            Self::Thin => Error::new(
                ErrorKind::Misconfigured,
                "this webhook destination sends thin events, which hold no state; serve StripeBilling::webhook, which \
                 reads the state, or create a destination that sends snapshot events",
            ),
        }
    }
}

/// The fields around an event.
pub(super) struct EventEnvelope {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) created: Timestamp,
    pub(super) livemode: bool,
    pub(super) account: Option<String>,
    /// The object that the event is about, or `null`.
    pub(super) object: Value,
    pub(super) previous_attributes: Option<Value>,
}

/// The keys that are used. serde rejects a duplicate of one of them, and ignores all others.
#[derive(Deserialize)]
struct RawEnvelope {
    object: Option<String>,
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    created: Option<Value>,
    livemode: Option<bool>,
    account: Option<String>,
    /// The name of `account` until 2017-05-25.
    user_id: Option<String>,
    data: Option<Data>,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    object: Value,
    previous_attributes: Option<Value>,
}

impl EventEnvelope {
    pub(super) fn parse(raw: &[u8]) -> Result<Self, Unusable> {
        let envelope = RawEnvelope::parse(raw).map_err(Unusable::NotAnEvent)?;
        if envelope.object.as_deref() == Some("v2.core.event") {
            return Err(Unusable::Thin);
        }
        envelope.into_event().map_err(Unusable::NotAnEvent)
    }
}

impl RawEnvelope {
    fn parse(raw: &[u8]) -> Result<Self, &'static str> {
        let text = str::from_utf8(raw).map_err(|_| "the body is not UTF-8")?;
        if text.starts_with('\u{FEFF}') {
            return Err("the body begins with a byte order mark");
        }
        if !text.trim_start().starts_with('{') {
            return Err("the body is not a JSON object");
        }
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => "a field of the event is repeated or has another type",
            Category::Io | Category::Syntax | Category::Eof => "the body is not JSON",
        })
    }

    fn into_event(self) -> Result<EventEnvelope, &'static str> {
        if self.object.as_deref() != Some("event") {
            return Err("its `object` is not `event`");
        }
        let created = self.created.as_ref().and_then(whole).map(Timestamp::from_seconds);
        let data = self.data.unwrap_or_default();
        Ok(EventEnvelope {
            id: self.id.filter(|id| !id.is_empty()).ok_or("it has no id")?,
            kind: self.kind.ok_or("it has no type")?,
            created: created.ok_or("it has no date")?,
            livemode: self.livemode.ok_or("it has no `livemode`")?,
            account: self.account.or(self.user_id),
            object: data.object,
            previous_attributes: data.previous_attributes,
        })
    }
}
