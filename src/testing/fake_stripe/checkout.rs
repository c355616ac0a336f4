//! Checkout sessions: their creation and their expiry.

use serde_json::{Value, json};

use super::calendar::{DAY, HOUR};
use super::failure::{Failure, Reply};
use super::lists::{PAGING, page, whole};
use super::params::Params;
use super::state::{State, with_nulls};
use super::subscriptions::trial_settings;

const KIND: &str = "checkout.session";
const FIELDS: [&str; 31] = [
    "mode",
    "line_items.#.price",
    "line_items.#.quantity",
    "line_items.#.price_data.**",
    "customer",
    "customer_email",
    "customer_creation",
    "customer_update.**",
    "client_reference_id",
    "metadata.**",
    "subscription_data.metadata.**",
    "subscription_data.trial_period_days",
    "subscription_data.trial_end",
    "subscription_data.description",
    "subscription_data.trial_settings.end_behavior.missing_payment_method",
    "subscription_data.billing_mode.type",
    "payment_intent_data.metadata.**",
    "setup_intent_data.metadata.**",
    "success_url",
    "cancel_url",
    "expires_at",
    "payment_method_collection",
    "payment_method_types.#",
    "allow_promotion_codes",
    "billing_address_collection",
    "automatic_tax.enabled",
    "tax_id_collection.enabled",
    "locale",
    "currency",
    "ui_mode",
    "submit_type",
];

