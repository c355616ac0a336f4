//! Fixture: Stripe's API as a list of objects that the test writes, and the requests that were sent.
#![allow(unreachable_pub, reason = "as in the other fixtures")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use tenancy::billing::stripe::{ApiMethod, ApiRequest, StripeApi};
use tenancy::{Error, ErrorKind, Result};

type Reply = Box<dyn FnOnce(&ApiRequest) -> Option<Result<Value>> + Send>;

/// Objects by path. `GET` of an unknown path is `resource_missing`; a list contains the objects whose path begins with it.
#[derive(Default, Clone)]
pub struct ScriptedApi {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    sent: Arc<Mutex<Vec<ApiRequest>>>,
    /// Replies that are used once, in this order, before the objects.
    replies: Arc<Mutex<Vec<Reply>>>,
}

impl std::fmt::Debug for ScriptedApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedApi").finish_non_exhaustive()
    }
}

impl ScriptedApi {
    pub fn put(&self, path: &str, object: &Value) {
        self.objects.lock().unwrap().insert(path.to_owned(), object.clone());
    }

    pub fn subscription(&self, object: &Value) {
        let mut object = object.clone();
        object["livemode"] = json!(false);
        self.put(&format!("/v1/subscriptions/{}", object["id"].as_str().unwrap()), &object);
    }

    /// Replies to the next request, unless the closure returns `None`.
    pub fn next(&self, reply: impl FnOnce(&ApiRequest) -> Option<Result<Value>> + Send + 'static) {
        self.replies.lock().unwrap().push(Box::new(reply));
    }

    pub fn forget_replies(&self) {
        self.replies.lock().unwrap().clear();
    }

    pub fn sent(&self) -> Vec<ApiRequest> {
        self.sent.lock().unwrap().clone()
    }

    /// The paths of the requests since the last call.
    pub fn take_paths(&self) -> Vec<String> {
        let sent = std::mem::take(&mut *self.sent.lock().unwrap());
        sent.iter().map(|request| format!("{:?} {}", request.method, request.path)).collect()
    }
}

pub fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "resource_missing")
}

pub fn down() -> Error {
    Error::new(ErrorKind::BillingUnavailable, "down")
}

#[async_trait]
impl StripeApi for ScriptedApi {
    async fn send(&self, request: &ApiRequest) -> Result<Value> {
        self.sent.lock().unwrap().push(request.clone());
        let reply = {
            let mut replies = self.replies.lock().unwrap();
            (!replies.is_empty()).then(|| replies.remove(0))
        };
        if let Some(reply) = reply.and_then(|reply| reply(request)) {
            return reply;
        }
        let objects = self.objects.lock().unwrap();
        if let Some(object) = objects.get(&request.path) {
            return Ok(object.clone());
        }
        let prefix = format!("{}/", request.path);
        let is_list = ["/v1/subscriptions", "/v1/events", "/v1/prices"].contains(&request.path.as_str());
        if request.method == ApiMethod::Get && is_list {
            let customer = &request.parameters["customer"];
            let mut of_list: Vec<Value> = objects
                .iter()
                .filter(|(path, object)| {
                    path.starts_with(&prefix) && (customer.is_null() || object["customer"] == *customer)
                })
                .map(|(_, object)| object.clone())
                .collect();
            let created = &request.parameters["created"];
            of_list.retain(|object| {
                let at = object["created"].as_i64().unwrap_or_default();
                created["gte"].as_i64().is_none_or(|from| from <= at)
                    && created["lt"].as_i64().is_none_or(|to| at < to)
            });
            if request.path == "/v1/events" {
                // The newest first, as Stripe does.
                of_list.sort_by_key(|event| std::cmp::Reverse(event["created"].as_i64()));
            }
            if request.path == "/v1/prices" {
                let key = &request.parameters["lookup_keys"][0];
                of_list.retain(|price| price["lookup_key"] == *key);
            }
            // Pages of two objects, so that every list has several.
            let start = match request.parameters["starting_after"].as_str() {
                Some(last) => of_list.iter().position(|object| object["id"] == last).unwrap() + 1,
                None => 0,
            };
            let page: Vec<Value> = of_list.iter().skip(start).take(2).cloned().collect();
            return Ok(
                json!({ "object": "list", "has_more": start + page.len() < of_list.len(), "data": page }),
            );
        }
        Err(missing())
    }
}
