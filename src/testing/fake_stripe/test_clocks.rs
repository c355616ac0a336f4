//! Test clocks: the time of some customers stands still until it is advanced.

use serde_json::{Value, json};

use super::calendar::DAY;
use super::failure::{Failure, Reply};
use super::lists::{PAGING, page};
use super::params::Params;
use super::state::State;

const KIND: &str = "test_helpers.test_clock";

impl State {
    pub(super) fn create_test_clock(&mut self, params: &Params) -> Reply {
        params.allow(&["frozen_time", "name"])?;
        let time = params.integer("frozen_time")?.ok_or_else(|| Failure::missing("frozen_time"))?;
        let id = self.id("clock");
        let created = self.now(None);
        self.insert(json!({
            "id": id, "object": KIND, "created": created, "deletes_after": created + 30 * DAY, "frozen_time": time,
            "livemode": false, "name": params.some("name")?, "status": "ready", "status_details": {},
        }));
        self.emit_of("test_helpers.test_clock.created", KIND, &id);
        self.reply(KIND, &id)
    }

    /// Advances a test clock. The reply has the status `advancing`, as at Stripe; the stored clock is `ready`.
    pub(super) fn advance_test_clock(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&["frozen_time"])?;
        let until = params.integer("frozen_time")?.ok_or_else(|| Failure::missing("frozen_time"))?;
        let now = self.find(KIND, id, "id")?["frozen_time"].as_i64().unwrap_or_default();
        if until <= now {
            return Err(Failure::invalid("A test clock is only advanced forward.").param("frozen_time"));
        }
        let advancing = json!({ "advancing": { "target_frozen_time": until } });
        self.edit(KIND, id, |clock| {
            clock["status"] = "advancing".into();
            clock["status_details"] = advancing;
        });
        let reply = self.copy(KIND, id);
        self.emit("test_helpers.test_clock.advancing", &reply, None);
        self.age(Some(id), until);
        self.edit(KIND, id, |clock| {
            clock["status"] = "ready".into();
            clock["status_details"] = json!({});
        });
        self.emit_of("test_helpers.test_clock.ready", KIND, id);
        Ok(reply)
    }

    /// Deletes a test clock and its customers.
    pub(super) fn delete_test_clock(&mut self, id: &str) -> Reply {
        self.find(KIND, id, "id")?;
        for customer in self.ids("customer", |one| one["test_clock"] == id) {
            self.delete_customer(&customer)?;
        }
        self.emit_of("test_helpers.test_clock.deleted", KIND, id);
        self.remove(KIND, id);
        Ok(json!({ "id": id, "object": KIND, "deleted": true }))
    }

    pub(super) fn list_test_clocks(&self, params: &Params) -> Reply {
        params.allow(&PAGING)?;
        page(self.all(KIND), params, "/v1/test_helpers/test_clocks", |_: &Value| true)
    }
}
