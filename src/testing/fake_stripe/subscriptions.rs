//! Subscriptions: their creation, their items and their end.

use serde_json::{Value, json};

use super::calendar::{DAY, next_after};
use super::failure::{Failure, Reply};
use super::invoices::{line, subscription_of};
use super::lists::{PAGING, page, whole};
use super::params::Params;
use super::state::{State, with_nulls};

/// What the creation of a subscription needs.
pub(super) struct NewSubscription {
    pub(super) customer: String,
    /// The prices and their quantities.
    pub(super) items: Vec<(Value, i64)>,
    pub(super) method: Option<String>,
    pub(super) trial_end: Option<i64>,
    /// The metadata, and settings that are copied.
    pub(super) fields: Value,
    /// Whether the first invoice is not collected at once.
    pub(super) incomplete: bool,
}

impl State {
    pub(super) fn create_subscription(&mut self, params: &Params) -> Reply {
        params.allow(&[
            "customer",
            "items.#.price",
            "items.#.quantity",
            "items.#.metadata.**",
            "items.#.price_data.**",
            "metadata.**",
            "trial_period_days",
            "trial_end",
            "trial_settings.end_behavior.missing_payment_method",
            "default_payment_method",
            "payment_behavior",
            "proration_behavior",
            "payment_settings.save_default_payment_method",
            "billing_mode.type",
            "cancel_at_period_end",
            "cancel_at",
            "collection_method",
            "description",
            "off_session",
            "currency",
        ])?;
        let customer = params.required("customer")?.to_owned();
        let clock = self.customer(&customer, "customer")?["test_clock"].as_str().map(str::to_owned);
        let items = self.prices_of(&params.list("items"), "items")?;
        let method = match params.some("default_payment_method")? {
            Some(name) => Some(self.attach(name, &customer, "default_payment_method")?),
            None => None,
        };
        let now = self.now(clock.as_deref());
        let trial_end = match (params.some("trial_end")?, params.integer("trial_period_days")?) {
            (Some("now"), _) | (None, None | Some(0)) => None,
            (Some(_), _) => params.integer("trial_end")?,
            (None, Some(days)) => Some(now + days * DAY),
        };
        if trial_end.is_some_and(|end| end <= now) {
            return Err(Failure::invalid("The trial_end is not in the future.").param("trial_end"));
        }
        let behavior = params.one_of(
            "payment_behavior",
            &["allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"],
        )?;
        let mut fields = json!({});
        params.write_metadata(&mut fields)?;
        params.write_texts(&mut fields, &["description"])?;
        fields["cancel_at_period_end"] = params.flag("cancel_at_period_end")?.unwrap_or_default().into();
        fields["cancel_at"] = params.integer("cancel_at")?.into();
        fields["trial_settings"] = trial_settings(params)?;
        let owner = json!({ "customer": customer, "default_payment_method": method });
        let incomplete = behavior == Some("default_incomplete");
        let is_free =
            items.iter().all(|(price, quantity)| price["unit_amount"].as_i64().unwrap_or(0) * quantity == 0);
        if self.payer(&owner).is_none() && !incomplete && trial_end.is_none() && !is_free {
            let message = "This customer has no attached payment source or default payment method. Please consider \
                           adding a default payment method.";
            return Err(Failure::invalid(message).code("resource_missing"));
        }
        let new = NewSubscription { customer, items, method, trial_end, fields, incomplete };
        let id = self.start_subscription(new);
        if behavior == Some("error_if_incomplete") && self.copy("subscription", &id)["status"] == "incomplete"
        {
            self.end_subscription(&id, "payment_failed");
            return Err(Failure::declined());
        }
        self.reply("subscription", &id)
    }

