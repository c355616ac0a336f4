//! Billing meters, the usage that is sent to them, and its sums.

use serde_json::{Value, json};

use super::calendar::{DAY, HOUR, rfc3339};
use super::events::related;
use super::failure::{Failure, Reply};
use super::lists::{PAGING, page};
use super::params::Params;
use super::state::State;
use super::subscription_changes::time;

const KIND: &str = "billing.meter";
/// How far back and ahead usage may be dated.
const BACK: i64 = 35 * DAY;
const AHEAD: i64 = 300;

impl State {
    pub(super) fn create_meter(&mut self, params: &Params) -> Reply {
        params.allow(&[
            "display_name",
            "event_name",
            "default_aggregation.formula",
            "customer_mapping.event_payload_key",
            "customer_mapping.type",
            "value_settings.event_payload_key",
            "event_time_window",
        ])?;
        let name = params.required("event_name")?.to_owned();
        let title = params.required("display_name")?;
        let formula = params.part("default_aggregation").one_of("formula", &["count", "last", "sum"])?;
        let formula = formula.ok_or_else(|| Failure::missing("default_aggregation[formula]"))?;
        if self.meter_named(&name).is_some() {
            let message = format!("A meter already exists with the event name {name}.");
            return Err(Failure::invalid(message).code("resource_already_exists").param("event_name"));
        }
        let now = self.now(None);
        let (customer, value) = (params.part("customer_mapping"), params.part("value_settings"));
        let id = self.id("mtr");
        self.insert(json!({
            "id": id, "object": KIND, "created": now, "default_aggregation": { "formula": formula },
            "customer_mapping": {
                "event_payload_key": customer.some("event_payload_key")?.unwrap_or("stripe_customer_id"),
                "type": "by_id",
            },
            "display_name": title, "event_name": name, "event_time_window": params.some("event_time_window")?,
            "livemode": false, "status": "active", "status_transitions": { "deactivated_at": null }, "updated": now,
            "value_settings": { "event_payload_key": value.some("event_payload_key")?.unwrap_or("value") },
        }));
        self.emit_of("billing.meter.created", KIND, &id);
        self.reply(KIND, &id)
    }

    pub(super) fn list_meters(&self, params: &Params) -> Reply {
        let patterns: Vec<&str> = PAGING.into_iter().chain(["status"]).collect();
        params.allow(&patterns)?;
        let status = params.some("status")?;
        page(self.all(KIND), params, "/v1/billing/meters", |one| {
            status.is_none_or(|status| one["status"] == status)
        })
    }

    pub(super) fn set_meter_status(&mut self, id: &str, status: &str) -> Reply {
        self.find(KIND, id, "id")?;
        let now = self.now(None);
        let event =
            if status == "active" { "billing.meter.reactivated" } else { "billing.meter.deactivated" };
        self.edit_and_emit(event, KIND, id, |meter| {
            meter["status"] = status.into();
            meter["updated"] = now.into();
            meter["status_transitions"]["deactivated_at"] =
                if status == "active" { Value::Null } else { now.into() };
        });
        self.reply(KIND, id)
    }

    /// Accepts usage. What only the later validation of Stripe finds becomes a thin event.
    pub(super) fn create_meter_event(&mut self, params: &Params) -> Reply {
        params.allow(&["event_name", "payload.**", "identifier", "timestamp"])?;
        let name = params.required("event_name")?.to_owned();
        let payload = params.pairs("payload");
        if payload.is_empty() {
            return Err(Failure::missing("payload"));
        }
        let read = |key: &str| payload.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let meter = self.meter_named(&name).cloned();
        let key = |of: &str| {
            let set =
                meter.as_ref().and_then(|meter| meter[of]["event_payload_key"].as_str()).map(str::to_owned);
            set.unwrap_or_else(|| {
                if of == "value_settings" { "value" } else { "stripe_customer_id" }.to_owned()
            })
        };
        let customer = read(&key("customer_mapping"));
        let now = customer.map_or_else(|| self.now(None), |id| self.now_of(&json!({ "customer": id })));
        let timestamp = params.integer("timestamp")?.unwrap_or(now);
        if timestamp < now - BACK {
            let message = "The timestamp must be within the past 35 calendar days.";
            return Err(Failure::invalid(message).code("timestamp_too_far_in_past").param("timestamp"));
        }
        if timestamp > now + AHEAD {
            let message = "The timestamp must not be more than 5 minutes in the future.";
            return Err(Failure::invalid(message).code("timestamp_in_future").param("timestamp"));
        }
        let identifier = match params.some("identifier")? {
            Some(identifier) if identifier.chars().count() > 100 => {
                return Err(Failure::invalid("Invalid string: identifier has at most 100 characters.")
                    .param("identifier"));
            }
            Some(identifier) => identifier.to_owned(),
            None => self.id("identifier"),
        };
        if self.all("billing.meter_event").iter().any(|event| event["identifier"] == identifier) {
            let message = format!("An event already exists with identifier {identifier}.");
            return Err(Failure::invalid(message).param("identifier"));
        }
        let value = read(&key("value_settings"));
        let number = value.and_then(|value| value.parse::<i64>().ok());
        let counts = meter.as_ref().is_some_and(|meter| meter["default_aggregation"]["formula"] == "count");
        if meter.is_some() && number.is_none() && !counts {
            let message = format!("The payload has no whole number under the key {}.", key("value_settings"));
            return Err(Failure::invalid(message).code("meter_event_invalid_value").param("payload"));
        }
        let known = customer.is_some_and(|id| self.customer(id, "payload").is_ok());
        let fault = match &meter {
            None => Some(("no_meter", format!("No meter was found for the event name {name}."))),
            Some(meter) if meter["status"] != "active" => {
                Some(("archived_meter", "The meter is archived.".to_owned()))
            }
            Some(_) if customer.is_none() => {
                Some(("meter_event_no_customer_defined", "The payload names no customer.".to_owned()))
            }
            Some(_) if !known => Some((
                "meter_event_customer_not_found",
                format!("No customer has the id {}.", customer.unwrap_or_default()),
            )),
            Some(_) => None,
        };
        let payload: Value =
            payload.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        let event = json!({
            "object": "billing.meter_event", "created": now, "event_name": name, "identifier": identifier,
            "livemode": false, "payload": payload, "timestamp": timestamp,
        });
        // Beside the object: what it counts for.
        let mut stored = event.clone();
        stored["fake"] = json!({
            "meter": meter.as_ref().map(|meter| meter["id"].clone()), "customer": customer, "value": number,
            "counts": fault.is_none(),
        });
        self.insert(stored);
        if let Some((code, message)) = fault {
            self.report_usage_error(meter.as_ref(), code, &message, &identifier, now);
        }
        Ok(event)
    }