impl State {
    pub(super) fn create_session(&mut self, params: &Params) -> Reply {
        params.allow(&FIELDS)?;
        let mode = params.one_of("mode", &["payment", "setup", "subscription"])?;
        let mode = mode.ok_or_else(|| Failure::missing("mode"))?;
        let success = params.url("success_url")?.ok_or_else(|| Failure::missing("success_url"))?;
        let customer = params.some("customer")?;
        if let Some(customer) = customer {
            self.customer(customer, "customer")?;
            if params.has("customer_email") {
                let message = "You may only specify one of these parameters: customer, customer_email.";
                return Err(Failure::invalid(message));
            }
        }
        let clock =
            customer.and_then(|id| self.copy("customer", id)["test_clock"].as_str().map(str::to_owned));
        let reference = params.some("client_reference_id")?;
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if reference.is_some_and(|text| text.len() > 200 || !plain(text)) {
            let message = "A client_reference_id has at most 200 letters, digits, dashes and underscores.";
            return Err(Failure::invalid(message).param("client_reference_id"));
        }
        let prices = match (mode, params.list("line_items")) {
            ("setup", _) => Vec::new(),
            (_, items) => self.prices_of(&items, "line_items")?,
        };
        let recurring = |(price, _): &(Value, i64)| !price["recurring"].is_null();
        if mode == "subscription" && !prices.iter().any(recurring) {
            let message = "You must provide at least one recurring price in `subscription` mode.";
            return Err(Failure::invalid(message).param("line_items"));
        }
        if mode == "payment" && prices.iter().any(recurring) {
            let message = "You specified `payment` mode but passed a recurring price.";
            return Err(Failure::invalid(message).param("line_items"));
        }
        let data = params.part("subscription_data");
        let mut kept = json!({});
        data.write_metadata(&mut kept)?;
        data.write_texts(&mut kept, &["description"])?;
        kept["trial_settings"] = trial_settings(&data)?;
        let now = self.now(clock.as_deref());
        let days = data.integer("trial_period_days")?.map(|days| days * DAY);
        let trial_end = data.integer("trial_end")?.map(|end| end - now);
        let id = self.id("cs_test");
        let expires = params.integer("expires_at")?.unwrap_or(now + DAY);
        if !(now + HOUR / 2..=now + DAY).contains(&expires) {
            let message = "The expires_at is 30 minutes to 24 hours after the creation of the session.";
            return Err(Failure::invalid(message).param("expires_at"));
        }
        let items: Vec<Value> =
            prices.iter().map(|(price, quantity)| self.line_item(price, *quantity)).collect();
        let total: i64 = items.iter().filter_map(|item| item["amount_total"].as_i64()).sum();
        let trial = days.or(trial_end).filter(|_| mode == "subscription");
        let total = if trial.is_some() { 0 } else { total };
        let currency = prices.first().map(|(price, _)| price["currency"].clone());
        let collection = params.one_of("payment_method_collection", &["always", "if_required"])?;
        let mut session = json!({
            "id": id, "object": KIND, "amount_subtotal": total, "amount_total": total,
            "automatic_tax": with_nulls(json!({ "enabled": false }), "liability provider status"),
            "client_reference_id": reference, "created": now, "currency": currency, "custom_fields": [],
            "custom_text": with_nulls(json!({}), "after_submit shipping_address submit terms_of_service_acceptance"),
            "customer": customer, "customer_email": params.some("customer_email")?, "expires_at": expires,
            "livemode": false, "metadata": {}, "mode": mode, "payment_method_types": ["card"],
            "payment_method_collection": collection.unwrap_or("always"),
            "payment_status": if mode == "setup" || total == 0 { "no_payment_required" } else { "unpaid" },
            "shipping_options": [], "status": "open", "success_url": success, "ui_mode": "hosted_page",
            "cancel_url": params.url("cancel_url")?, "url": format!("{}/c/pay/{id}", self.url),
        });
        session["total_details"] = json!({ "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 });
        session["customer_details"] = with_nulls(
            json!({ "email": params.some("customer_email")?, "tax_exempt": "none" }),
            "address business_name individual_name name phone tax_ids",
        );
        if mode == "setup" {
            for field in ["amount_subtotal", "amount_total", "total_details"] {
                session[field] = Value::Null;
            }
        }
        params.write_metadata(&mut session)?;
        self.line_items.insert(id.clone(), items);
        kept["fake_trial"] = trial.into();
        kept["fake_payment_metadata"] = params
            .part("payment_intent_data")
            .pairs("metadata")
            .into_iter()
            .map(|(key, value)| (key, Value::from(value)))
            .collect();
        self.subscription_data.insert(id.clone(), kept);
        self.insert(with_nulls(
            session,
            "adaptive_pricing after_expiration allow_promotion_codes allowed_payment_method_types \
             billing_address_collection client_secret collected_information consent consent_collection \
             currency_conversion customer_account customer_creation discounts integration_identifier invoice \
             invoice_creation locale managed_payments optional_items origin_context payment_intent payment_link \
             payment_method_configuration_details payment_method_options permissions recovered_from \
             saved_payment_method_options setup_intent shipping_address_collection shipping_cost submit_type \
             subscription wallet_options",
        ));
        self.reply(KIND, &id)
    }

    fn line_item(&mut self, price: &Value, quantity: i64) -> Value {
        let amount = price["unit_amount"].as_i64().unwrap_or(0) * quantity;
        let product = self.copy("product", price["product"].as_str().unwrap_or_default());
        json!({
            "id": self.id("li"), "object": "item", "adjustable_quantity": null, "amount_discount": 0,
            "amount_subtotal": amount, "amount_tax": 0, "amount_total": amount, "currency": price["currency"],
            "description": product["name"], "metadata": {}, "price": price, "quantity": quantity,
        })
    }

    pub(super) fn expire_session(&mut self, id: &str) {
        self.edit(KIND, id, |one| {
            one["status"] = "expired".into();
            one["url"] = Value::Null;
        });
        self.emit_of("checkout.session.expired", KIND, id);
    }

    pub(super) fn expire_by_api(&mut self, id: &str) -> Reply {
        if self.find(KIND, id, "id")?["status"] != "open" {
            return Err(Failure::invalid(
                "Only Checkout Sessions with a status in [\"open\"] can be expired.",
            ));
        }
        self.expire_session(id);
        self.reply(KIND, id)
    }

    pub(super) fn list_sessions(&self, params: &Params) -> Reply {
        let more = ["customer", "status", "subscription", "payment_intent", "customer_details.email"];
        params.allow(&PAGING.into_iter().chain(more).collect::<Vec<_>>())?;
        let mut filters = Vec::new();
        for key in ["customer", "status", "subscription", "payment_intent"] {
            filters.extend(params.some(key)?.map(|value| (key, value)));
        }
        page(self.all(KIND), params, "/v1/checkout/sessions", |one| {
            filters.iter().all(|(key, value)| one[*key] == *value)
        })
    }

    pub(super) fn list_line_items(&self, id: &str) -> Reply {
        self.find(KIND, id, "id")?;
        let items = self.line_items.get(id).map_or(&[][..], Vec::as_slice);
        Ok(whole(items, &format!("/v1/checkout/sessions/{id}/line_items")))
    }
}