    /// The prices and quantities of `items` or `line_items`.
    pub(super) fn prices_of(&mut self, items: &[Params], name: &str) -> Result<Vec<(Value, i64)>, Failure> {
        if items.is_empty() {
            return Err(Failure::missing(name));
        }
        let mut found: Vec<(Value, i64)> = Vec::new();
        for item in items {
            let id = match item.nested("price_data") {
                Some(data) => self.new_price(&data)?,
                None => item.required("price")?.to_owned(),
            };
            let price = self.find("price", &id, &format!("{name}[{}][price]", found.len()))?.clone();
            if price["active"] == false {
                return Err(Failure::invalid(format!("The price specified is inactive: {id}.")).param(name));
            }
            let quantity = item.integer("quantity")?.unwrap_or(1);
            if quantity < 0 {
                return Err(
                    Failure::invalid("Invalid non-negative integer").param(format!("{name}[quantity]"))
                );
            }
            found.push((price, quantity));
        }
        let (first, _) = &found[0];
        let period = |price: &Value| {
            (price["recurring"]["interval"].clone(), price["recurring"]["interval_count"].clone())
        };
        let recurring = |price: &Value| !price["recurring"].is_null();
        let same = found.iter().all(|(price, _)| {
            price["currency"] == first["currency"]
                && (!recurring(price) || !recurring(first) || period(price) == period(first))
        });
        if same {
            Ok(found)
        } else {
            Err(Failure::invalid("All prices have the same currency and interval.").param(name))
        }
    }

    /// Creates the subscription with its first invoice, and tries to collect it.
    pub(super) fn start_subscription(&mut self, new: NewSubscription) -> String {
        let NewSubscription { customer, items, method, trial_end, fields, incomplete } = new;
        let clock = self.copy("customer", &customer)["test_clock"].clone();
        let now = self.now(clock.as_str());
        let id = self.id("sub");
        let recurring = &items[0].0["recurring"];
        let interval = recurring["interval"].as_str().unwrap_or("month");
        let count = recurring["interval_count"].as_i64().unwrap_or(1);
        let end = trial_end.unwrap_or_else(|| next_after(now, now, interval, count));
        let entries: Vec<Value> = items
            .iter()
            .map(|(price, quantity)| self.new_item(&id, price, *quantity, now, (now, end)))
            .collect();
        let status = if trial_end.is_some() { "trialing" } else { "incomplete" };
        let mut subscription = with_nulls(
            json!({
                "id": id, "object": "subscription", "billing_cycle_anchor": trial_end.unwrap_or(now),
                "billing_mode": { "type": "flexible", "flexible": { "proration_discounts": "included" }, "updated_at": now },
                "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
                "billing_schedules": [], "cancel_at_period_end": false,
                "cancellation_details": with_nulls(json!({}), "comment feedback feedback_option reason"),
                "collection_method": "charge_automatically", "created": now, "currency": items[0].0["currency"],
                "customer": customer, "default_payment_method": method, "default_tax_rates": [], "discounts": [],
                "invoice_settings": with_nulls(
                    json!({ "issuer": { "type": "self" } }), "account_tax_ids custom_fields description footer"),
                "items": whole(&entries, &format!("/v1/subscription_items?subscription={id}")),
                "livemode": false, "metadata": {},
                "payment_settings": with_nulls(
                    json!({ "save_default_payment_method": "off" }), "payment_method_options payment_method_types"),
                "start_date": now, "status": status, "test_clock": clock, "trial_end": trial_end,
                "trial_start": trial_end.map(|_| now),
                "trial_settings": { "end_behavior": { "missing_payment_method": "create_invoice" } },
            }),
            "application application_fee_percent billing_cycle_anchor_config billing_thresholds cancel_at \
             canceled_at customer_account days_until_due default_source description ended_at latest_invoice \
             managed_payments next_pending_invoice_item_invoice on_behalf_of pause_collection \
             pending_invoice_item_interval pending_setup_intent pending_update schedule transfer_data",
        );
        for (key, value) in fields.as_object().into_iter().flatten() {
            subscription[key] = value.clone();
        }
        if subscription["cancel_at_period_end"] == true {
            subscription["cancel_at"] = end.into();
            subscription["canceled_at"] = now.into();
        }
        let entries = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
        self.insert(subscription);
        let lines = entries
            .iter()
            .filter(|item| trial_end.is_some() || item.get("quantity").is_some())
            .map(|item| {
                let amount = if trial_end.is_some() { 0 } else { price_of(item) };
                line(&self.id("il"), item, amount, (now, end), false)
            })
            .collect();
        let invoice = self.draft(&id, "subscription_create", lines);
        self.edit("subscription", &id, |one| one["latest_invoice"] = invoice.as_str().into());
        self.emit_of("customer.subscription.created", "subscription", &id);
        self.finalize(&invoice);
        let due = self.copy("invoice", &invoice)["amount_due"] != 0;
        if !(incomplete && due) {
            self.collect(&invoice, None);
        }
        id
    }

