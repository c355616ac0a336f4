//! [`SubscriptionState`]: a subscription at one time, and the values in it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The status of a subscription, named as Stripe names it.
///
/// ```
/// use tenancy::billing::SubscriptionStatus;
///
/// assert!(SubscriptionStatus::parse("canceled").is_final());
/// assert_eq!(SubscriptionStatus::parse("brand_new").as_str(), "brand_new");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum SubscriptionStatus {
    /// The first payment is pending. Changes nothing about the tenant.
    Incomplete,
    /// The first payment never succeeded. Final.
    IncompleteExpired,
    /// In a trial period.
    Trialing,
    /// Paid.
    Active,
    /// A payment is overdue.
    PastDue,
    /// The billing system stopped trying to collect the payment.
    Unpaid,
    /// Paused: on request, or because a trial ended without a payment method.
    Paused,
    /// Ended. Final.
    Canceled,
    /// A status that this version does not know: the tenant does not change, and a person should review it.
    Unknown(String),
}

impl SubscriptionStatus {
    /// Parses the billing system's status; an unknown one becomes [`Unknown`](Self::Unknown).
    pub fn parse(text: &str) -> Self {
        match text {
            "incomplete" => Self::Incomplete,
            "incomplete_expired" => Self::IncompleteExpired,
            "trialing" => Self::Trialing,
            "active" => Self::Active,
            "past_due" => Self::PastDue,
            "unpaid" => Self::Unpaid,
            "paused" => Self::Paused,
            "canceled" => Self::Canceled,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// The status as the billing system writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
            Self::Canceled => "canceled",
            Self::Unknown(text) => text,
        }
    }

    /// Whether a subscription never leaves this status.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Canceled | Self::IncompleteExpired)
    }

    /// Whether this version does not know the status.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// Whether the subscription has started and has not ended.
    pub fn is_live(&self) -> bool {
        !self.is_final() && *self != Self::Incomplete
    }
}

impl From<String> for SubscriptionStatus {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<SubscriptionStatus> for String {
    fn from(status: SubscriptionStatus) -> Self {
        status.as_str().to_owned()
    }
}

impl fmt::Display for SubscriptionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One price of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Price {
    /// The id of the price.
    pub id: String,
    /// The lookup key that you gave the price, if any.
    pub lookup_key: Option<String>,
    /// The plan that the price names in its metadata, as `tenancy_plan`.
    #[serde(default)]
    pub plan: Option<String>,
    /// The add-on that the price names in its metadata, as `tenancy_addon`.
    #[serde(default)]
    pub addon: Option<String>,
    /// The id of the product.
    #[serde(default)]
    pub product: Option<String>,
    /// The quantity; `None` for a metered price.
    pub quantity: Option<u64>,
}

impl Price {
    /// A price with this id alone.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), lookup_key: None, plan: None, addon: None, product: None, quantity: None }
    }
}

/// The state of a subscription at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubscriptionState {
    /// The status.
    pub status: SubscriptionStatus,
    /// Every price of the subscription.
    pub prices: Vec<Price>,
    /// When it is scheduled to end.
    pub cancel_at: Option<Timestamp>,
    /// Whether it is scheduled to end with the paid period.
    pub cancel_at_period_end: bool,
    /// The end of the paid period; if items have different periods, the latest end.
    pub period_end: Option<Timestamp>,
    /// Whether the collection of payments is paused, whatever the status (`pause_collection`).
    #[serde(default)]
    pub collection_paused: bool,
    /// The time from which its billing periods are counted.
    #[serde(default)]
    pub billing_anchor: Option<Timestamp>,
}

impl SubscriptionState {
    /// A state with this status and these prices, not scheduled to end.
    pub fn new(status: SubscriptionStatus, prices: Vec<Price>) -> Self {
        Self {
            status,
            prices,
            cancel_at: None,
            cancel_at_period_end: false,
            period_end: None,
            collection_paused: false,
            billing_anchor: None,
        }
    }

    /// Whether it is scheduled to end, at a date or with its period.
    pub fn is_ending(&self) -> bool {
        self.cancel_at.is_some() || self.cancel_at_period_end
    }
}

/// The values of a subscription before an event; `None` where the event did not change a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreviousAttributes {
    /// The previous status.
    pub status: Option<SubscriptionStatus>,
    /// The previous prices.
    pub prices: Option<Vec<Price>>,
    /// When it was scheduled to end; the inner `None` means that it was not scheduled.
    pub cancel_at: Option<Option<Timestamp>>,
    /// Whether it was scheduled to end with its period.
    pub cancel_at_period_end: Option<bool>,
    /// The previous end of the paid period.
    pub period_end: Option<Timestamp>,
    /// Whether the collection of payments was paused.
    pub collection_paused: Option<bool>,
    /// The previous time from which its billing periods were counted.
    pub billing_anchor: Option<Timestamp>,
}

/// The event that a stored state comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Watermark {
    /// When the billing system created the event, in whole seconds.
    pub created: Timestamp,
    /// The event's id.
    pub event: String,
}

impl Watermark {
    /// A watermark of the event with this time and id.
    pub fn new(created: Timestamp, event: impl Into<String>) -> Self {
        Self { created, event: event.into() }
    }
}
