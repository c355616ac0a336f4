//! The items of subscriptions, by their own ids.

use serde_json::{Value, json};

use super::failure::{Failure, Reply};
use super::lists::page;
use super::params::Params;
use super::state::State;
use super::subscriptions::items;

impl State {
    pub(super) fn create_item(&mut self, params: &Params) -> Reply {
        params.allow(&[
            "subscription",
            "price",
            "quantity",
            "metadata.**",
            "proration_behavior",
            "payment_behavior",
        ])?;
        let subscription = params.required("subscription")?.to_owned();
        let before: Vec<Value> = items(self.find("subscription", &subscription, "subscription")?).to_vec();
        let change = params.as_item(None);
        let after = self.update_subscription(&subscription, &change)?;
        let new = items(&after).iter().find(|item| before.iter().all(|old| old["id"] != item["id"]));
        Ok(new.cloned().unwrap_or_default())
    }

    pub(super) fn update_item(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&["price", "quantity", "metadata.**", "proration_behavior", "payment_behavior"])?;
        let subscription = self.subscription_of_item(id)?;
        self.update_subscription(&subscription, &params.as_item(Some(id)))?;
        self.item(id)
    }

    pub(super) fn delete_item(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&["proration_behavior", "clear_usage"])?;
        let subscription = self.subscription_of_item(id)?;
        let mut change = vec![("deleted", "true")];
        change.extend(params.some("proration_behavior")?.map(|value| ("proration_behavior", value)));
        self.update_subscription(&subscription, &Params::of(&change).as_item(Some(id)))?;
        Ok(json!({ "id": id, "object": "subscription_item", "deleted": true }))
    }

    pub(super) fn item(&self, id: &str) -> Reply {
        let all = self.all("subscription").iter().flat_map(items);
        let found = all.into_iter().find(|item| item["id"] == id);
        found.cloned().ok_or_else(|| Failure::no_such("subscription_item", id, "id"))
    }

    pub(super) fn list_items(&self, params: &Params) -> Reply {
        params.allow(&["subscription", "limit", "starting_after", "ending_before"])?;
        let of = params.required("subscription")?;
        // In their order in the subscription.
        let reversed: Vec<Value> =
            items(self.find("subscription", of, "subscription")?).iter().rev().cloned().collect();
        page(&reversed, params, "/v1/subscription_items", |_| true)
    }

    fn subscription_of_item(&self, id: &str) -> Result<String, Failure> {
        Ok(self.item(id)?["subscription"].as_str().unwrap_or_default().to_owned())
    }
}
