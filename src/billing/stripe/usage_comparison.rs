//! [`UsageSender::reconcile`]: compares recorded usage with what Stripe counted.

use serde_json::json;

use super::billing::id_of;
use super::pages::Pages;
use super::usage_sender::UsageSender;
use crate::billing::UsageMeter;
use crate::billing::usage_rows::{self, Sums};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::scope::Backend;
use crate::tenant::TenantId;

/// The usage of a tenant and a meter in a period, as this program and Stripe know it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageComparison {
    /// What was recorded, without what is withheld.
    pub recorded: u64,
    /// What of it was sent.
    pub sent: u64,
    /// What was recorded and is withheld.
    pub withheld: u64,
    /// What was recorded and given up.
    pub dead: u64,
    /// What Stripe counted for the tenant's customers.
    pub counted_by_stripe: u64,
}

impl UsageComparison {
    /// Whether Stripe counted what was sent.
    pub fn is_equal(&self) -> bool {
        self.sent == self.counted_by_stripe
    }
}

impl<DB: Backend> UsageSender<DB> {
    /// Compares the usage from `from` to before `to` with the sums that Stripe has. Both times are rounded down to a
    /// minute. Stripe's sums follow some minutes after the usage was sent.
    ///
    /// ```
    /// use tenancy::billing::UsageMeter;
    /// use tenancy::billing::stripe::UsageSender;
    /// use tenancy::clock::Timestamp;
    /// use tenancy::tenant::TenantId;
    ///
    /// # async fn run(sender: UsageSender<sqlx::Sqlite>, tenant: &TenantId, from: Timestamp, to: Timestamp) -> tenancy::Result<()> {
    /// let usage = sender.reconcile(tenant, UsageMeter::new("api_calls"), from, to).await?;
    /// if !usage.is_equal() {
    ///     println!("{} sent, {} counted by Stripe", usage.sent, usage.counted_by_stripe);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the period has no minute; [`ErrorKind::TenantUnknown`]; [`ErrorKind::NotFound`] if
    /// Stripe has no such meter; [`ErrorKind::Misconfigured`] if the meter does not add values up; the errors of Stripe,
    /// and of the stores.
    pub async fn reconcile(
        &self,
        tenant: &TenantId,
        meter: UsageMeter,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<UsageComparison> {
        let [from, to] = [from, to].map(|time| time.seconds() - time.seconds().rem_euclid(60));
        if from >= to {
            return Err(Error::new(ErrorKind::InvalidInput, "the period has no whole minute"));
        }
        let ctx = self.context_of(tenant).await?;
        let mut tx = self.db.begin(&ctx).await?;
        let Sums { recorded, withheld, sent, dead, mut customers } =
            usage_rows::sums(&mut tx, meter.event_name(), (from, to)).await?;
        tx.rollback().await?;
        customers.extend(self.customer(tenant).await?.filter(|present| !customers.contains(present)));
        let mut counted_by_stripe = 0;
        if !customers.is_empty() {
            let meter = self.meter(meter.event_name()).await?;
            for customer in &customers {
                counted_by_stripe += self.counted(&meter, customer, (from, to)).await?;
            }
        }
        let sent = sent.iter().map(|(_, sum)| sum).sum();
        Ok(UsageComparison { recorded, sent, withheld, dead, counted_by_stripe })
    }

    /// What the meter with this id counted for a customer from one minute to before another.
    pub(super) async fn counted(&self, meter: &str, customer: &str, (from, to): (i64, i64)) -> Result<u64> {
        let path = format!("/v1/billing/meters/{meter}/event_summaries");
        let parameters = json!({ "customer": customer, "start_time": from, "end_time": to });
        let summaries = match Pages::new(&*self.billing.api, &path, parameters, None).all().await {
            // The customer was deleted.
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let mut counted = 0;
        for summary in summaries {
            let value = &summary["aggregated_value"];
            // Stripe writes a float, which is whole if every value was.
            let whole = value
                .as_u64()
                .or_else(|| value.as_f64().and_then(|value| format!("{value:.0}").parse().ok()));
            counted += whole.ok_or_else(|| {
                Error::new(ErrorKind::BillingUnavailable, "a sum in Stripe's response is not a number")
            })?;
        }
        Ok(counted)
    }

    /// The id of the meter with this event name. An active one comes first.
    pub(super) async fn meter(&self, event_name: &str) -> Result<String> {
        let mut meters = Pages::new(&*self.billing.api, "/v1/billing/meters", json!({}), None).all().await?;
        meters.retain(|meter| meter["event_name"] == event_name);
        meters.sort_by_key(|meter| meter["status"] != "active");
        let Some(meter) = meters.first() else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("Stripe has no meter with the event name `{event_name}`; create it"),
            ));
        };
        if meter["default_aggregation"]["formula"] != "sum" {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the meter of `{event_name}` does not add values up; create it with the aggregation `sum`"
                ),
            ));
        }
        id_of(meter)
    }
}
