//! [`State`]: every object of a fake Stripe, its clock, and what waits for delivery.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use super::calendar::HOUR;
use super::failure::{Failure, Reply};
use super::options::{FakeStripeOptions, Fault};
use super::outbox::Outbox;
use crate::clock::{Clock, SystemClock};

/// How a card behaves when it is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Card {
    Pays,
    Declines,
    NeedsAction,
}

/// A planned failure of requests.
#[derive(Debug)]
pub(super) struct PlannedFault {
    pub(super) path: String,
    pub(super) fault: Fault,
    pub(super) left: u32,
}

/// A reply that is stored under an idempotency key.
#[derive(Debug, Clone)]
pub(super) struct StoredReply {
    pub(super) call: String,
    pub(super) status: u16,
    pub(super) body: Value,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) options: FakeStripeOptions,
    /// The base URL of the fake.
    pub(super) url: String,
    tables: BTreeMap<String, Vec<Value>>,
    /// Part of every id, so that ids of two runs differ.
    run: String,
    next: u64,
    /// How far the fake's clock is ahead of the system's, in seconds.
    pub(super) offset: i64,
    /// The time while timers fire.
    pub(super) firing_at: Option<i64>,
    /// The last time at which timers fired. A timer that was set into the past fires no earlier.
    pub(super) aged: i64,
    /// The id and the idempotency key of the request that is being handled.
    pub(super) request: Option<(String, Option<String>)>,
    pub(super) replies: HashMap<String, StoredReply>,
    pub(super) faults: Vec<PlannedFault>,
    pub(super) outbox: Outbox,
    /// The behaviour of each payment method.
    pub(super) cards: HashMap<String, Card>,
    /// The line items of each checkout session, and its parameters that the object does not show.
    pub(super) line_items: HashMap<String, Vec<Value>>,
    pub(super) subscription_data: HashMap<String, Value>,
    /// Invoice lines that wait for the next invoice of a subscription.
    pub(super) pending_lines: HashMap<String, Vec<Value>>,
    /// The payment intent of each invoice.
    pub(super) intents: HashMap<String, String>,
    /// Until when the usage of a metered item is billed.
    pub(super) billed: HashMap<String, i64>,
    /// The subscriptions and trial ends that were announced.
    pub(super) announced: HashSet<(String, i64)>,
    /// Bank debits that settle later: the session, the time, and whether the bank pays.
    pub(super) debits: Vec<(String, i64, bool)>,
}

