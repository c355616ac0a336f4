//! `tenancy stripe reconcile`: compares the subscriptions with Stripe, and repairs what differs.

use std::process::ExitCode;
use std::sync::Arc;

use super::embedded::Embedded;
use super::output::{json, printable, show, text};
use super::stripe_client::client;
use super::stripe_options::Reconcile;
use crate::billing::stripe::{Reconciliation, StripeBilling};
use crate::placement::Provision;
use crate::store::SqlStore;
use crate::tenant::TenantStore;

/// Stripe sends nobody back from a command, so the origin is never used.
const ORIGIN: &str = "https://localhost";

pub(crate) async fn reconcile<DB: Provision>(
    options: &Reconcile,
    store: &Arc<SqlStore<DB>>,
    embedded: Embedded,
) -> Result<ExitCode, String> {
    let (api, mode) = client()?;
    let webhook = options.settings.webhook(mode, store, embedded)?;
    let billing = StripeBilling::new(webhook, api, [ORIGIN]).map_err(|e| text(&e))?;
    let found = billing.reconcile().await;
    let found = found.map_err(|e| format!("{}; what was repaired stays, run the command again", text(&e)))?;
    if options.control.json {
        show(&json(&serde_json::json!({
            "events": found.events,
            "missed_events": found.missed_events,
            "quarantined": found.quarantined,
            "subscriptions": found.subscriptions,
            "changed": found.changed,
            "unknown": found.unknown,
            "missing": found.missing.iter().map(|sub| (sub.id(), sub.tenant())).collect::<Vec<_>>(),
            "failed": found.failed,
        })))?;
    } else {
        show(&lines(&found, store).await?)?;
    }
    let Reconciliation { quarantined, unknown, missing, failed, .. } = &found;
    let is_left = *quarantined > 0 || !unknown.is_empty() || !missing.is_empty() || !failed.is_empty();
    Ok(ExitCode::from(u8::from(is_left)))
}

async fn lines<DB: Provision>(found: &Reconciliation, store: &SqlStore<DB>) -> Result<String, String> {
    let mut lines = Vec::new();
    for id in &found.changed {
        let tenant = store.by_id(id).await.map_err(|e| text(&e))?;
        lines.extend(tenant.map(|tenant| {
            let plan = printable(tenant.plan());
            format!("{}: changed, it is on {plan}, {}\n", tenant.slug(), tenant.status())
        }));
    }
    for subscription in &found.unknown {
        lines.push(format!("{}: no tenant is known for this subscription\n", printable(subscription)));
    }
    for subscription in &found.missing {
        let (id, tenant) = (printable(subscription.id()), subscription.tenant());
        lines.push(format!(
            "{id}: Stripe does not have this subscription, and the tenant {tenant} keeps it\n"
        ));
    }
    for id in &found.failed {
        lines.push(format!("{}: it could not be used; the log has the error\n", printable(id)));
    }
    let Reconciliation { events, missed_events, quarantined, subscriptions, .. } = found;
    lines.push(format!(
        "{events} events of 30 days: {missed_events} were missed, {quarantined} quarantined\n\
         {subscriptions} subscriptions: {} tenants changed\n",
        found.changed.len()
    ));
    Ok(lines.concat())
}
