//! Sessions of the customer portal, and what a customer does there.

use serde_json::{Value, json};

use super::calendar::DAY;
use super::customers::set_default;
use super::failure::{Failure, Reply};
use super::invoices::subscription_of;
use super::params::Params;
use super::state::{State, with_nulls};
use super::subscriptions::items;

const KIND: &str = "billing_portal.session";

impl State {
    pub(super) fn create_portal_session(&mut self, params: &Params) -> Reply {
        params.allow(&["customer", "return_url", "configuration", "locale", "flow_data.type"])?;
        let customer = params.required("customer")?.to_owned();
        let clock = self.customer(&customer, "customer")?["test_clock"].as_str().map(str::to_owned);
        let id = self.id("bps");
        let session = with_nulls(
            json!({
                "id": id, "object": KIND, "configuration": params.some("configuration")?.unwrap_or("bpc_fake"),
                "created": self.now(clock.as_deref()), "customer": customer, "livemode": false,
                "return_url": params.url("return_url")?, "url": format!("{}/p/session/{id}", self.url),
            }),
            "after_expiration customer_account flow locale on_behalf_of",
        );
        self.insert(session);
        self.emit_of("billing_portal.session.created", KIND, &id);
        self.reply(KIND, &id)
    }

    /// Applies a button of the portal page.
    pub(super) fn use_portal(&mut self, session: &str, form: &Params) -> Result<(), Failure> {
        let customer = self.find(KIND, session, "id")?["customer"].as_str().unwrap_or_default().to_owned();
        let subscription = self.live_subscription(&customer);
        let of = || subscription.clone().ok_or_else(|| Failure::invalid("There is no subscription."));
        match form.required("action")? {
            "price" => {
                let id = of()?;
                let item = items(&self.copy("subscription", &id)).first().map(|item| item["id"].clone());
                let item = item.as_ref().and_then(Value::as_str).unwrap_or_default();
                let change = Params::of(&[("price", form.required("price")?)]).as_item(Some(item));
                self.update_subscription(&id, &change).map(drop)
            }
            "cancel" => {
                self.update_subscription(&of()?, &Params::of(&[("cancel_at_period_end", "true")])).map(drop)
            }
            "keep" => {
                self.update_subscription(&of()?, &Params::of(&[("cancel_at_period_end", "false")])).map(drop)
            }
            "card_good" => self.replace_card(&customer, subscription.as_deref(), "pm_card_visa"),
            "card_fails" => {
                self.replace_card(&customer, subscription.as_deref(), "pm_card_chargeCustomerFail")
            }
            "advance_day" => self.advance_days(&customer, 1),
            "advance_week" => self.advance_days(&customer, 7),
            "advance_month" => self.advance_days(&customer, 31),
            _ => Err(Failure::invalid("The portal has no such button.").param("action")),
        }
    }

    /// The subscription that the portal shows: the last one that has not ended.
    pub(super) fn live_subscription(&self, customer: &str) -> Option<String> {
        self.ids("subscription", |one| one["customer"] == customer && one["ended_at"].is_null()).pop()
    }

    /// Replaces the default card, and tries at once to collect what is open.
    fn replace_card(
        &mut self,
        customer: &str,
        subscription: Option<&str>,
        card: &str,
    ) -> Result<(), Failure> {
        let method = self.attach(card, customer, "payment_method")?;
        self.edit_and_emit("customer.updated", "customer", customer, |one| {
            set_default(one, &method);
        });
        let Some(subscription) = subscription else { return Ok(()) };
        self.edit_subscription(subscription, |one| one["default_payment_method"] = method.as_str().into());
        let open = |one: &Value| one["status"] == "open" && subscription_of(one) == Some(subscription);
        if card == "pm_card_visa" {
            for invoice in self.ids("invoice", open) {
                self.collect(&invoice, None);
            }
        }
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "a button's function returns what may fail")]
    fn advance_days(&mut self, customer: &str, days: i64) -> Result<(), Failure> {
        self.advance(Some(customer), days * DAY);
        Ok(())
    }
}
