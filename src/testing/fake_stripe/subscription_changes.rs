//! Changes of a subscription: items with proration, scheduled ends and trials.

use serde_json::{Value, json};

use super::calendar::next_after;
use super::failure::{Failure, Reply};
use super::invoices::line;
use super::lists::whole;
use super::params::Params;
use super::state::State;
use super::subscriptions::{items, plan, price_of};

const PRORATION: [&str; 3] = ["create_prorations", "always_invoice", "none"];

impl State {
    pub(super) fn update_subscription(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&[
            "items.#.id",
            "items.#.price",
            "items.#.quantity",
            "items.#.deleted",
            "items.#.metadata.**",
            "metadata",
            "metadata.**",
            "cancel_at_period_end",
            "cancel_at",
            "cancellation_details.comment",
            "cancellation_details.feedback",
            "default_payment_method",
            "description",
            "pause_collection",
            "pause_collection.behavior",
            "pause_collection.resumes_at",
            "payment_behavior",
            "proration_behavior",
            "proration_date",
            "trial_end",
            "trial_settings.end_behavior.missing_payment_method",
            "off_session",
            "billing_cycle_anchor",
        ])?;
        let before = self.find("subscription", id, "id")?.clone();
        let now = self.now_of(&before);
        let mut after = before.clone();
        let is_fixed = ["items", "cancel_at_period_end", "trial_end"].into_iter().any(|key| params.has(key));
        if !before["ended_at"].is_null() && is_fixed {
            let message = "A canceled subscription can only update its cancellation_details and metadata.";
            return Err(Failure::invalid(message));
        }
        params.write_metadata(&mut after)?;
        params.write_texts(&mut after, &["description"])?;
        write_end(&mut after, params, now)?;
        write_pause(&mut after, params)?;
        if let Some(name) = params.text("default_payment_method")? {
            after["default_payment_method"] = if name.is_empty() {
                Value::Null
            } else {
                let customer = before["customer"].as_str().unwrap_or_default();
                self.attach(name, customer, "default_payment_method")?.into()
            };
        }
        if params.nested("items").is_some() {
            self.write_items(&mut after, &params.list("items"), now)?;
        }
        let ends_trial = write_trial(&mut after, params, now)?;
        let behavior = params.one_of("proration_behavior", &PRORATION)?.unwrap_or(PRORATION[0]);
        self.apply(id, &before, after, behavior, ends_trial);
        self.reply("subscription", id)
    }

    /// Stores the changed subscription, and bills what the change costs.
    pub(super) fn apply(
        &mut self,
        id: &str,
        before: &Value,
        mut after: Value,
        behavior: &str,
        ends_trial: bool,
    ) {
        let now = self.now_of(before);
        let cycle = |one: &Value| {
            let recurring =
                &items(one).first().map(|item| item["price"]["recurring"].clone()).unwrap_or_default();
            (recurring["interval"].clone(), recurring["interval_count"].clone())
        };
        let resets = cycle(before) != cycle(&after) && after["status"] != "trialing";
        let mut lines = Vec::new();
        if behavior != "none" && before["status"] != "trialing" {
            lines = self.prorations(before, &after, now, resets);
        }
        let bills_now = resets || ends_trial;
        if bills_now {
            new_period(&mut after, now, now);
            if ends_trial {
                after["status"] = "active".into();
            }
        }
        if !bills_now && (lines.is_empty() || behavior != "always_invoice") {
            self.pending_lines.entry(id.to_owned()).or_default().extend(lines);
            self.edit_subscription(id, |one| *one = after);
            return;
        }
        if bills_now {
            lines.extend(self.period_lines(&after));
        }
        let invoice = self.draft(id, "subscription_update", lines);
        after["latest_invoice"] = invoice.as_str().into();
        self.edit_subscription(id, |one| *one = after);
        self.finalize(&invoice);
        if self.copy("invoice", &invoice)["status"] == "open" {
            self.collect(&invoice, None);
        }
    }

    /// The lines for the current period of all items; a metered item is billed for the period before.
    pub(super) fn period_lines(&mut self, subscription: &Value) -> Vec<Value> {
        let mut lines = Vec::new();
        for item in items(subscription) {
            let period = (time(item, "current_period_start"), time(item, "current_period_end"));
            let amount = match item["price"]["recurring"]["meter"].as_str() {
                Some(meter) => {
                    let start = time(subscription, "start_date");
                    let used = self.usage(meter, &subscription["customer"], (start, period.0), &item["id"]);
                    item["price"]["unit_amount"].as_i64().unwrap_or(0) * used
                }
                None => price_of(item),
            };
            lines.push(line(&self.id("il"), item, amount, period, false));
        }
        lines
    }

    /// A credit for what is no longer used of the period, and the price of what is used instead.
    fn prorations(&mut self, before: &Value, after: &Value, now: i64, resets: bool) -> Vec<Value> {
        let mut lines = Vec::new();
        let same = |item: &Value, all: &Value| {
            items(all).iter().any(|other| {
                other["id"] == item["id"]
                    && other["price"]["id"] == item["price"]["id"]
                    && other["quantity"] == item["quantity"]
            })
        };
        for (item, sign) in
            items(before).iter().filter(|item| resets || !same(item, after)).map(|item| (item, -1)).chain(
                items(after).iter().filter(|item| !resets && !same(item, before)).map(|item| (item, 1)),
            )
        {
            let (start, end) = (time(item, "current_period_start"), time(item, "current_period_end"));
            let (left, length) = ((end - now).max(0), (end - start).max(1));
            // Rounded to the nearest.
            let amount = sign * ((2 * price_of(item) * left + length) / (2 * length));
            if amount != 0 {
                lines.push(line(&self.id("il"), item, amount, (now, end), true));
            }
        }
        lines
    }

    fn write_items(&mut self, after: &mut Value, changes: &[Params], now: i64) -> Result<(), Failure> {
        let id = after["id"].as_str().unwrap_or_default().to_owned();
        let mut entries = items(after).to_vec();
        let period = entries.first().map_or((now, now), |item| {
            (time(item, "current_period_start"), time(item, "current_period_end"))
        });
        for change in changes {
            let price = match change.some("price")? {
                Some(price) => Some(self.find("price", price, "items[price]")?.clone()),
                None => None,
            };
            if price.as_ref().is_some_and(|price| price["recurring"].is_null()) {
                return Err(
                    Failure::invalid("The price of a subscription is recurring.").param("items[price]")
                );
            }
            let quantity = change.integer("quantity")?;
            let Some(item) = change.some("id")? else {
                let price = price.ok_or_else(|| Failure::missing("items[price]"))?;
                entries.push(self.new_item(&id, &price, quantity.unwrap_or(1), now, period));
                continue;
            };
            let at = entries
                .iter()
                .position(|entry| entry["id"] == item)
                .ok_or_else(|| Failure::no_such("subscription_item", item, "items[id]"))?;
            if change.flag("deleted")? == Some(true) {
                entries.remove(at);
                continue;
            }
            if let Some(price) = price {
                entries[at]["plan"] = plan(&price);
                entries[at]["price"] = price;
            }
            if let Some(quantity) = quantity {
                entries[at]["quantity"] = quantity.into();
            }
            change.write_metadata(&mut entries[at])?;
        }
        if entries.is_empty() {
            return Err(Failure::invalid("A subscription must have at least one active plan.").param("items"));
        }
        after["items"] = whole(&entries, &format!("/v1/subscription_items?subscription={id}"));
        Ok(())
    }

    pub(super) fn cancel_subscription(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&[
            "invoice_now",
            "prorate",
            "cancellation_details.comment",
            "cancellation_details.feedback",
        ])?;
        let subscription = self.find("subscription", id, "id")?;
        if !subscription["ended_at"].is_null() {
            return Err(Failure::no_such("subscription", id, "id"));
        }
        let mut details = subscription["cancellation_details"].clone();
        params.part("cancellation_details").write_texts(&mut details, &["comment", "feedback"])?;
        self.edit("subscription", id, |one| one["cancellation_details"] = details);
        self.end_subscription(id, "cancellation_requested");
        self.reply("subscription", id)
    }
}

