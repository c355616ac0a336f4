//! The events of a fake Stripe: snapshot events, and thin events beside them.

use serde_json::{Value, json};

use super::calendar::rfc3339;
use super::failure::{Failure, Reply};
use super::lists::page;
use super::params::Params;
use super::state::{State, with_nulls};

/// The version in which the fake writes its objects.
pub(super) const API_VERSION: &str = "2026-10-28.endive";

impl State {
    /// Records an event about an object, and queues it for every destination.
    pub(super) fn emit(&mut self, kind: &str, object: &Value, previous: Option<&Value>) {
        let created = self.now_of(object);
        let id = self.id("evt");
        let mut data = json!({ "object": object });
        if let Some(previous) = previous {
            data["previous_attributes"] = previous.clone();
        }
        let (request, key) = self.request.clone().unzip();
        let event = json!({
            "id": id, "object": "event", "api_version": API_VERSION, "created": created, "data": data,
            "livemode": false, "pending_webhooks": self.outbox.interested(kind, false),
            "request": { "id": request, "idempotency_key": key.flatten() }, "type": kind,
        });
        self.outbox.push(&id, kind, &event.to_string(), false);
        self.insert(event);
        let related = related(object);
        self.emit_thin(&format!("v1.{kind}"), created, related.as_ref(), Some(&id), None);
        if kind.starts_with("customer.subscription.") {
            for change in changes(kind, object, previous) {
                let kind = format!("v1.customer.subscription.{change}");
                self.emit_thin(&kind, created, related.as_ref(), None, None);
            }
        }
    }

    /// Records a thin event. `data` is what a fetch of the event returns beside the notification.
    pub(super) fn emit_thin(
        &mut self,
        kind: &str,
        created: i64,
        related: Option<&Value>,
        snapshot: Option<&str>,
        data: Option<Value>,
    ) {
        let id = self.id("evt_thin");
        let mut event = json!({
            "id": id, "object": "v2.core.event", "type": kind, "created": rfc3339(created), "livemode": false,
            "related_object": related, "reason": null,
        });
        if let Some((request, key)) = &self.request {
            event["reason"] =
                json!({ "type": "request", "request": { "id": request, "idempotency_key": key } });
        }
        if let Some(snapshot) = snapshot {
            event["snapshot_event"] = snapshot.into();
        }
        self.outbox.push(&id, kind, &event.to_string(), true);
        if let Some(data) = data {
            event["data"] = data;
        }
        self.insert(event);
    }

    /// Counts a delivery that succeeded.
    pub(super) fn delivered(&mut self, event: &str) {
        self.edit("event", event, |event| {
            let pending = event["pending_webhooks"].as_i64().unwrap_or_default();
            event["pending_webhooks"] = (pending - 1).max(0).into();
        });
    }

    pub(super) fn list_events(&self, params: &Params) -> Reply {
        params.allow(&[
            "limit",
            "starting_after",
            "ending_before",
            "type",
            "types.#",
            "created.**",
            "created",
            "delivery_success",
        ])?;
        let (only, types) = (params.some("type")?, params.texts("types"));
        if only.is_some() && !types.is_empty() {
            return Err(Failure::invalid("You may only specify one of these parameters: type, types."));
        }
        let success = params.flag("delivery_success")?;
        let wanted = |event: &Value| {
            let kind = event["type"].as_str().unwrap_or_default();
            let named = |pattern: &str| match pattern.strip_suffix('*') {
                Some(prefix) => kind.starts_with(prefix),
                None => kind == pattern,
            };
            only.is_none_or(named)
                && (types.is_empty() || types.iter().any(|pattern| named(pattern)))
                && success.is_none_or(|success| (event["pending_webhooks"] == 0) == success)
        };
        page(self.all("event"), params, "/v1/events", wanted)
    }

    /// The thin events of an object, the newest first.
    pub(super) fn list_thin_events(&self, params: &Params) -> Reply {
        params.allow(&["limit", "object_id", "types.#", "types"])?;
        let (object, types) = (params.some("object_id")?, params.texts("types"));
        let limit = usize::try_from(params.integer("limit")?.unwrap_or(20)).unwrap_or(20);
        let wanted = |event: &&Value| {
            object.is_none_or(|id| event["related_object"]["id"] == id)
                && (types.is_empty() || types.iter().any(|kind| event["type"] == *kind))
        };
        let found: Vec<&Value> =
            self.all("v2.core.event").iter().rev().filter(wanted).take(limit.min(100)).collect();
        Ok(json!({ "data": found, "next_page_url": null, "previous_page_url": null }))
    }
}

/// The thin events that announce one change of a subscription each.
fn changes(kind: &str, object: &Value, previous: Option<&Value>) -> Vec<String> {
    let mut changes = Vec::new();
    let had = |field: &str| previous.is_some_and(|previous| previous.get(field).is_some());
    if kind.ends_with(".created") || had("status") {
        let status = object["status"].as_str().unwrap_or_default();
        let named = ["active", "incomplete", "incomplete_expired", "past_due", "trialing", "unpaid"];
        changes.extend(named.contains(&status).then(|| status.to_owned()));
    }
    if had("cancel_at") {
        changes.push("cancel_at_changed".to_owned());
    }
    let of_items = |field: &str| -> Vec<String> {
        let entries = |items: &Value| -> Vec<String> {
            let entries = items["data"].as_array().into_iter().flatten();
            entries.map(|item| item.pointer(field).map(Value::to_string).unwrap_or_default()).collect()
        };
        let before = previous.map(|previous| entries(&previous["items"])).unwrap_or_default();
        if before.is_empty() || before == entries(&object["items"]) { Vec::new() } else { before }
    };
    if !of_items("/price/id").is_empty() {
        changes.push("item_price_changed".to_owned());
    }
    if !of_items("/quantity").is_empty() {
        changes.push("item_quantity_changed".to_owned());
    }
    changes
}

pub(super) fn related(object: &Value) -> Option<Value> {
    let (id, kind) = (object["id"].as_str()?, object["object"].as_str()?);
    let path = match kind {
        "checkout.session" => "checkout/sessions".to_owned(),
        "billing_portal.session" => "billing_portal/sessions".to_owned(),
        "test_helpers.test_clock" => "test_helpers/test_clocks".to_owned(),
        "billing.meter" => "billing/meters".to_owned(),
        kind => format!("{kind}s"),
    };
    Some(json!({ "id": id, "type": kind, "url": format!("/v1/{path}/{id}") }))
}

/// A webhook endpoint of the account.
pub(super) fn endpoint(id: &str, url: &str, types: &[String], created: i64) -> Value {
    with_nulls(
        json!({
            "id": id, "object": "webhook_endpoint", "api_version": API_VERSION, "created": created,
            "enabled_events": types, "livemode": false, "metadata": {}, "status": "enabled", "url": url,
        }),
        "application description",
    )
}
