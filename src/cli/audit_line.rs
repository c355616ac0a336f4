//! [`AuditLines`]: audit events as lines, for people or as JSON.

use std::sync::Arc;

use serde::Deserialize;

use super::output::printable;
use super::table::{Align, Table};
use crate::audit::{Outcome, Target};
use crate::clock::Timestamp;
use crate::scope::StoredEvent;
use crate::tenant::Tenant;

/// Writes events as lines.
pub(crate) struct AuditLines {
    json: bool,
    table: Table<4>,
    begun: bool,
}

/// What is shown of an event.
#[derive(Deserialize)]
struct Shown {
    actor: serde_json::Value,
    action: String,
    target: Option<Target>,
    outcome: Outcome,
    #[serde(default)]
    details: std::collections::BTreeMap<String, String>,
}

impl AuditLines {
    pub(crate) fn new(json: bool) -> Self {
        let columns = [(20, Align::Left), (20, Align::Left), (24, Align::Left), (24, Align::Left)];
        Self { json, table: Table::new(columns), begun: false }
    }

    pub(crate) fn lines(&mut self, events: &[(Arc<Tenant>, StoredEvent)]) -> Result<String, String> {
        let mut lines = String::new();
        for (tenant, event) in events {
            if self.json {
                lines += event.json();
                lines.push('\n');
                continue;
            }
            if !self.begun {
                self.begun = true;
                lines += &self.table.line([&"time", &"tenant", &"actor", &"action"], "");
            }
            lines += &self.line(tenant, event)?;
        }
        Ok(lines)
    }

    fn line(&self, tenant: &Tenant, event: &StoredEvent) -> Result<String, String> {
        let shown: Shown = serde_json::from_str(event.json()).map_err(|_| {
            format!("the event {} cannot be read; was it written by a newer version?", event.id())
        })?;
        let kind = shown.actor["kind"].as_str().unwrap_or_default();
        let actor = match shown.actor["id"].as_str() {
            Some(id) => format!("{kind} {id}"),
            None => kind.to_owned(),
        };
        let mut rest = Vec::new();
        if shown.outcome != Outcome::Success {
            rest.push(format!("{:?}", shown.outcome).to_lowercase());
        }
        rest.extend(shown.target.map(|Target { kind, id }| format!("{kind} {id}")));
        rest.extend(shown.details.iter().map(|(name, value)| format!("{name}={value}")));
        let (actor, action) = (printable(&actor), printable(&shown.action));
        let rest = printable(&rest.join(", "));
        Ok(self.table.line([&time(event.occurred()), tenant.slug(), &actor, &action], &rest))
    }
}

/// A time to the second, in UTC.
pub(crate) fn time(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.seconds())
        .map_or_else(|_| time.micros().to_string(), |time| time.to_string())
}
