//! [`StripeBilling`]: what a program sends to Stripe for its tenants.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::api::{ApiRequest, StripeApi};
use super::return_urls::ReturnUrls;
use super::stored_id::is_own;
use super::webhook::StripeWebhook;
use crate::billing::{BillingTx, Subscription};
use crate::context::unknown_tenant;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Tenant, TenantId, TenantStatus};

/// Sells plans to tenants over Stripe: checkouts, the customer portal, changes of subscriptions, and reads of the present
/// state.
///
/// ```
/// use std::sync::Arc;
/// use tenancy::TenantContext;
/// use tenancy::billing::stripe::{Checkout, StripeApi, StripeBilling, StripeWebhook};
///
/// fn billing(webhook: StripeWebhook, api: Arc<dyn StripeApi>) -> tenancy::Result<StripeBilling> {
///     StripeBilling::new(webhook, api, ["https://app.example.com"])
/// }
///
/// async fn upgrade(billing: &StripeBilling, ctx: &TenantContext) -> tenancy::Result<String> {
///     let checkout = Checkout::new(
///         "pro_monthly",
///         "https://app.example.com/billing/done?session={CHECKOUT_SESSION_ID}",
///         "https://app.example.com/billing",
///     );
///     Ok(billing.checkout(ctx.tenant().id(), &checkout).await?.url) // redirect the browser to it
/// }
///
/// async fn done(billing: &StripeBilling, ctx: &TenantContext) -> tenancy::Result<String> {
///     let tenant = billing.sync_now(ctx.tenant().id()).await?; // does not wait for the webhook
///     Ok(tenant.plan().to_owned())
/// }
/// ```
///
/// # Security
/// Every method takes the id of a tenant. Use the tenant of the request's context, or of a session whose user may manage
/// the billing of that tenant; never an id from the request itself. The customer comes from the stored links, never from
/// the caller.
#[derive(Clone)]
pub struct StripeBilling {
    pub(super) webhook: StripeWebhook,
    pub(super) api: Arc<dyn StripeApi>,
    pub(super) return_urls: ReturnUrls,
}

impl StripeBilling {
    /// Sends requests with `api`, for the tenants of `webhook`.
    ///
    /// Stripe sends a customer back only to URLs of these origins, such as `https://app.example.com`. A host may begin
    /// with `*.`, for a subdomain of each tenant.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if there is no origin, or one is not `https://` or `http://` and a host.
    pub fn new<O: AsRef<str>>(
        webhook: StripeWebhook,
        api: Arc<dyn StripeApi>,
        return_origins: impl IntoIterator<Item = O>,
    ) -> Result<Self> {
        let return_urls = ReturnUrls::new(return_origins)?;
        Ok(Self { webhook: webhook.with_api(api.clone()), api, return_urls })
    }

    /// The webhook, which can now read from Stripe: it accepts thin events, and reads a subscription if the order of its
    /// events is not known, or if a checkout has sold it. Serve this one.
    pub fn webhook(&self) -> &StripeWebhook {
        &self.webhook
    }

    /// Reads a tenant that may pay. A tenant that is being deleted may not.
    pub(super) async fn payer(&self, tx: &mut dyn BillingTx, tenant: &TenantId) -> Result<Tenant> {
        let tenant = tx.lock_tenant(tenant).await?.ok_or_else(unknown_tenant)?;
        if tenant.status() == TenantStatus::Deleting {
            return Err(Error::new(
                ErrorKind::IllegalTransition,
                "the tenant is being deleted, so it buys nothing",
            ));
        }
        Ok(tenant)
    }

    /// The customer of a tenant: the one with a live subscription, else the one that was linked last.
    pub(super) async fn stored_customer(
        &self,
        tx: &mut dyn BillingTx,
        tenant: &TenantId,
    ) -> Result<Option<String>> {
        let mut own = tx.customers(tenant).await?;
        own.retain(|customer| is_own(customer));
        if own.len() > 1 {
            let subscriptions = tx.subscriptions(tenant).await?;
            let pays = |customer: &String| {
                subscriptions.iter().any(|sub| sub.status().is_live() && sub.customer() == customer)
            };
            if let Some(at) = own.iter().position(pays) {
                return Ok(Some(own.swap_remove(at)));
            }
        }
        Ok(own.into_iter().next())
    }

    /// Creates a customer for a tenant and links it. `instead_of` is a customer that was deleted.
    pub(super) async fn create_customer(&self, tenant: &Tenant, instead_of: Option<&str>) -> Result<String> {
        let names = &self.webhook.events.names;
        // The request contains the tenant's name. Stripe rejects a key that comes again with another one.
        let key = format!("{}-{}", names.idempotency_key("customer", tenant.id()), tenant.version());
        let request = ApiRequest::post(
            "/v1/customers",
            json!({ "name": tenant.name(), "metadata": names.metadata(tenant.id()) }),
            instead_of.map_or_else(|| key.clone(), |old| format!("{key}-{old}")),
        );
        let customer = id_of(&self.api.send(&request).await?)?;
        self.webhook.link(&customer, tenant.id()).await?;
        Ok(customer)
    }