    pub(super) fn new_item(
        &mut self,
        of: &str,
        price: &Value,
        quantity: i64,
        now: i64,
        period: (i64, i64),
    ) -> Value {
        let mut item = json!({
            "id": self.id("si"), "object": "subscription_item", "billing_thresholds": null, "created": now,
            "current_period_end": period.1, "current_period_start": period.0, "current_trial": null,
            "discounts": [], "metadata": {}, "plan": plan(price), "price": price, "subscription": of,
            "tax_rates": [],
        });
        if price["recurring"]["usage_type"] != "metered" {
            item["quantity"] = quantity.into();
        }
        item
    }

    /// Changes a subscription, and emits `customer.subscription.updated` if anything changed.
    pub(super) fn edit_subscription(&mut self, id: &str, change: impl FnOnce(&mut Value)) -> bool {
        self.edit_and_emit("customer.subscription.updated", "subscription", id, change)
    }

    /// Ends a subscription at once. Its open invoices are no longer collected.
    pub(super) fn end_subscription(&mut self, id: &str, reason: &str) {
        let now = self.now_of(&self.copy("subscription", id));
        self.edit("subscription", id, |one| {
            one["status"] = "canceled".into();
            one["ended_at"] = now.into();
            if one["canceled_at"].is_null() {
                one["canceled_at"] = now.into();
            }
            if one["cancellation_details"]["reason"].is_null() {
                one["cancellation_details"]["reason"] = reason.into();
            }
        });
        self.pending_lines.remove(id);
        let open = |invoice: &Value| {
            matches!(invoice["status"].as_str(), Some("open" | "draft"))
                && subscription_of(invoice) == Some(id)
        };
        for invoice in self.ids("invoice", open) {
            self.edit("invoice", &invoice, |one| {
                one["auto_advance"] = false.into();
                one["automatically_finalizes_at"] = Value::Null;
                one["next_payment_attempt"] = Value::Null;
            });
        }
        self.emit_of("customer.subscription.deleted", "subscription", id);
    }

    pub(super) fn list_subscriptions(&self, params: &Params) -> Reply {
        let more = ["customer", "status", "price", "test_clock", "collection_method"];
        let patterns: Vec<&str> = PAGING.into_iter().chain(more).collect();
        params.allow(&patterns)?;
        let (customer, price) = (params.some("customer")?, params.some("price")?);
        let (status, clock) = (params.some("status")?, params.some("test_clock")?);
        page(self.all("subscription"), params, "/v1/subscriptions", |one| {
            let has_price = |price: &str| items(one).iter().any(|item| item["price"]["id"] == price);
            let ended = !one["ended_at"].is_null();
            customer.is_none_or(|customer| one["customer"] == customer)
                && price.is_none_or(has_price)
                && clock.is_none_or(|clock| one["test_clock"] == clock)
                && match status {
                    None => one["status"] != "canceled",
                    Some("all") => true,
                    Some("ended") => ended,
                    Some(status) => one["status"] == status,
                }
        })
    }
}

/// The items of a subscription.
pub(super) fn items(subscription: &Value) -> &[Value] {
    subscription["items"]["data"].as_array().map_or(&[], Vec::as_slice)
}

/// What an item costs for one period.
pub(super) fn price_of(item: &Value) -> i64 {
    item["price"]["unit_amount"].as_i64().unwrap_or(0) * item["quantity"].as_i64().unwrap_or(0)
}

pub(super) fn trial_settings(params: &Params) -> Reply {
    let end = params.part("trial_settings").part("end_behavior");
    let behavior = end.one_of("missing_payment_method", &["cancel", "create_invoice", "pause"])?;
    Ok(json!({ "end_behavior": { "missing_payment_method": behavior.unwrap_or("create_invoice") } }))
}

/// The plan that mirrors a price.
pub(super) fn plan(price: &Value) -> Value {
    let recurring = &price["recurring"];
    json!({
        "id": price["id"], "object": "plan", "active": price["active"], "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"], "billing_scheme": "per_unit", "created": price["created"],
        "currency": price["currency"], "interval": recurring["interval"],
        "interval_count": recurring["interval_count"], "livemode": false, "metadata": price["metadata"],
        "meter": recurring["meter"], "nickname": price["nickname"], "product": price["product"],
        "tiers_mode": null, "transform_usage": null, "trial_period_days": recurring["trial_period_days"],
        "usage_type": recurring["usage_type"],
    })
}
