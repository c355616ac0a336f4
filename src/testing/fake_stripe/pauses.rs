//! Subscriptions that are paused and resumed.

use serde_json::json;

use super::failure::{Failure, Reply};
use super::params::Params;
use super::state::State;
use super::subscription_changes::new_period;

impl State {
    pub(super) fn pause_subscription(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&["type", "bill_for.**", "invoicing_behavior"])?;
        if self.find("subscription", id, "id")?["status"] != "active" {
            return Err(Failure::invalid("Only an active subscription can be paused."));
        }
        self.pause(id, "pause_requested");
        self.reply("subscription", id)
    }

    /// Pauses a subscription, for this reason.
    pub(super) fn pause(&mut self, id: &str, reason: &str) {
        let now = self.now_of(&self.copy("subscription", id));
        self.edit_subscription(id, |one| {
            one["status"] = "paused".into();
            one["status_details"] = json!({
                "paused": { "subscription": { "type": reason }, "transitioned_at": now, "type": "subscription" },
            });
        });
        self.emit_of("customer.subscription.paused", "subscription", id);
    }

    pub(super) fn resume_subscription(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&[
            "billing_cycle_anchor",
            "proration_behavior",
            "proration_date",
            "payment_behavior",
        ])?;
        let before = self.find("subscription", id, "id")?.clone();
        if before["status"] != "paused" {
            let message = "Only paused subscriptions can be resumed.";
            return Err(Failure::invalid(message).code("resource_invalid_state"));
        }
        let now = self.now_of(&before);
        let mut after = before;
        new_period(&mut after, now, now);
        let lines = self.period_lines(&after);
        let invoice = self.draft(id, "subscription_update", lines);
        self.edit("invoice", &invoice, |one| one["auto_advance"] = false.into());
        after["latest_invoice"] = invoice.as_str().into();
        self.finalize(&invoice);
        if self.collect(&invoice, None) {
            after["status"] = "active".into();
            if let Some(fields) = after.as_object_mut() {
                fields.remove("status_details");
            }
            self.edit_subscription(id, |one| *one = after);
            self.emit_of("customer.subscription.resumed", "subscription", id);
        } else {
            self.edit_subscription(id, |one| one["latest_invoice"] = invoice.into());
        }
        self.reply("subscription", id)
    }
}
