//! Reads subscriptions from Stripe and applies their present state.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::api::{ApiRequest, StripeApi};
use super::envelope::Unusable;
use super::pages::Pages;
use super::stored_id::{split, stored_id};
use super::webhook::StripeWebhook;
use crate::billing::process::{link, process_read};
use crate::billing::repeat::{MAX_ATTEMPTS, repeat};
use crate::billing::{BillingEvent, BillingTx, EventOutcome, Fact, Subscription};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// Why a subscription that was read is not applied.
const UNKNOWN: &str = "no tenant is known for the customer of the subscription";

impl StripeWebhook {
    /// Reads a subscription and applies its state. `None` if Stripe does not have it.
    pub(super) async fn read_subscription(
        &self,
        api: &dyn StripeApi,
        id: &str,
        account: Option<&str>,
    ) -> Result<Option<EventOutcome>> {
        self.read_subscription_for(api, id, account, None).await
    }

    /// As [`read_subscription`](Self::read_subscription), because of an event, which is recorded as processed.
    pub(super) async fn read_subscription_for(
        &self,
        api: &dyn StripeApi,
        id: &str,
        account: Option<&str>,
        event: Option<&str>,
    ) -> Result<Option<EventOutcome>> {
        for _ in 0..MAX_ATTEMPTS {
            let stored = self.stored_subscription(id, account).await?;
            let request = ApiRequest::get(format!("/v1/subscriptions/{id}"), json!({}))
                .in_account(account.map(str::to_owned));
            let object = match api.send(&request).await {
                Ok(object) => object,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            if let Some(outcome) =
                self.apply_subscription(api, object, stored.as_ref(), account, event).await?
            {
                return Ok(Some(outcome));
            }
        }
        Ok(Some(EventOutcome::NeedsRefresh))
    }

    /// Reads every subscription of a customer and applies their states. `stored` are the subscriptions that were stored
    /// before, by id.
    pub(super) async fn read_customer(
        &self,
        api: &dyn StripeApi,
        customer: &str,
        stored: &HashMap<String, Subscription>,
    ) -> Result<HashMap<String, EventOutcome>> {
        let parameters = json!({ "customer": customer, "status": "all" });
        let mut read = HashMap::new();
        for object in Pages::new(api, "/v1/subscriptions", parameters, None).all().await? {
            let Some(id) = object["id"].as_str().map(str::to_owned) else { continue };
            let outcome = self.apply_listed(api, object, stored.get(&id)).await?;
            read.insert(id, outcome);
        }
        Ok(read)
    }

    /// Applies a subscription from a list. If another one was stored meanwhile, it is read again.
    pub(super) async fn apply_listed(
        &self,
        api: &dyn StripeApi,
        object: Value,
        stored: Option<&Subscription>,
    ) -> Result<EventOutcome> {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        match self.apply_subscription(api, object, stored, None, None).await? {
            Some(outcome) => Ok(outcome),
            None => Ok(self.read_subscription(api, &id, None).await?.unwrap_or(EventOutcome::Unchanged)),
        }
    }

    /// The subscription that is stored under this id of Stripe.
    pub(super) async fn stored_subscription(
        &self,
        id: &str,
        account: Option<&str>,
    ) -> Result<Option<Subscription>> {
        let id = stored_id(id, account);
        stored_in(&mut *self.store.begin().await?, &id).await
    }

    /// Applies a subscription that was read after `stored` was stored. `None` if something else is stored now.
    async fn apply_subscription(
        &self,
        api: &dyn StripeApi,
        mut object: Value,
        stored: Option<&Subscription>,
        account: Option<&str>,
        event: Option<&str>,
    ) -> Result<Option<EventOutcome>> {
        complete_items(api, &mut object, account).await?;
        let read = self.read_event(&object, stored, account, event)?;
        let id = stored_id(object["id"].as_str().unwrap_or_default(), account);
        let outcome = repeat(|| self.try_apply_read(&read, &id, stored, event)).await?;
        if let Some(outcome) = &outcome {
            self.committed(outcome).await;
        }
        Ok(outcome)
    }

    async fn try_apply_read(
        &self,
        read: &BillingEvent,
        id: &str,
        stored: Option<&Subscription>,
        event: Option<&str>,
    ) -> Result<Option<EventOutcome>> {
        let mut tx = self.store.begin().await?;
        if let Some(event) = event
            && !tx.record_once(event, read.account.as_deref(), self.clock.now()).await?
        {
            return Ok(Some(EventOutcome::Duplicate));
        }
        // The locks of `process`, in its order: from here on nothing else changes the subscription.
        let in_account = read.in_account();
        let subjects = in_account.subjects();
        for key in [subjects.customer, subjects.subscription].into_iter().flatten() {
            tx.advisory_lock(key).await?;
        }
        if let Some(tenant) = tx.tenant_of_subscription(id).await? {
            tx.lock_tenant(&tenant).await?;
        }
        if stored_in(&mut *tx, id).await?.as_ref() != stored {
            return Ok(None);
        }
        let outcome = process_read(&mut *tx, self.context(), read).await?;
        if !matches!(outcome, EventOutcome::Ignored { .. }) {
            tx.commit().await?;
        }
        Ok(Some(outcome))
    }

    /// The event that states a subscription that was read, because of a thin event or without one.
    fn read_event(
        &self,
        object: &Value,
        stored: Option<&Subscription>,
        account: Option<&str>,
        event: Option<&str>,
    ) -> Result<BillingEvent> {
        let is_thin = event.is_some();
        let event = json!({
            "object": "event", "id": event.unwrap_or("read"), "type": "customer.subscription.updated",
            "created": self.clock.now().seconds().max(latest_time(object)), "livemode": object["livemode"], "account": account,
            "data": { "object": object },
        });
        let event = self.events.translate(event.to_string().as_bytes()).map_err(Unusable::into_error)?;
        let unusable = |kind, reason| {
            Err(Error::new(
                kind,
                format!("a subscription that was read from Stripe cannot be used: {reason}"),
            ))
        };
        match event.fact {
            Fact::Subscription(facts) => Ok(BillingEvent {
                kind: "subscription.read".to_owned(),
                // A thin event waits in the quarantine for its tenant, with what was read.
                ignored_if_unknown: event.ignored_if_unknown.or((!is_thin).then_some(UNKNOWN)),
                raw: if is_thin { event.raw } else { Vec::new() },
                fact: Fact::Subscription(facts.read(stored.map(Subscription::to_json))),
                ..event
            }),
            Fact::Ignored { reason } => unusable(ErrorKind::Misconfigured, reason),
            Fact::Unreadable { reason } => unusable(ErrorKind::BillingRejected, reason),
            _ => unusable(ErrorKind::BillingRejected, "it is not a subscription"),
        }
    }

    /// Reads a stored subscription again and applies its state. One that Stripe does not have stays as it is stored.
    pub(super) async fn read_stored(
        &self,
        api: &dyn StripeApi,
        stored: &Subscription,
    ) -> Result<Option<EventOutcome>> {
        let (account, id) = split(stored.id());
        self.read_subscription(api, id, account).await
    }

    /// Links a customer that this program created for a tenant.
    pub(super) async fn link(&self, customer: &str, tenant: &TenantId) -> Result<()> {
        repeat(|| async {
            let mut tx = self.store.begin().await?;
            link(&mut *tx, self.context(), (customer, tenant)).await?;
            tx.commit().await
        })
        .await
    }

    /// The subscriptions of a tenant, by id.
    pub(super) async fn stored_by_id(&self, tenant: &TenantId) -> Result<HashMap<String, Subscription>> {
        let stored = self.store.begin().await?.subscriptions(tenant).await?;
        Ok(stored.into_iter().map(|subscription| (subscription.id().to_owned(), subscription)).collect())
    }
}

async fn stored_in<T: BillingTx + ?Sized>(tx: &mut T, id: &str) -> Result<Option<Subscription>> {
    let Some(tenant) = tx.tenant_of_subscription(id).await? else { return Ok(None) };
    Ok(tx.subscriptions(&tenant).await?.into_iter().find(|subscription| subscription.id() == id))
}

/// The latest past time in a subscription. A test clock of Stripe can be far ahead of the clock of this program.
fn latest_time(object: &Value) -> i64 {
    let items = object["items"]["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_items = items.iter().map(|item| &item["current_period_start"]);
    let own = ["created", "current_period_start", "trial_start", "canceled_at", "ended_at"];
    own.iter().map(|key| &object[key]).chain(of_items).filter_map(Value::as_i64).max().unwrap_or_default()
}

/// Reads the items of a subscription that has more than a response contains.
async fn complete_items(api: &dyn StripeApi, object: &mut Value, account: Option<&str>) -> Result<()> {
    if object["items"]["has_more"] != json!(true) {
        return Ok(());
    }
    let parameters = json!({ "subscription": object["id"] });
    let items = Pages::new(api, "/v1/subscription_items", parameters, account).all().await?;
    object["items"]["data"] = Value::Array(items);
    object["items"]["has_more"] = false.into();
    Ok(())
}