    fn report_usage_error(
        &mut self,
        meter: Option<&Value>,
        code: &str,
        message: &str,
        identifier: &str,
        now: i64,
    ) {
        let data = json!({
            "developer_message_summary": format!("There is 1 invalid event: {message}"),
            "validation_start": rfc3339(now), "validation_end": rfc3339(now + 10),
            "reason": {
                "error_count": 1,
                "error_types": [{
                    "code": code, "error_count": 1,
                    "sample_errors": [{ "error_message": message, "request": { "identifier": identifier } }],
                }],
            },
        });
        let related = meter.and_then(related);
        let kind = if related.is_some() { "error_report_triggered" } else { "no_meter_found" };
        self.emit_thin(&format!("v1.billing.meter.{kind}"), now, related.as_ref(), None, Some(data));
    }

    pub(super) fn usage_summaries(&self, id: &str, params: &Params) -> Reply {
        let more = ["customer", "start_time", "end_time", "value_grouping_window"];
        params.allow(&PAGING.into_iter().chain(more).collect::<Vec<_>>())?;
        self.find(KIND, id, "id")?;
        let customer = params.required("customer")?;
        self.customer(customer, "customer")?;
        let bound = |key: &str| params.integer(key)?.ok_or_else(|| Failure::missing(key));
        let (start, end) = (bound("start_time")?, bound("end_time")?);
        let window = params.one_of("value_grouping_window", &["day", "hour"])?;
        let (unit, name) = match window {
            Some("day") => (DAY, "the start of a day in UTC"),
            Some(_) => (HOUR, "the start of an hour"),
            None => (60, "a whole minute"),
        };
        for (key, time) in [("start_time", start), ("end_time", end)] {
            if time % unit != 0 {
                return Err(Failure::invalid(format!("The {key} must be {name}.")).param(key));
            }
        }
        if end <= start {
            return Err(Failure::invalid("The end_time must be after the start_time.").param("end_time"));
        }
        let step = if window.is_some() { unit } else { end - start };
        let mut summaries = Vec::new();
        let mut from = start;
        while from < end {
            let to = from + step;
            if let Some(value) = self.aggregate(id, customer, from, to) {
                summaries.push(json!({
                    "id": format!("mtrusg_{id}_{from}_{to}"), "object": "billing.meter_event_summary",
                    "aggregated_value": value, "start_time": from, "end_time": to, "livemode": false, "meter": id,
                }));
            }
            from = to;
        }
        page(&summaries, params, &format!("/v1/billing/meters/{id}/event_summaries"), |_| true)
    }

    /// The usage of a customer from one time to before another; `None` without any.
    fn aggregate(&self, meter: &str, customer: &str, from: i64, to: i64) -> Option<i64> {
        let formula = self.copy(KIND, meter)["default_aggregation"]["formula"].clone();
        let mut counted: Vec<&Value> = self
            .all("billing.meter_event")
            .iter()
            .filter(|event| {
                let fake = &event["fake"];
                fake["counts"] == true
                    && fake["meter"] == meter
                    && fake["customer"] == customer
                    && (from..to).contains(&time(event, "timestamp"))
            })
            .collect();
        counted.sort_by_key(|event| time(event, "timestamp"));
        let mut values = counted.iter().map(|event| time(&event["fake"], "value"));
        match formula.as_str() {
            _ if counted.is_empty() => None,
            Some("count") => i64::try_from(counted.len()).ok(),
            Some("last") => values.next_back(),
            _ => Some(values.sum()),
        }
    }

    /// The usage of a metered item that no invoice has, up to a time.
    pub(super) fn usage(
        &mut self,
        meter: &str,
        customer: &Value,
        (start, end): (i64, i64),
        item: &Value,
    ) -> i64 {
        let item = item.as_str().unwrap_or_default().to_owned();
        let from = self.billed.insert(item, end).unwrap_or(start);
        self.aggregate(meter, customer.as_str().unwrap_or_default(), from, end).unwrap_or_default()
    }

    fn meter_named(&self, name: &str) -> Option<&Value> {
        self.all(KIND).iter().find(|meter| meter["event_name"] == name)
    }
}
