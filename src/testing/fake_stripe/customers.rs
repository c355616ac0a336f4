//! Customers and their payment methods.

use serde_json::{Value, json};

use super::failure::{Failure, Reply};
use super::lists::{PAGING, page};
use super::params::Params;
use super::state::{Card, State, with_nulls};

const TEXTS: [&str; 5] = ["email", "name", "description", "phone", "tax_exempt"];
const FIELDS: [&str; 13] = [
    "email",
    "name",
    "description",
    "phone",
    "tax_exempt",
    "balance",
    "metadata",
    "metadata.**",
    "address.**",
    "shipping.**",
    "preferred_locales.#",
    "invoice_settings.default_payment_method",
    "default_source",
];

impl State {
    pub(super) fn create_customer(&mut self, params: &Params) -> Reply {
        let patterns: Vec<&str> =
            FIELDS.into_iter().chain(["payment_method", "test_clock", "validate"]).collect();
        params.allow(&patterns)?;
        let clock = params.some("test_clock")?.map(str::to_owned);
        if let Some(clock) = &clock {
            self.find("test_helpers.test_clock", clock, "test_clock")?;
        }
        let id = self.id("cus");
        let prefix: String = id.chars().rev().take(8).collect::<String>().to_uppercase();
        let mut customer = with_nulls(
            json!({
                "id": id, "object": "customer", "balance": 0, "created": self.now(clock.as_deref()),
                "delinquent": false, "invoice_prefix": prefix, "livemode": false, "metadata": {},
                "next_invoice_sequence": 1, "preferred_locales": [], "tax_exempt": "none", "test_clock": clock,
                "invoice_settings": with_nulls(
                    json!({}), "custom_fields default_payment_method footer rendering_options"),
            }),
            "address currency customer_account default_source description discount email name phone shipping",
        );
        write(&mut customer, params)?;
        self.insert(customer);
        for (group, key) in [(None, "payment_method"), (Some("invoice_settings"), "default_payment_method")] {
            let holder = group.map_or_else(|| params.clone(), |group| params.part(group));
            let Some(name) = holder.some(key)?.map(str::to_owned) else { continue };
            match self.attach(&name, &id, key) {
                Ok(method) if group.is_some() => {
                    self.edit("customer", &id, |one| set_default(one, &method));
                }
                Ok(_) => {}
                Err(failure) => {
                    self.remove("customer", &id);
                    return Err(failure);
                }
            }
        }
        self.emit_of("customer.created", "customer", &id);
        self.reply("customer", &id)
    }