    /// The one live subscription of a tenant in your own account.
    pub(super) async fn live_subscription(&self, tenant: &TenantId) -> Result<Subscription> {
        let mut live: Vec<Subscription> = self
            .webhook
            .stored_by_id(tenant)
            .await?
            .into_values()
            .filter(|sub| sub.status().is_live() && is_own(sub.id()))
            .collect();
        match (live.pop(), live.is_empty()) {
            (Some(subscription), true) => Ok(subscription),
            (None, _) => {
                Err(Error::new(ErrorKind::NotFound, "the tenant has no live subscription; create a checkout"))
            }
            (Some(_), false) => Err(Error::new(
                ErrorKind::Conflict,
                "the tenant has several live subscriptions; cancel all but one in Stripe's dashboard",
            )),
        }
    }

    /// Sends a request that changes a subscription, and applies its new state from the response.
    pub(super) async fn change(&self, stored: &Subscription, request: &ApiRequest) -> Result<Tenant> {
        let object = self.api.send(request).await?;
        let _ = self.webhook.apply_listed(&*self.api, object, Some(stored)).await?;
        self.tenant(stored.tenant()).await
    }

    /// The tenant as it is stored.
    pub(super) async fn tenant(&self, tenant: &TenantId) -> Result<Tenant> {
        self.webhook.store.begin().await?.lock_tenant(tenant).await?.ok_or_else(unknown_tenant)
    }

    /// Reads every subscription of a tenant's customers from Stripe, and returns the tenant that follows.
    ///
    /// Call it on the page to which Stripe sends the customer back after a checkout or from the portal, so that the page
    /// does not wait for the webhook; and for a tenant whose state is in doubt.
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`]; [`ErrorKind::BillingUnavailable`] and [`ErrorKind::BillingRejected`] of Stripe;
    /// and the errors of the store.
    pub async fn sync_now(&self, tenant: &TenantId) -> Result<Tenant> {
        self.tenant(tenant).await?;
        let mut unread = self.webhook.stored_by_id(tenant).await?;
        let customers = self.webhook.store.begin().await?.customers(tenant).await?;
        for customer in customers.iter().filter(|customer| is_own(customer)) {
            for id in self.read_known_customer(customer, &unread).await? {
                unread.remove(&id);
            }
        }
        for stored in unread.into_values().filter(|stored| !stored.status().is_final()) {
            self.webhook.read_stored(&*self.api, &stored).await?;
        }
        self.tenant(tenant).await
    }

    /// As `StripeWebhook::read_customer`; a customer that Stripe does not have has no subscriptions.
    async fn read_known_customer(
        &self,
        customer: &str,
        stored: &HashMap<String, Subscription>,
    ) -> Result<Vec<String>> {
        match self.webhook.read_customer(&*self.api, customer, stored).await {
            Ok(read) => Ok(read.into_keys().collect()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Reads up to `limit` subscriptions whose state is [not certain](Subscription::needs_refresh), those that wait
    /// longest first, and returns how many are certain now. Run it every few minutes.
    ///
    /// # Errors
    /// As [`sync_now`](Self::sync_now). A subscription that cannot be used does not keep the others from being read.
    pub async fn refresh_unclear(&self, limit: u16) -> Result<u64> {
        let mut certain = 0;
        let mut failed = None;
        for stored in self.webhook.unclear_subscriptions(limit).await? {
            if let Err(error) = self.webhook.read_stored(&*self.api, &stored).await {
                failed = Some(passed_over(stored.id(), error)?);
            }
            let now = self.webhook.stored_by_id(stored.tenant()).await?;
            certain += u64::from(now.get(stored.id()).is_some_and(|now| !now.needs_refresh()));
        }
        failed.map_or(Ok(certain), Err)
    }
}

/// The error of one object, which must not keep the others from being read. One that ends soon, or that all objects
/// have, ends the run.
pub(super) fn passed_over(id: &str, error: Error) -> Result<Error> {
    if error.is_transient() || error.kind() == ErrorKind::Misconfigured {
        return Err(error);
    }
    tracing::error!(id, %error, "an object of Stripe was passed over");
    Ok(error)
}

/// The id of an object.
pub(super) fn id_of(object: &Value) -> Result<String> {
    object["id"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::new(ErrorKind::BillingUnavailable, "Stripe's response has no id"))
}

/// An idempotency key for one request and its repetitions.
pub(super) fn new_key() -> String {
    format!("tenancy-{}", Uuid::now_v7())
}

impl fmt::Debug for StripeBilling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeBilling").field("api", &self.api).finish_non_exhaustive()
    }
}
