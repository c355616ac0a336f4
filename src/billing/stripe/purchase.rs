//! [`Checkout`]: a tenant buys a plan; and the customer portal, where it changes or cancels the subscription.

use serde_json::{Value, json};

use super::api::ApiRequest;
use super::billing::{StripeBilling, id_of, new_key};
use super::stored_id::is_own;
use super::subscription::price;
use crate::billing::purchase::sells_plan;
use crate::billing::{Subscription, SubscriptionStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Tenant, TenantId};

/// What a tenant buys in a checkout, and where Stripe sends the customer afterwards.
#[derive(Debug, Clone)]
#[must_use]
pub struct Checkout {
    prices: Vec<(String, u64)>,
    trial_days: Option<u32>,
    success_url: String,
    cancel_url: String,
}

impl Checkout {
    /// A subscription to one unit of a price, which is its id or its lookup key.
    ///
    /// Stripe replaces `{CHECKOUT_SESSION_ID}` in `success_url`.
    pub fn new(
        price: impl Into<String>,
        success_url: impl Into<String>,
        cancel_url: impl Into<String>,
    ) -> Self {
        Self {
            prices: vec![(price.into(), 1)],
            trial_days: None,
            success_url: success_url.into(),
            cancel_url: cancel_url.into(),
        }
    }

    /// Sets how many units of the price are bought, such as the number of seats.
    pub fn quantity(mut self, quantity: u64) -> Self {
        if let Some((_, first)) = self.prices.first_mut() {
            *first = quantity;
        }
        self
    }

    /// Adds another price, such as that of an add-on or of seats.
    pub fn with_price(mut self, price: impl Into<String>, quantity: u64) -> Self {
        self.prices.push((price.into(), quantity));
        self
    }

    /// Starts with a trial of so many days.
    pub fn trial_days(self, days: u32) -> Self {
        Self { trial_days: Some(days), ..self }
    }
}

/// A checkout that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckoutSession {
    /// The id of the session.
    pub id: String,
    /// Where the customer pays: redirect the browser to it.
    pub url: String,
}