    pub(super) fn update_customer(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&FIELDS)?;
        let mut changed = self.customer(id, "id")?.clone();
        write(&mut changed, params)?;
        if let Some(name) = params.part("invoice_settings").text("default_payment_method")? {
            if name.is_empty() {
                changed["invoice_settings"]["default_payment_method"] = Value::Null;
            } else {
                let method = self.attach(name, id, "invoice_settings[default_payment_method]")?;
                set_default(&mut changed, &method);
            }
        }
        self.edit_and_emit("customer.updated", "customer", id, |customer| *customer = changed);
        self.reply("customer", id)
    }

    /// Deletes a customer. Its subscriptions end at once.
    pub(super) fn delete_customer(&mut self, id: &str) -> Reply {
        let customer = self.customer(id, "id")?.clone();
        let live = |one: &Value| one["customer"] == id && one["ended_at"].is_null();
        for subscription in self.ids("subscription", live) {
            self.end_subscription(&subscription, "cancellation_requested");
        }
        let deleted = json!({ "id": id, "object": "customer", "deleted": true });
        self.emit("customer.deleted", &customer, None);
        self.edit("customer", id, |customer| *customer = deleted.clone());
        Ok(deleted)
    }

    pub(super) fn list_customers(&self, params: &Params) -> Reply {
        let patterns: Vec<&str> = PAGING.into_iter().chain(["email", "test_clock"]).collect();
        params.allow(&patterns)?;
        let (email, clock) = (params.some("email")?, params.some("test_clock")?);
        page(self.all("customer"), params, "/v1/customers", |one| {
            email.is_none_or(|email| one["email"] == email)
                && clock.map_or(one["test_clock"].is_null(), |clock| one["test_clock"] == clock)
        })
    }

    /// A customer that is not deleted.
    pub(super) fn customer(&self, id: &str, param: &str) -> Result<&Value, Failure> {
        let customer = self.find("customer", id, param)?;
        if customer["deleted"] == true {
            return Err(Failure::no_such("customer", id, param));
        }
        Ok(customer)
    }

    pub(super) fn create_payment_method(&mut self, params: &Params) -> Reply {
        params.allow(&["type", "card.token", "billing_details.**", "metadata.**"])?;
        let name = match params.part("card").some("token")? {
            Some("tok_chargeCustomerFail") => "pm_card_chargeCustomerFail",
            Some("tok_visa" | "tok_mastercard") => "pm_card_visa",
            _ => {
                return Err(
                    Failure::invalid("The fake accepts tok_visa and tok_chargeCustomerFail.").param("card")
                );
            }
        };
        let id = self.new_card(name, "payment_method")?;
        self.reply("payment_method", &id)
    }

    pub(super) fn attach_payment_method(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&["customer"])?;
        let customer = params.required("customer")?.to_owned();
        let method = self.attach(id, &customer, "payment_method")?;
        self.reply("payment_method", &method)
    }

    pub(super) fn detach_payment_method(&mut self, id: &str) -> Reply {
        let customer = self.find("payment_method", id, "id")?["customer"].clone();
        self.edit_and_emit("payment_method.detached", "payment_method", id, |one| {
            one["customer"] = Value::Null;
        });
        if let Some(customer) = customer.as_str() {
            self.edit_and_emit("customer.updated", "customer", customer, |one| {
                let default = &mut one["invoice_settings"]["default_payment_method"];
                if *default == id {
                    *default = Value::Null;
                }
            });
        }
        self.reply("payment_method", id)
    }

    pub(super) fn list_payment_methods(&self, params: &Params, customer: Option<&str>) -> Reply {
        let patterns: Vec<&str> = PAGING.into_iter().chain(["customer", "type"]).collect();
        params.allow(&patterns)?;
        let customer = customer.or(params.some("customer")?);
        page(self.all("payment_method"), params, "/v1/payment_methods", |one| {
            customer.is_none_or(|customer| one["customer"] == customer)
        })
    }

    /// Attaches a payment method or a new one of a test card, and returns its id.
    pub(super) fn attach(&mut self, name: &str, customer: &str, param: &str) -> Result<String, Failure> {
        self.customer(customer, "customer")?;
        if name == "pm_card_chargeDeclined" {
            return Err(Failure::declined());
        }
        let id = if name.starts_with("pm_card_") { self.new_card(name, param)? } else { name.to_owned() };
        let owner = &self.find("payment_method", &id, param)?["customer"];
        if owner == customer {
            return Ok(id);
        }
        if !owner.is_null() {
            let message = "This payment method is attached to another customer. Detach it first.";
            return Err(Failure::invalid(message).param(param));
        }
        self.edit("payment_method", &id, |method| method["customer"] = customer.into());
        self.emit_of("payment_method.attached", "payment_method", &id);
        Ok(id)
    }

    fn new_card(&mut self, name: &str, param: &str) -> Result<String, Failure> {
        let (card, last4) = match name {
            "pm_card_visa" | "pm_card_mastercard" => (Card::Pays, "4242"),
            "pm_card_chargeCustomerFail" => (Card::Declines, "0341"),
            "pm_card_authenticationRequired" => (Card::NeedsAction, "3184"),
            _ => return Err(Failure::no_such("PaymentMethod", name, param)),
        };
        let id = self.id("pm");
        let created = self.now(None);
        self.insert(json!({
            "id": id, "object": "payment_method", "allow_redisplay": "unspecified", "created": created,
            "billing_details": with_nulls(
                json!({ "address": with_nulls(json!({}), "city country line1 line2 postal_code state") }),
                "email name phone tax_id"),
            "card": with_nulls(
                json!({
                    "brand": "visa", "country": "US", "display_brand": "visa", "exp_month": 12, "exp_year": 2040,
                    "fingerprint": "fake", "funding": "credit", "last4": last4,
                    "checks": with_nulls(
                        json!({ "cvc_check": "pass" }), "address_line1_check address_postal_code_check"),
                    "networks": { "available": ["visa"], "preferred": null },
                    "three_d_secure_usage": { "supported": true },
                }),
                "generated_from regulated_status wallet"),
            "customer": null, "customer_account": null, "livemode": false, "metadata": {}, "type": "card",
        }));
        self.cards.insert(id.clone(), card);
        Ok(id)
    }

    /// The payment method that pays for a subscription or an invoice: its own, else its customer's.
    pub(super) fn payer(&self, object: &Value) -> Option<String> {
        let own = object["default_payment_method"].as_str().map(str::to_owned);
        own.or_else(|| {
            let customer = self.find("customer", object["customer"].as_str()?, "customer").ok()?;
            customer["invoice_settings"]["default_payment_method"].as_str().map(str::to_owned)
        })
    }
}

pub(super) fn set_default(customer: &mut Value, method: &str) {
    customer["invoice_settings"]["default_payment_method"] = method.into();
}

fn write(customer: &mut Value, params: &Params) -> Result<(), Failure> {
    params.write_texts(customer, &TEXTS)?;
    params.write_metadata(customer)?;
    if let Some(balance) = params.integer("balance")? {
        customer["balance"] = balance.into();
    }
    for key in ["address", "shipping"] {
        if params.has(key) {
            customer[key] =
                params.pairs(key).into_iter().map(|(key, value)| (key, Value::from(value))).collect();
        }
    }
    if params.has("preferred_locales") {
        customer["preferred_locales"] = params.texts("preferred_locales").into();
    }
    Ok(())
}
