//! Webhook endpoints, which the API creates as well as the test.

use serde_json::json;

use super::events::{API_VERSION, endpoint};
use super::failure::{Failure, Reply};
use super::lists::{PAGING, page};
use super::outbox::Destination;
use super::params::Params;
use super::state::State;

impl State {
    /// Adds a destination for snapshot events or for thin events.
    pub(super) fn add_destination(
        &mut self,
        url: &str,
        secret: &str,
        thin: bool,
        types: &[String],
    ) -> Destination {
        let id = self.id(if thin { "ed" } else { "we" });
        let destination = Destination {
            id: id.clone(),
            url: url.to_owned(),
            secret: secret.to_owned(),
            thin,
            types: types.to_vec(),
        };
        if !thin {
            let object = endpoint(&id, url, types, self.now(None));
            self.insert(object);
        }
        self.outbox.destinations.push(destination.clone());
        self.outbox.unserved.push(destination.clone());
        destination
    }

    pub(super) fn create_endpoint(&mut self, params: &Params) -> Reply {
        params.allow(&["url", "enabled_events.#", "api_version", "description", "metadata.**", "connect"])?;
        let url = params.url("url")?.ok_or_else(|| Failure::missing("url"))?.to_owned();
        if params.some("api_version")?.is_some_and(|version| version != API_VERSION) {
            let message = format!("The fake writes its objects in API version {API_VERSION} only.");
            return Err(Failure::invalid(message).param("api_version"));
        }
        let types: Vec<String> = params.texts("enabled_events").into_iter().map(str::to_owned).collect();
        if types.is_empty() {
            return Err(Failure::missing("enabled_events"));
        }
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|_| Failure::invalid("The system has no random numbers."))?;
        let secret = format!("whsec_{:032x}", u128::from_be_bytes(secret));
        let destination = self.add_destination(&url, &secret, false, &types);
        let mut described = json!({});
        params.write_texts(&mut described, &["description"])?;
        params.write_metadata(&mut described)?;
        self.edit("webhook_endpoint", &destination.id, |one| {
            one["description"] = described["description"].clone();
            one["metadata"] = described["metadata"].clone();
        });
        let mut reply = self.copy("webhook_endpoint", &destination.id);
        reply["secret"] = secret.into();
        Ok(reply)
    }

    pub(super) fn list_endpoints(&self, params: &Params) -> Reply {
        params.allow(&PAGING)?;
        page(self.all("webhook_endpoint"), params, "/v1/webhook_endpoints", |_| true)
    }

    pub(super) fn delete_endpoint(&mut self, id: &str) -> Reply {
        self.find("webhook_endpoint", id, "id")?;
        self.remove("webhook_endpoint", id);
        self.outbox.forget(id);
        Ok(json!({ "id": id, "object": "webhook_endpoint", "deleted": true }))
    }
}