/// Begins a period of all items that is anchored at a time.
pub(super) fn new_period(subscription: &mut Value, anchor: i64, start: i64) {
    let recurring =
        items(subscription).first().map(|item| item["price"]["recurring"].clone()).unwrap_or_default();
    let interval = recurring["interval"].as_str().unwrap_or("month").to_owned();
    let end = next_after(anchor, start, &interval, recurring["interval_count"].as_i64().unwrap_or(1));
    subscription["billing_cycle_anchor"] = anchor.into();
    for item in subscription["items"]["data"].as_array_mut().into_iter().flatten() {
        item["current_period_start"] = start.into();
        item["current_period_end"] = end.into();
    }
    if subscription["cancel_at_period_end"] == true {
        subscription["cancel_at"] = end.into();
    }
}

fn write_end(after: &mut Value, params: &Params, now: i64) -> Result<(), Failure> {
    let details = params.part("cancellation_details");
    details.write_texts(&mut after["cancellation_details"], &["comment", "feedback"])?;
    let at = params.text("cancel_at")?.map(|_| params.integer("cancel_at")).transpose()?;
    let at_end = params.flag("cancel_at_period_end")?;
    if at.flatten().is_some() && at_end == Some(true) {
        return Err(Failure::invalid(
            "You may only specify one of these parameters: cancel_at, cancel_at_period_end.",
        ));
    }
    let end = match (at_end, at) {
        (Some(true), _) => {
            let ends = items(after).iter().map(|item| time(item, "current_period_end"));
            ends.max().map(|end| (true, Some(end)))
        }
        (Some(false), None) => Some((false, None)),
        (_, Some(at)) => Some((false, at)),
        (None, None) => None,
    };
    let Some((at_end, at)) = end else { return Ok(()) };
    if at.is_some_and(|at| at <= now) {
        return Err(Failure::invalid("cancel_at must be in the future.").param("cancel_at"));
    }
    after["cancel_at_period_end"] = at_end.into();
    after["cancel_at"] = at.into();
    after["canceled_at"] = at.map(|_| now).into();
    after["cancellation_details"]["reason"] = at.map(|_| "cancellation_requested").into();
    Ok(())
}