impl StripeBilling {
    /// Creates a checkout in which a tenant buys a subscription.
    ///
    /// The customer is created and stored first, so that every later event finds its tenant. Of the checkouts of a tenant
    /// only the newest can be paid: the others are expired.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the tenant has a live subscription, or has just paid another checkout: use the
    /// [`portal`](Self::portal); [`ErrorKind::UnknownPlan`] if the catalog has no plan with one of the prices;
    /// [`ErrorKind::InvalidInput`] if a URL is of no allowed origin; [`ErrorKind::TenantUnknown`];
    /// [`ErrorKind::IllegalTransition`] if the tenant is being deleted; [`ErrorKind::BillingUnavailable`] and
    /// [`ErrorKind::BillingRejected`] of Stripe; and the errors of the store.
    pub async fn checkout(&self, tenant: &TenantId, checkout: &Checkout) -> Result<CheckoutSession> {
        self.return_urls.check(&checkout.success_url)?;
        self.return_urls.check(&checkout.cancel_url)?;
        let lines = self.lines(checkout).await?;
        let (payer, customer, open) = {
            let mut tx = self.webhook.store.begin().await?;
            let payer = self.payer(&mut *tx, tenant).await?;
            reject_second(&tx.subscriptions(tenant).await?)?;
            (payer, self.stored_customer(&mut *tx, tenant).await?, tx.open_checkouts(tenant).await?)
        };
        self.expire(tenant, &open).await?;
        let session = match customer {
            None => {
                let customer = self.create_customer(&payer, None).await?;
                self.create_session(&payer, &customer, &lines, checkout).await?
            }
            Some(customer) => match self.create_session(&payer, &customer, &lines, checkout).await {
                // The customer was deleted.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let customer = self.create_customer(&payer, Some(&customer)).await?;
                    self.create_session(&payer, &customer, &lines, checkout).await?
                }
                session => session?,
            },
        };
        let id = id_of(&session)?;
        let url = session["url"].as_str().map(str::to_owned).ok_or_else(|| {
            Error::new(ErrorKind::BillingUnavailable, "Stripe's response has no URL of the checkout")
        })?;
        let (open, bought) = {
            let mut tx = self.webhook.store.begin().await?;
            self.payer(&mut *tx, tenant).await?;
            let open = tx.open_checkouts(tenant).await?;
            let bought = reject_second(&tx.subscriptions(tenant).await?);
            tx.save_checkout(&id, tenant, self.webhook.clock.now()).await?;
            tx.commit().await?;
            (open, bought)
        };
        if let Err(error) = bought {
            // Another checkout was created and paid meanwhile.
            self.expire(tenant, &[id]).await?;
            return Err(error);
        }
        // Another checkout was created meanwhile.
        self.expire(tenant, &open).await?;
        Ok(CheckoutSession { id, url })
    }

    /// Creates a session of the customer portal, and returns the URL to redirect the browser to.
    ///
    /// The customer is the stored one of the tenant. A suspended tenant can use the portal too, to pay.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the tenant has no customer yet: create a checkout; otherwise as
    /// [`checkout`](Self::checkout).
    pub async fn portal(&self, tenant: &TenantId, return_url: &str) -> Result<String> {
        self.return_urls.check(return_url)?;
        let customer = {
            let mut tx = self.webhook.store.begin().await?;
            self.payer(&mut *tx, tenant).await?;
            self.stored_customer(&mut *tx, tenant).await?
        };
        let customer = customer.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the tenant has no customer in Stripe; create a checkout first")
        })?;
        let request = ApiRequest::post(
            "/v1/billing_portal/sessions",
            json!({ "customer": customer, "return_url": return_url }),
            new_key(),
        );
        let session = self.api.send(&request).await?;
        session["url"].as_str().map(str::to_owned).ok_or_else(|| {
            Error::new(ErrorKind::BillingUnavailable, "Stripe's response has no URL of the portal")
        })
    }

    /// The lines of a checkout, with the ids of prices.
    async fn lines(&self, checkout: &Checkout) -> Result<Vec<Value>> {
        let mut lines = Vec::with_capacity(checkout.prices.len());
        let mut sells_any = false;
        for (name, quantity) in &checkout.prices {
            let object = self.price(name).await?;
            self.webhook.events.check_mode(&object)?;
            if let Ok(Some(price)) = price(&json!({ "price": object })) {
                sells_any |= sells_plan(&price, &self.webhook.catalog);
            }
            lines.push(json!({ "price": object["id"], "quantity": quantity }));
        }
        if sells_any {
            return Ok(lines);
        }
        Err(Error::new(
            ErrorKind::UnknownPlan,
            "the catalog has no plan with a price of this checkout; add the price to `prices` of a plan",
        ))
    }

    /// Reads a price by its id or its lookup key.
    async fn price(&self, name: &str) -> Result<Value> {
        if name.starts_with("price_") && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            match self.api.send(&ApiRequest::get(format!("/v1/prices/{name}"), json!({}))).await {
                // A lookup key may look like an id.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                price => return price,
            }
        }
        let parameters = json!({ "lookup_keys": [name], "active": true, "limit": 1 });
        let mut list = self.api.send(&ApiRequest::get("/v1/prices", parameters)).await?;
        match list["data"].get_mut(0).map(Value::take) {
            Some(price) => Ok(price),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("Stripe has no active price with the id or the lookup key `{name}`"),
            )),
        }
    }

    async fn create_session(
        &self,
        tenant: &Tenant,
        customer: &str,
        lines: &[Value],
        checkout: &Checkout,
    ) -> Result<Value> {
        let names = &self.webhook.events.names;
        let metadata = names.metadata(tenant.id());
        // Stripe copies the metadata of a session to nothing.
        let mut subscription = json!({ "metadata": metadata });
        if let Some(days) = checkout.trial_days {
            subscription["trial_period_days"] = days.into();
        }
        let parameters = json!({
            "mode": "subscription",
            "customer": customer,
            "client_reference_id": names.client_reference(tenant.id()),
            "metadata": metadata,
            "subscription_data": subscription,
            "line_items": lines,
            "success_url": checkout.success_url,
            "cancel_url": checkout.cancel_url,
        });
        self.api.send(&ApiRequest::post("/v1/checkout/sessions", parameters, new_key())).await
    }

    /// Expires checkouts, so that a tenant pays once. Fails if one was paid, and its subscription has not ended.
    async fn expire(&self, tenant: &TenantId, checkouts: &[String]) -> Result<()> {
        for checkout in checkouts {
            let path = format!("/v1/checkout/sessions/{checkout}");
            let expired =
                self.api.send(&ApiRequest::post(format!("{path}/expire"), json!({}), new_key())).await;
            let is_paid = match expired {
                Ok(_) => false,
                // Only an open checkout can be expired.
                Err(error) if error.kind() == ErrorKind::BillingRejected => {
                    self.api.send(&ApiRequest::get(path, json!({}))).await?["status"] == json!("complete")
                }
                Err(error) if error.kind() == ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            };
            if is_paid {
                // Until this succeeds the checkout stays open, and keeps the tenant from another one.
                self.sync_now(tenant).await?;
            }
            let mut tx = self.webhook.store.begin().await?;
            tx.close_checkout(checkout, self.webhook.clock.now()).await?;
            tx.commit().await?;
            if is_paid {
                // What it sold may have ended since.
                reject_second(&self.webhook.store.begin().await?.subscriptions(tenant).await?)?;
            }
        }
        Ok(())
    }
}

/// A tenant with a subscription that is live, or whose first payment is pending, changes it in the portal.
fn reject_second(subscriptions: &[Subscription]) -> Result<()> {
    let blocks = |status: &SubscriptionStatus| status.is_live() || *status == SubscriptionStatus::Incomplete;
    let own = |subscription: &&Subscription| is_own(subscription.id());
    match subscriptions.iter().filter(own).find(|subscription| blocks(subscription.status())) {
        Some(_) => Err(Error::new(
            ErrorKind::Conflict,
            "the tenant has a subscription; open the portal to change it",
        )),
        None => Ok(()),
    }
}