impl State {
    pub(super) fn new(options: FakeStripeOptions, url: String) -> Self {
        let run = getrandom::u32().unwrap_or_default();
        let outbox = Outbox::new(&options);
        Self {
            options,
            url,
            tables: BTreeMap::new(),
            run: format!("{run:08x}"),
            next: 0,
            offset: 0,
            firing_at: None,
            aged: 0,
            request: None,
            replies: HashMap::new(),
            faults: Vec::new(),
            outbox,
            cards: HashMap::new(),
            line_items: HashMap::new(),
            subscription_data: HashMap::new(),
            pending_lines: HashMap::new(),
            intents: HashMap::new(),
            billed: HashMap::new(),
            announced: HashSet::new(),
            debits: Vec::new(),
        }
    }

    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}_{}{:08}", self.run, self.next)
    }

    /// The time of everything on this test clock, or on none.
    pub(super) fn now(&self, test_clock: Option<&str>) -> i64 {
        match test_clock {
            Some(id) => self
                .find("test_helpers.test_clock", id, "test_clock")
                .ok()
                .and_then(|clock| clock["frozen_time"].as_i64())
                .unwrap_or_default(),
            None => self.firing_at.unwrap_or_else(|| SystemClock.now().seconds() + self.offset),
        }
    }

    /// The time of an object: that of its own test clock, or of its customer's.
    pub(super) fn now_of(&self, object: &Value) -> i64 {
        if object["object"] == "test_helpers.test_clock" {
            return object["frozen_time"].as_i64().unwrap_or_default();
        }
        let customer = || {
            let customer = self.find("customer", object["customer"].as_str()?, "customer").ok()?;
            customer["test_clock"].as_str()
        };
        self.now(object["test_clock"].as_str().or_else(customer))
    }

    /// Stores a new object, and returns its id.
    pub(super) fn insert(&mut self, object: Value) -> String {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        let kind = object["object"].as_str().unwrap_or_default().to_owned();
        self.tables.entry(kind).or_default().push(object);
        id
    }

    /// All objects of a kind, the oldest first.
    pub(super) fn all(&self, kind: &str) -> &[Value] {
        self.tables.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The ids of the objects of a kind that pass the filter.
    pub(super) fn ids(&self, kind: &str, filter: impl Fn(&Value) -> bool) -> Vec<String> {
        let found = self.all(kind).iter().filter(|object| filter(object));
        found.filter_map(|object| object["id"].as_str().map(str::to_owned)).collect()
    }

    pub(super) fn find(&self, kind: &str, id: &str, param: &str) -> Result<&Value, Failure> {
        let mut all = self.all(kind).iter().rev();
        all.find(|object| object["id"] == id).ok_or_else(|| Failure::no_such(kind, id, param))
    }

    /// A copy of an object that exists.
    pub(super) fn copy(&self, kind: &str, id: &str) -> Value {
        self.find(kind, id, "id").cloned().unwrap_or_default()
    }

    /// The object with this id, of whatever kind.
    pub(super) fn any(&self, id: &str) -> Option<&Value> {
        self.tables.values().flatten().find(|object| object["id"] == id)
    }

    pub(super) fn remove(&mut self, kind: &str, id: &str) {
        if let Some(table) = self.tables.get_mut(kind) {
            table.retain(|object| object["id"] != id);
        }
    }

    /// Changes an object, and returns the previous values of what changed.
    pub(super) fn edit(&mut self, kind: &str, id: &str, change: impl FnOnce(&mut Value)) -> Option<Value> {
        let mut table = self.tables.get_mut(kind)?.iter_mut().rev();
        let object = table.find(|object| object["id"] == id)?;
        let before = object.clone();
        change(object);
        previous(&before, object)
    }

    /// As [`edit`](Self::edit), and emits an event if anything changed.
    pub(super) fn edit_and_emit(
        &mut self,
        event: &str,
        kind: &str,
        id: &str,
        change: impl FnOnce(&mut Value),
    ) -> bool {
        let Some(previous) = self.edit(kind, id, change) else { return false };
        let object = self.copy(kind, id);
        self.emit(event, &object, Some(&previous));
        true
    }

    /// Emits an event about an object that exists.
    pub(super) fn emit_of(&mut self, event: &str, kind: &str, id: &str) {
        let object = self.copy(kind, id);
        self.emit(event, &object, None);
    }

    /// Removes idempotency keys that are older than Stripe keeps them: the fake forgets all when it holds many.
    pub(super) fn store_reply(&mut self, key: String, reply: StoredReply) {
        if self.replies.len() > 100_000 {
            self.replies.clear();
        }
        self.replies.insert(key, reply);
    }

    /// The end of an invoice's draft, an hour after its creation.
    pub(super) fn draft_end(created: i64) -> i64 {
        created + HOUR
    }

    /// A copy of an object for a reply.
    pub(super) fn reply(&self, kind: &str, id: &str) -> Reply {
        self.find(kind, id, "id").cloned()
    }
}

/// The previous values of the fields that differ, as in `previous_attributes`: a list is whole, and a field that did
/// not exist is `null`.
fn previous(before: &Value, after: &Value) -> Option<Value> {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        return (before != after).then(|| before.clone());
    };
    let mut changed = Map::new();
    for (key, value) in new {
        let old = old.get(key).unwrap_or(&Value::Null);
        let both = old.is_object() && value.is_object();
        if both {
            changed.extend(previous(old, value).map(|inner| (key.clone(), inner)));
        } else if old != value {
            changed.insert(key.clone(), old.clone());
        }
    }
    for (key, value) in old {
        if !new.contains_key(key) {
            changed.insert(key.clone(), value.clone());
        }
    }
    (!changed.is_empty()).then_some(Value::Object(changed))
}

/// Adds fields that are `null`.
pub(super) fn with_nulls(mut object: Value, names: &str) -> Value {
    if let Some(fields) = object.as_object_mut() {
        for name in names.split_whitespace() {
            fields.entry(name).or_insert(Value::Null);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn previous_attributes_hold_whole_lists_and_null_for_what_is_new() {
        let before = json!({ "a": 1, "items": { "data": [1], "url": "x" }, "metadata": { "gone": "g" } });
        let after = json!({ "a": 1, "items": { "data": [1, 2], "url": "x" }, "metadata": { "new": "n" } });
        let expected = json!({ "items": { "data": [1] }, "metadata": { "gone": "g", "new": null } });
        assert_eq!(previous(&before, &after), Some(expected));
        assert_eq!(previous(&after, &after), None);
    }
}
