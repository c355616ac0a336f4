//! What happens when the visitor of a checkout page pays.

use serde_json::{Value, json};

use super::calendar::DAY;
use super::failure::Failure;
use super::params::Params;
use super::state::{Card, State, with_nulls};
use super::subscriptions::NewSubscription;

const CHECKOUT: &str = "checkout.session";
/// How long a bank debit takes.
const DEBIT: i64 = 3 * DAY;

/// How the visitor of a checkout page pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaidWith {
    Card,
    /// A card whose later charges fail.
    FailingLater,
    /// A bank debit that settles after days, or fails then.
    Debit {
        succeeds: bool,
    },
}

impl State {
    /// Completes a session: the visitor paid.
    pub(super) fn pay_session(&mut self, id: &str, with: PaidWith) -> Result<(), Failure> {
        let session = self.find(CHECKOUT, id, "id")?.clone();
        if session["status"] != "open" {
            return Err(Failure::invalid("This checkout session is completed or expired."));
        }
        let mode = session["mode"].as_str().unwrap_or_default().to_owned();
        let customer = if let Some(customer) = session["customer"].as_str() {
            customer.to_owned()
        } else {
            let email = session["customer_email"].as_str().unwrap_or("visitor@example.com");
            let created = self.create_customer(&Params::of(&[("email", email)]))?;
            created["id"].as_str().unwrap_or_default().to_owned()
        };
        let method = self.attach("pm_card_visa", &customer, "payment_method")?;
        let free = session["payment_status"] == "no_payment_required";
        let is_debit = matches!(with, PaidWith::Debit { .. }) && !free;
        let kept = self.subscription_data.get(id).cloned().unwrap_or_default();
        let mut result = json!({ "customer": customer, "status": "complete", "url": null });
        match mode.as_str() {
            "subscription" => self.buy_subscription(id, &customer, &method, kept, is_debit, &mut result),
            "payment" => self.buy_once(&session, &customer, &method, &kept, is_debit, &mut result),
            _ => result["setup_intent"] = self.new_setup(&customer, &method).into(),
        }
        if !free && !is_debit {
            result["payment_status"] = "paid".into();
        }
        self.edit(CHECKOUT, id, |one| {
            for (key, value) in result.as_object().into_iter().flatten() {
                one[key] = value.clone();
            }
        });
        self.emit_of("checkout.session.completed", CHECKOUT, id);
        match with {
            PaidWith::FailingLater => {
                self.cards.insert(method, Card::Declines);
            }
            PaidWith::Debit { succeeds } if is_debit => {
                let due = self.now_of(&self.copy(CHECKOUT, id)) + DEBIT;
                self.debits.push((id.to_owned(), due, succeeds));
            }
            PaidWith::Card | PaidWith::Debit { .. } => {}
        }
        Ok(())
    }

    fn buy_subscription(
        &mut self,
        id: &str,
        customer: &str,
        method: &str,
        mut kept: Value,
        is_debit: bool,
        result: &mut Value,
    ) {
        let trial = kept["fake_trial"].as_i64();
        if let Some(fields) = kept.as_object_mut() {
            fields.retain(|key, _| !key.starts_with("fake_"));
        }
        let items = self.line_items.get(id).cloned().unwrap_or_default();
        let priced = |item: &Value| (item["price"].clone(), item["quantity"].as_i64().unwrap_or(1));
        let recurring = |(price, _): &(Value, i64)| !price["recurring"].is_null();
        let now = self.now_of(&json!({ "customer": customer }));
        let subscription = self.start_subscription(NewSubscription {
            customer: customer.to_owned(),
            items: items.iter().map(priced).filter(recurring).collect(),
            method: Some(method.to_owned()),
            trial_end: trial.map(|trial| now + trial),
            fields: kept,
            incomplete: is_debit,
        });
        if is_debit {
            // A debit is trusted until it fails.
            self.edit_subscription(&subscription, |one| one["status"] = "active".into());
        }
        result["invoice"] = self.copy("subscription", &subscription)["latest_invoice"].clone();
        result["subscription"] = subscription.into();
    }

    fn buy_once(
        &mut self,
        session: &Value,
        customer: &str,
        method: &str,
        kept: &Value,
        is_debit: bool,
        result: &mut Value,
    ) {
        let amount = session["amount_total"].as_i64().unwrap_or_default();
        if amount == 0 {
            return;
        }
        let (customer, currency) = (Value::from(customer), &session["currency"]);
        let intent = self.new_intent(&customer, currency, amount, &kept["fake_payment_metadata"]);
        if is_debit {
            self.edit("payment_intent", &intent, |one| one["status"] = "processing".into());
        } else {
            let charge = self.charge(&customer, currency, amount, method, true, Some(&intent));
            self.succeed(&intent, Some(&charge), Some(method));
        }
        result["payment_intent"] = intent.into();
    }

    fn new_setup(&mut self, customer: &str, method: &str) -> String {
        let id = self.id("seti");
        let created = self.now_of(&json!({ "customer": customer }));
        self.insert(with_nulls(
            json!({
                "id": id, "object": "setup_intent", "client_secret": format!("{id}_secret_fake"), "created": created,
                "customer": customer, "livemode": false, "metadata": {}, "payment_method": method,
                "payment_method_types": ["card"], "status": "succeeded", "usage": "off_session",
            }),
            "allowed_payment_method_types application automatic_payment_methods cancellation_reason \
             customer_account description excluded_payment_method_types flow_directions last_setup_error \
             latest_attempt mandate next_action on_behalf_of payment_method_configuration_details \
             payment_method_options single_use_mandate",
        ));
        self.emit_of("setup_intent.succeeded", "setup_intent", &id);
        id
    }

    /// Ends the wait for a bank debit.
    pub(super) fn settle_debit(&mut self, id: &str) {
        let Some(at) = self.debits.iter().position(|(session, ..)| session == id) else { return };
        let (_, _, succeeds) = self.debits.remove(at);
        let session = self.copy(CHECKOUT, id);
        let (invoice, subscription) = (session["invoice"].as_str(), session["subscription"].as_str());
        if succeeds {
            self.edit(CHECKOUT, id, |one| one["payment_status"] = "paid".into());
            if let Some(intent) = session["payment_intent"].as_str() {
                self.succeed(intent, None, None);
            }
            if let Some(invoice) = invoice {
                self.mark_paid(invoice, None);
            }
            self.emit_of("checkout.session.async_payment_succeeded", CHECKOUT, id);
            return;
        }
        if let Some(invoice) = invoice {
            self.edit("invoice", invoice, |one| one["attempt_count"] = 1.into());
            self.emit_of("invoice.payment_failed", "invoice", invoice);
        }
        if let Some(subscription) = subscription {
            self.edit_subscription(subscription, |one| one["status"] = "past_due".into());
        }
        self.emit_of("checkout.session.async_payment_failed", CHECKOUT, id);
    }
}
