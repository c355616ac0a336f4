use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// Where a subscription stands, in the billing system's own words.
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
    /// The first payment has not come yet. Grants nothing, and takes nothing away.
    Incomplete,
    /// The first payment never came. The end.
    IncompleteExpired,
    /// On a trial.
    Trialing,
    /// Paid.
    Active,
    /// A payment is overdue.
    PastDue,
    /// The billing system gave up collecting.
    Unpaid,
    /// Paused: a trial ended without a means of payment, or somebody asked for it.
    Paused,
    /// Ended. The end.
    Canceled,
    /// A word that this version does not know: the tenant stays as it is, and a person should look.
    Unknown(String),
}

impl SubscriptionStatus {
    /// Reads the billing system's word; a word that is not known is kept as it is.
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

    /// The billing system's word.
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

    /// Whether the subscription says something about its tenant now: it has begun, and has not ended.
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

/// One price that a subscription is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Price {
    /// The price's id.
    pub id: String,
    /// The price's name of your own choice, if it has one.
    pub lookup_key: Option<String>,
    /// How many; `None` for a metered price.
    pub quantity: Option<u64>,
}

impl Price {
    /// A price by its id.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), lookup_key: None, quantity: None }
    }
}

/// What a subscription looks like at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubscriptionState {
    /// Where it stands.
    pub status: SubscriptionStatus,
    /// What it is made of: every price.
    pub prices: Vec<Price>,
    /// The date at which it is set to end.
    pub cancel_at: Option<Timestamp>,
    /// Whether it is set to end with the period that is paid for.
    pub cancel_at_period_end: bool,
    /// The end of the period that is paid for; of several, the last.
    pub period_end: Option<Timestamp>,
}

impl SubscriptionState {
    /// A subscription of this status and these prices, not set to end.
    pub fn new(status: SubscriptionStatus, prices: Vec<Price>) -> Self {
        Self { status, prices, cancel_at: None, cancel_at_period_end: false, period_end: None }
    }

    /// Whether it is set to end, in either of the two ways there are.
    pub fn is_ending(&self) -> bool {
        self.cancel_at.is_some() || self.cancel_at_period_end
    }
}

/// The values that an event says a subscription had before it; `None` where the event did not change them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PreviousAttributes {
    /// The status before.
    pub status: Option<SubscriptionStatus>,
    /// The prices before.
    pub prices: Option<Vec<Price>>,
    /// The date at which it was set to end; the inner `None` means that it was not.
    pub cancel_at: Option<Option<Timestamp>>,
    /// Whether it was set to end with its period.
    pub cancel_at_period_end: Option<bool>,
    /// The end of the period before.
    pub period_end: Option<Timestamp>,
}

impl PreviousAttributes {
    /// Whether the event changed nothing that is kept here.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The event that a stored subscription stands as of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Watermark {
    /// When the billing system made the event, in whole seconds.
    pub created: Timestamp,
    /// The event's id.
    pub event: String,
}

impl Watermark {
    /// As of this event.
    pub fn new(created: Timestamp, event: impl Into<String>) -> Self {
        Self { created, event: event.into() }
    }
}

/// A subscription as it is stored.
///
/// For an SQL store: the [`id`](Self::id), [`tenant`](Self::tenant) and [`customer`](Self::customer) in columns,
/// and the rest as the text of [`to_json`](Self::to_json) in one more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    tenant: TenantId,
    pub(super) row: SubscriptionRow,
}

/// What is kept of a subscription, beside whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SubscriptionRow {
    pub(super) id: String,
    pub(super) customer: String,
    pub(super) started: Option<Timestamp>,
    pub(super) plan: Option<String>,
    pub(super) state: SubscriptionState,
    pub(super) as_of: Watermark,
    /// Whether `as_of` is the event that announced the subscription.
    pub(super) announced: bool,
    /// What the event of `as_of` changed.
    pub(super) previous: PreviousAttributes,
    /// Every other state that an event of the same second told of.
    pub(super) seen: Vec<SubscriptionState>,
    pub(super) needs_refresh: bool,
}

impl Subscription {
    pub(super) fn from_row(tenant: TenantId, row: SubscriptionRow) -> Self {
        Self { tenant, row }
    }

    /// The billing system's id.
    pub fn id(&self) -> &str {
        &self.row.id
    }

    /// The billing system's id of the customer who pays.
    pub fn customer(&self) -> &str {
        &self.row.customer
    }

    /// The tenant it is for.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Where it stands.
    pub fn status(&self) -> &SubscriptionStatus {
        &self.row.state.status
    }

    /// The key of the plan that it buys; of the last known one, if its prices are no longer in the catalog.
    pub fn plan(&self) -> Option<&str> {
        self.row.plan.as_deref()
    }

    /// What it is made of.
    pub fn prices(&self) -> &[Price] {
        &self.row.state.prices
    }

    /// When it is set to end, by a date or with its period; `None` if it goes on.
    pub fn cancel_at(&self) -> Option<Timestamp> {
        let state = &self.row.state;
        state.cancel_at.or(if state.cancel_at_period_end { state.period_end } else { None })
    }

    /// The end of the period that is paid for. A delayed event can leave it in the past: access follows the
    /// status, never this.
    pub fn period_end(&self) -> Option<Timestamp> {
        self.row.state.period_end
    }

    /// The event that all of this is as of.
    pub fn as_of(&self) -> &Watermark {
        &self.row.as_of
    }

    /// Whether events came in an order that leaves more than one answer: read the subscription from the billing
    /// system, or wait for its next event, which settles it.
    pub fn needs_refresh(&self) -> bool {
        self.row.needs_refresh
    }

    /// Everything but the tenant as one line of JSON, which [`from_json`](Self::from_json) reads back exactly.
    ///
    /// # Panics
    /// Never: strings, numbers and lists of them are always JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.row).expect("strings, numbers and lists of them are always JSON")
    }

    /// A subscription read back by a store of your own.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] if the text did not come from [`to_json`](Self::to_json).
    pub fn from_json(tenant: TenantId, text: &str) -> Result<Self> {
        let row = serde_json::from_str(text).map_err(|cause| {
            Error::new(
                ErrorKind::Database,
                "a stored subscription does not read; restore its row from a backup",
            )
            .with_source(cause)
        })?;
        Ok(Self { tenant, row })
    }
}
