//! `tenancy stripe quarantine`: lists, replays and discards the events that could not be applied.

use std::process::ExitCode;

use serde::Serialize;

use super::audit_line::time;
use super::confirm::confirm;
use super::output::{json, note, printable, show, text};
use super::stripe_options::{Discard, Replay};
use super::table::{Align, Table};
use crate::billing::stripe::StripeWebhook;
use crate::billing::{BillingStore, EventOutcome, Quarantined};
use crate::clock::Timestamp;
use crate::tenant::{Slug, Tenant, TenantId};

/// How many events `--all` replays at most.
const ALL: u16 = 10_000;

/// An event of the quarantine, without its body.
#[derive(Serialize)]
struct Listed<'a> {
    event: &'a str,
    account: Option<&'a str>,
    #[serde(rename = "type")]
    kind: Option<String>,
    customer: Option<&'a str>,
    subscription: Option<&'a str>,
    /// The tenant whose live subscription keeps the event in the quarantine.
    tenant: Option<&'a TenantId>,
    reason: &'a str,
    created_us: Timestamp,
    received_us: Timestamp,
    /// The event as it was received, if it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl<'a> Listed<'a> {
    fn of(event: &'a Quarantined) -> Self {
        let read: Option<serde_json::Value> = serde_json::from_slice(&event.raw).ok();
        Self {
            event: &event.event,
            account: event.account.as_deref(),
            kind: read.and_then(|event| event["type"].as_str().map(printable)),
            customer: event.customer.as_deref(),
            subscription: event.subscription.as_deref(),
            tenant: event.tenant.as_ref(),
            reason: &event.reason,
            created_us: event.created,
            received_us: event.received,
            body: None,
        }
    }
}

pub(crate) async fn list(store: &dyn BillingStore, limit: u16, as_json: bool) -> Result<ExitCode, String> {
    let events = read(store, limit).await?;
    if as_json {
        show(&events.iter().map(|event| json(&Listed::of(event))).collect::<String>())?;
    } else {
        show(&lines(&events))?;
    }
    if events.len() == usize::from(limit) {
        note("there can be more events; `--limit` lists more of them");
    }
    Ok(ExitCode::SUCCESS)
}

async fn read(store: &dyn BillingStore, limit: u16) -> Result<Vec<Quarantined>, String> {
    let events = async { store.begin().await?.quarantined(limit).await }.await;
    events.map_err(|e| format!("the quarantine cannot be read: {}", text(&e)))
}

fn lines(events: &[Quarantined]) -> String {
    let columns = [(20, Align::Left), (30, Align::Left), (32, Align::Left), (20, Align::Left)];
    let table = Table::new(columns);
    let mut lines = String::new();
    if !events.is_empty() {
        lines += &table.line([&"received", &"event", &"type", &"customer"], "reason");
    }
    for event in events {
        let listed = Listed::of(event);
        let id = match listed.account {
            Some(account) => printable(&format!("{} of {account}", listed.event)),
            None => printable(listed.event),
        };
        let kind = listed.kind.as_deref().unwrap_or("not an event");
        let customer = printable(listed.customer.unwrap_or("-"));
        lines += &table.line([&time(event.received), &id, &kind, &customer], &printable(listed.reason));
    }
    let count = if events.len() == 1 { "1 event".to_owned() } else { format!("{} events", events.len()) };
    lines + &count + "\n"
}

/// What became of an event.
#[derive(Serialize)]
struct Replayed<'a> {
    event: &'a str,
    account: Option<&'a str>,
    outcome: &'a str,
    tenant: Option<&'a TenantId>,
    slug: Option<&'a Slug>,
    plan: Option<&'a str>,
    status: Option<&'a str>,
    reason: Option<&'a str>,
    error: Option<String>,
}

pub(crate) async fn replay(options: &Replay, webhook: StripeWebhook) -> Result<ExitCode, String> {
    let mut events: Vec<(String, Option<String>)> =
        options.events.iter().map(|event| (event.clone(), options.account.clone())).collect();
    if options.all {
        let all = webhook.quarantined(ALL).await;
        let all = all.map_err(|e| format!("the quarantine cannot be read: {}", text(&e)))?;
        events = all.into_iter().map(|event| (event.event, event.account)).collect();
    }
    let (mut stays, mut failed) = (0, 0);
    for (event, account) in &events {
        let account = account.as_deref();
        let outcome = webhook.replay(event, account).await;
        let mut line = Replayed {
            event,
            account,
            outcome: "failed",
            tenant: None,
            slug: None,
            plan: None,
            status: None,
            reason: None,
            error: None,
        };
        match &outcome {
            Ok(Some(outcome)) => {
                line.outcome = outcome.as_str();
                if let EventOutcome::Applied { tenant } = outcome {
                    let tenant: &Tenant = tenant;
                    (line.tenant, line.slug) = (Some(tenant.id()), Some(tenant.slug()));
                    (line.plan, line.status) = (Some(tenant.plan()), Some(tenant.status().as_str()));
                }
                if let EventOutcome::Ignored { reason } | EventOutcome::Quarantined { reason } = outcome {
                    line.reason = Some(reason);
                    stays += 1;
                }
            }
            // An event before it was applied with this one.
            Ok(None) if options.all => line.outcome = "applied-with-another",
            Ok(None) => {
                failed += 1;
                line.error = Some("the quarantine has no such event".to_owned());
            }
            Err(error) => {
                failed += 1;
                line.error = Some(text(error));
            }
        }
        show(&if options.control.json { json(&line) } else { line.text() })?;
    }
    if !options.control.json {
        let all = events.len();
        show(&format!("{all} replayed: {stays} stay in the quarantine, {failed} failed\n"))?;
    }
    Ok(ExitCode::from(match (failed, stays) {
        (0, 0) => 0,
        (0, _) => 1,
        _ => 2,
    }))
}

impl Replayed<'_> {
    fn text(&self) -> String {
        let tenant = match (self.slug, self.plan, self.status) {
            (Some(slug), Some(plan), Some(status)) => format!(", {slug} is on {}, {status}", printable(plan)),
            _ => String::new(),
        };
        let why = self.reason.or(self.error.as_deref()).map(|why| format!(": {why}"));
        format!("{}: {}{tenant}{}\n", printable(self.event), self.outcome, why.unwrap_or_default())
    }
}

pub(crate) async fn discard(options: &Discard, store: &dyn BillingStore) -> Result<ExitCode, String> {
    let count = options.events.len();
    let events = if count == 1 { "1 event".to_owned() } else { format!("{count} events") };
    confirm(&format!("Remove {events} from the quarantine, without applying them?"), options.yes)?;
    let mut missing = 0;
    for event in &options.events {
        let account = options.account.as_deref();
        let taken = async {
            let mut tx = store.begin().await?;
            let taken = tx.take_event(event, account).await?;
            tx.commit().await.map(|()| taken)
        };
        let taken = taken.await.map_err(|e| format!("{}: {}", printable(event), text(&e)))?;
        match taken {
            Some(taken) if options.control.json => {
                let body = Some(String::from_utf8_lossy(&taken.raw).into_owned());
                show(&json(&Listed { body, ..Listed::of(&taken) }))?;
            }
            Some(taken) => {
                let (event, reason) = (printable(&taken.event), printable(&taken.reason));
                show(&format!("{event}: discarded; it was in the quarantine because: {reason}\n"))?;
            }
            None => {
                missing += 1;
                note(&format!("{}: the quarantine has no such event", printable(event)));
            }
        }
    }
    Ok(ExitCode::from(if missing > 0 { 2 } else { 0 }))
}