/// Returns whether the trial ends now.
fn write_trial(after: &mut Value, params: &Params, now: i64) -> Result<bool, Failure> {
    if params.has("trial_settings") {
        after["trial_settings"] = super::subscriptions::trial_settings(params)?;
    }
    let Some(text) = params.some("trial_end")? else { return Ok(false) };
    let end = if text == "now" { now } else { params.integer("trial_end")?.unwrap_or(now) };
    if end < now {
        return Err(Failure::invalid("The trial_end is in the past.").param("trial_end"));
    }
    let was_trialing = after["status"] == "trialing";
    after["trial_end"] = end.into();
    if end == now {
        return Ok(was_trialing);
    }
    after["status"] = "trialing".into();
    if after["trial_start"].is_null() {
        after["trial_start"] = now.into();
    }
    after["billing_cycle_anchor"] = end.into();
    for item in after["items"]["data"].as_array_mut().into_iter().flatten() {
        item["current_period_end"] = end.into();
    }
    Ok(false)
}

fn write_pause(after: &mut Value, params: &Params) -> Result<(), Failure> {
    if let Some(pause) = params.nested("pause_collection") {
        let behavior = pause.one_of("behavior", &["keep_as_draft", "mark_uncollectible", "void"])?;
        let behavior = behavior.ok_or_else(|| Failure::missing("pause_collection[behavior]"))?;
        after["pause_collection"] =
            json!({ "behavior": behavior, "resumes_at": pause.integer("resumes_at")? });
    } else if params.has("pause_collection") {
        after["pause_collection"] = Value::Null;
    }
    Ok(())
}

pub(super) fn time(object: &Value, field: &str) -> i64 {
    object[field].as_i64().unwrap_or_default()
}
