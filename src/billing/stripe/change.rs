//! Changes of a tenant's subscription: seats, cancellation, and its withdrawal.

use serde_json::{Value, json};

use super::api::ApiRequest;
use super::billing::{StripeBilling, new_key};
use super::subscription::price;
use crate::billing::purchase::seat_price;
use crate::billing::{Price, Subscription, SubscriptionStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Catalog;
use crate::tenant::{Tenant, TenantId};

/// Who pays for a change within a paid period.
/// See <https://docs.stripe.com/billing/subscriptions/prorations>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Proration {
    /// The next invoice contains the difference.
    NextInvoice,
    /// An invoice about the difference is created now.
    InvoiceNow,
    /// Nobody: the new amount counts from the next period on.
    None,
}

impl Proration {
    fn as_str(self) -> &'static str {
        match self {
            Self::NextInvoice => "create_prorations",
            Self::InvoiceNow => "always_invoice",
            Self::None => "none",
        }
    }
}

/// When a cancelled subscription ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cancellation {
    /// At the end of the paid period. Until then [`StripeBilling::resume`] withdraws it.
    AtPeriodEnd,
    /// Now, without a refund.
    Now,
}

impl StripeBilling {
    /// Changes the number of seats of a tenant's subscription, and returns the tenant that follows.
    ///
    /// That is the quantity of the price in the plan's `seat_prices`, else of the price of the plan.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the tenant has no live subscription, [`ErrorKind::Conflict`] if it has several, or
    /// if not exactly one of its prices sells seats; [`ErrorKind::BillingUnavailable`] and [`ErrorKind::BillingRejected`] of Stripe;
    /// and the errors of the store.
    pub async fn change_seats(&self, tenant: &TenantId, seats: u64, proration: Proration) -> Result<Tenant> {
        let stored = self.live_subscription(tenant).await?;
        let subscription = self.api.send(&ApiRequest::get(path(&stored), json!({}))).await?;
        let item = seat_item(&subscription, &self.webhook.catalog)?;
        let change = json!({
            "items": [{ "id": item, "quantity": seats }],
            "proration_behavior": proration.as_str(),
        });
        self.change(&stored, &post(&stored, "", change)).await
    }

    /// Cancels a tenant's subscription, and returns the tenant that follows.
    ///
    /// # Errors
    /// As [`change_seats`](Self::change_seats).
    pub async fn cancel(&self, tenant: &TenantId, cancellation: Cancellation) -> Result<Tenant> {
        let stored = self.live_subscription(tenant).await?;
        let request = match cancellation {
            Cancellation::AtPeriodEnd => post(&stored, "", json!({ "cancel_at_period_end": true })),
            Cancellation::Now => ApiRequest::delete(path(&stored), json!({})),
        };
        match self.change(&stored, &request).await {
            // It has ended already, such as by a request whose response was lost.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let _ = self.webhook.read_stored(&*self.api, &stored).await?.ok_or(error)?;
                self.tenant(tenant).await
            }
            result => result,
        }
    }

    /// Withdraws a cancellation that has not taken effect, or continues a paused subscription, and returns the tenant that
    /// follows.
    ///
    /// # Errors
    /// As [`change_seats`](Self::change_seats).
    pub async fn resume(&self, tenant: &TenantId) -> Result<Tenant> {
        let stored = self.live_subscription(tenant).await?;
        let (action, change) = if *stored.status() == SubscriptionStatus::Paused {
            ("/resume", json!({ "billing_cycle_anchor": "unchanged" }))
        } else if stored.cancel_at_date().is_some() {
            // An empty text removes the date.
            ("", json!({ "cancel_at": "" }))
        } else {
            ("", json!({ "cancel_at_period_end": false }))
        };
        self.change(&stored, &post(&stored, action, change)).await
    }
}

/// The id of the item whose quantity is the number of seats.
fn seat_item(subscription: &Value, catalog: &Catalog) -> Result<String> {
    let items = subscription["items"]["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let prices: Vec<Price> = items.iter().filter_map(|item| price(item).ok()?).collect();
    let item = seat_price(&prices, catalog).filter(|_| prices.len() == items.len()).map(|at| &items[at]);
    item.filter(|item| item["quantity"].is_u64()).and_then(|item| item["id"].as_str()).map(str::to_owned).ok_or_else(
        || {
            Error::new(
                ErrorKind::Conflict,
                "not exactly one price of the subscription sells seats: give the plan `seat_prices` in the catalog, or \
                 change the quantities in the portal",
            )
        },
    )
}

fn path(stored: &Subscription) -> String {
    format!("/v1/subscriptions/{}", stored.id())
}

fn post(stored: &Subscription, action: &str, change: Value) -> ApiRequest {
    ApiRequest::post(format!("{}{action}", path(stored)), change, new_key())
}
