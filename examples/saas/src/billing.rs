//! Billing: checkouts and the customer portal of Stripe. Without `STRIPE_SECRET_KEY` a fake Stripe on this machine takes
//! the payments, so the demo needs no account.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tenancy::billing::stripe::{
    ApiRequest, Checkout, Mode, StripeApi, StripeBilling, StripeClient, StripeWebhook, sign,
};
use tenancy::billing::{Notification, Subscription};
use tenancy::clock::{Clock, SystemClock};
use tenancy::tenant::Tenant;
use tenancy::testing::{FakeStripe, FakeStripeOptions, FinalFailure};
use tenancy::{Error, ErrorKind, Result};

use crate::Settings;

/// What the fake Stripe sells: a name, a lookup key of `catalog.toml`, cents, and how often.
const PRICES: [(&str, &str, u32, &str); 2] =
    [("Pro", "pro_monthly", 2_900, "month"), ("Enterprise", "enterprise_yearly", 490_000, "year")];

/// The mode of the secret key. The fake Stripe has the mode `Test`.
pub(crate) fn mode(settings: &Settings) -> Mode {
    match &settings.stripe_secret_key {
        Some(key) if key.contains("_live_") => Mode::Live,
        _ => Mode::Test,
    }
}

/// The billing of the application.
#[derive(Debug)]
pub struct Billing {
    stripe: StripeBilling,
    /// Where this server is reached.
    origin: String,
    /// Stops when it is dropped.
    fake: Option<FakeStripe>,
}

/// What the page requests for a tenant.
#[derive(Debug, Deserialize)]
pub struct BillingRequest {
    pub(crate) slug: String,
    action: Action,
    /// The lookup key of the price, for a checkout.
    price: Option<String>,
}

#[derive(Debug, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// Buy a plan: responds with the URL of the checkout.
    Checkout,
    /// Change, pay or cancel the subscription: responds with the URL of the portal.
    Portal,
    /// Back from Stripe: reads what was bought.
    Sync,
}

impl Billing {
    pub(crate) async fn start(webhook: StripeWebhook, settings: &Settings) -> Result<Self> {
        let origin = format!("http://127.0.0.1:{}", settings.port);
        let (client, fake) = if let Some(key) = &settings.stripe_secret_key {
            let client = match &settings.stripe_api_url {
                Some(url) => StripeClient::with_url(key, url)?,
                None => StripeClient::new(key)?,
            };
            (client, None)
        } else {
            let options = FakeStripeOptions::new().after_final_failure(FinalFailure::Unpaid);
            let fake = FakeStripe::start(options).await.map_err(|error| {
                Error::new(ErrorKind::StoreUnavailable, "the fake Stripe cannot listen on 127.0.0.1")
                    .with_source(error)
            })?;
            fake.webhook(&format!("{origin}/webhooks/stripe"), &settings.stripe_webhook_secret);
            (StripeClient::with_url("sk_test_fake", fake.url())?, Some(fake))
        };
        let stripe = StripeBilling::new(webhook, Arc::new(client.clone()), [&origin])?;
        if fake.is_some() {
            sell(&client).await?;
            end_lost_subscriptions(&stripe, &settings.stripe_webhook_secret).await?;
        }
        Ok(Self { stripe, origin, fake })
    }

    /// The webhook that receives Stripe's events.
    pub fn webhook(&self) -> &StripeWebhook {
        self.stripe.webhook()
    }

    /// What billing needs every second: notifications go to the log, and what is due or not certain is looked at. A real
    /// application sends an e-mail instead.
    pub async fn look_after(&self) {
        loop {
            let log = async |notification: Notification| {
                tracing::info!(tenant.id = %notification.tenant, kind = ?notification.kind, "a notification");
                Ok::<(), Error>(())
            };
            let results = [
                self.webhook().deliver_notifications(20, log).await.map(drop),
                self.webhook().apply_due(20).await.map(drop),
                self.stripe.refresh_unclear(20).await.map(drop),
            ];
            for error in results.into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "billing could not be looked after; it is tried again");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Where the fake Stripe listens, if there is one.
    pub fn fake_url(&self) -> Option<&str> {
        self.fake.as_ref().map(FakeStripe::url)
    }

    pub(crate) async fn handle(&self, tenant: &Tenant, request: &BillingRequest) -> Result<Value> {
        let back = |from: &str| format!("{}/?tenant={}&from={from}", self.origin, tenant.slug());
        match request.action {
            Action::Checkout => {
                let price = request.price.as_deref().ok_or_else(|| {
                    Error::new(ErrorKind::InvalidInput, "a checkout needs a price: its lookup key")
                })?;
                let checkout = Checkout::new(price, back("checkout"), back("cancelled"));
                Ok(json!({ "url": self.stripe.checkout(tenant.id(), &checkout).await?.url }))
            }
            Action::Portal => Ok(json!({ "url": self.stripe.portal(tenant.id(), &back("portal")).await? })),
            Action::Sync => {
                let tenant = self.stripe.sync_now(tenant.id()).await?;
                Ok(json!({ "plan": tenant.plan(), "status": tenant.status() }))
            }
        }
    }
}

/// Creates the products and prices of a fake Stripe. In a real account you create them once, with these lookup keys.
///
/// # Errors
/// If the fake does not respond.
pub async fn sell(client: &StripeClient) -> Result<()> {
    for (name, key, cents, interval) in PRICES {
        let product = ApiRequest::post("/v1/products", json!({ "name": name }), format!("product-{key}"));
        let product = client.send(&product).await?;
        let price = json!({
            "product": product["id"], "currency": "eur", "unit_amount": cents, "lookup_key": key,
            "recurring": { "interval": interval },
        });
        let _ = client.send(&ApiRequest::post("/v1/prices", price, format!("price-{key}"))).await?;
    }
    Ok(())
}

/// A fake Stripe starts empty, so what an earlier run sold has ended. The real one forgets nothing.
async fn end_lost_subscriptions(stripe: &StripeBilling, webhook_secret: &str) -> Result<()> {
    for lost in stripe.reconcile().await?.missing {
        let now = SystemClock.now();
        let event = json!({
            "object": "event", "id": format!("evt_lost_{}", lost.id()), "created": now.seconds(),
            "type": "customer.subscription.deleted", "livemode": false,
            "data": { "object": {
                "id": lost.id(), "customer": lost.customer(), "status": "canceled", "items": { "data": [] },
            } },
        })
        .to_string();
        let signature = sign(webhook_secret, event.as_bytes(), now);
        let outcome = stripe.webhook().receive(event.as_bytes(), &[signature.as_bytes()]).await?;
        tracing::info!(
            subscription = lost.id(),
            outcome = outcome.as_str(),
            "a subscription of an earlier run ended"
        );
    }
    Ok(())
}

/// The subscription to show: one that has not ended.
pub(crate) fn live(subscriptions: &[Subscription]) -> Option<&Subscription> {
    subscriptions.iter().find(|subscription| !subscription.status().is_final())
}
