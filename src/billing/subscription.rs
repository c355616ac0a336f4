//! [`Subscription`]: a subscription as it is stored.

use super::history::SubscriptionRow;
use super::state::{Price, SubscriptionStatus, Watermark};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// A subscription as it is stored.
///
/// An SQL store needs columns for the [`id`](Self::id), the [`tenant`](Self::tenant) and the
/// [`customer`](Self::customer), and one for the text of [`to_json`](Self::to_json), which contains the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    tenant: TenantId,
    pub(super) row: SubscriptionRow,
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

    /// The number of seats: the sum of the quantities of the plan's seat prices, else the quantity of the plan's own
    /// price. `None` if the price is metered. If its prices are no longer in the catalog, the last known number.
    pub fn seats(&self) -> Option<u64> {
        self.row.extras.seats
    }

    /// The keys of its add-ons, sorted; if its prices are no longer in the catalog, of the last known add-ons.
    pub fn addons(&self) -> &[String] {
        &self.row.extras.addons
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

    /// The date of a scheduled end, unless it is the end of the period.
    pub(super) fn cancel_at_date(&self) -> Option<Timestamp> {
        self.row.state.cancel_at.filter(|_| !self.row.state.cancel_at_period_end)
    }

    /// The end of the paid period. A delayed event can leave it in the past, so decide access by the
    /// [`status`](Self::status), never by this.
    pub fn period_end(&self) -> Option<Timestamp> {
        self.row.state.period_end
    }

    /// When the grace of a past-due subscription ends, if the [policy](super::BillingPolicy::past_due_grace) has one and
    /// the end was ahead when the subscription was stored.
    pub fn grace_ends(&self) -> Option<Timestamp> {
        self.row.grace_ends
    }

    /// The event that the stored state comes from.
    pub fn as_of(&self) -> &Watermark {
        &self.row.as_of
    }

    /// Whether the state is not certain: the order of several events of one second is not known, or the newest event has
    /// a status that this version does not know, or not all prices. Read the subscription from the billing system, or
    /// wait for its next event.
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
