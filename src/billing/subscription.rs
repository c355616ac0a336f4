//! [`Subscription`]: a subscription as it is stored, and the values in it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// The status of a subscription, named as Stripe names it.
///
/// ```
/// use tenancy::billing::SubscriptionStatus;
///
/// assert!(SubscriptionStatus::parse("canceled").is_final());
/// assert_eq!(SubscriptionStatus::parse("brand_new").as_str(), "brand_new");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// The quantity; `None` for a metered price.
    pub quantity: Option<u64>,
}

impl Price {
    /// A price with this id, without a lookup key and a quantity.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), lookup_key: None, quantity: None }
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
}

impl SubscriptionState {
    /// A state with this status and these prices, not scheduled to end.
    pub fn new(status: SubscriptionStatus, prices: Vec<Price>) -> Self {
        Self { status, prices, cancel_at: None, cancel_at_period_end: false, period_end: None }
    }

    /// Whether it is scheduled to end, at a date or with its period.
    pub fn is_ending(&self) -> bool {
        self.cancel_at.is_some() || self.cancel_at_period_end
    }
}

/// The values of a subscription before an event; `None` where the event did not change a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl PreviousAttributes {
    /// Whether the event changed none of these values.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
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

/// A subscription as it is stored.
///
/// An SQL store needs columns for the [`id`](Self::id), the [`tenant`](Self::tenant) and the
/// [`customer`](Self::customer), and one for the text of [`to_json`](Self::to_json), which contains the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    tenant: TenantId,
    pub(super) row: SubscriptionRow,
}

/// What is stored about a subscription, except its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SubscriptionRow {
    pub(super) id: String,
    pub(super) customer: String,
    pub(super) started: Option<Timestamp>,
    pub(super) plan: Option<String>,
    pub(super) state: SubscriptionState,
    pub(super) as_of: Watermark,
    /// Whether `as_of` is the event that created the subscription.
    pub(super) announced: bool,
    /// The previous values in the event of `as_of`.
    pub(super) previous: PreviousAttributes,
    /// The other states in events of the same second.
    pub(super) seen: Vec<SubscriptionState>,
    pub(super) needs_refresh: bool,
}

impl Subscription {
    pub(super) fn from_row(tenant: TenantId, row: SubscriptionRow) -> Self {
        Self { tenant, row }
    }

    /// The id that the billing system gave it.
    pub fn id(&self) -> &str {
        &self.row.id
    }

    /// The billing system's id of the customer who pays for it.
    pub fn customer(&self) -> &str {
        &self.row.customer
    }

    /// The tenant that it belongs to.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The status.
    pub fn status(&self) -> &SubscriptionStatus {
        &self.row.state.status
    }

    /// The key of its plan; if its prices are no longer in the catalog, of its last known plan.
    pub fn plan(&self) -> Option<&str> {
        self.row.plan.as_deref()
    }

    /// Its prices.
    pub fn prices(&self) -> &[Price] {
        &self.row.state.prices
    }

    /// When it is scheduled to end, at a date or with its period; `None` if it is not.
    pub fn cancel_at(&self) -> Option<Timestamp> {
        let state = &self.row.state;
        state.cancel_at.or(if state.cancel_at_period_end { state.period_end } else { None })
    }

    /// The end of the paid period. A delayed event can leave it in the past, so decide access by the
    /// [`status`](Self::status), never by this.
    pub fn period_end(&self) -> Option<Timestamp> {
        self.row.state.period_end
    }

    /// The event that the stored state comes from.
    pub fn as_of(&self) -> &Watermark {
        &self.row.as_of
    }

    /// Whether the order of two events was ambiguous. Read the subscription from the billing system, or wait for its
    /// next event, which resolves it.
    pub fn needs_refresh(&self) -> bool {
        self.row.needs_refresh
    }

    /// Serialises everything but the tenant as one line of JSON, which [`from_json`](Self::from_json) parses exactly.
    ///
    /// # Panics
    /// Never: strings, numbers and lists of them are always JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.row).expect("strings, numbers and lists of them are always JSON")
    }

    /// Parses a subscription that a store read: the tenant, and the text of [`to_json`](Self::to_json).
    ///
    /// # Errors
    /// [`ErrorKind::Database`] if the text did not come from [`to_json`](Self::to_json).
    pub fn from_json(tenant: TenantId, text: &str) -> Result<Self> {
        let row = serde_json::from_str(text).map_err(|cause| {
            Error::new(
                ErrorKind::Database,
                "a stored subscription is malformed; restore its row from a backup",
            )
            .with_source(cause)
        })?;
        Ok(Self { tenant, row })
    }
}
