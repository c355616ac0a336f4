//! What the tenants use: the quotas of the plans, the export that reserves its cost, and the numbers for the page.

use std::sync::Arc;
use std::time::Duration;

use futures_util::lock::Mutex;
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tenancy::audit::AuditEvent;
use tenancy::clock::{Clock, ManualClock, SystemClock, Timestamp};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::{Catalog, Flag};
use tenancy::quota::meter::Meter;
use tenancy::quota::{Concurrency, Quota, Quotas, Rate, UsageSnapshot};
use tenancy::tenant::TenantId;
use tenancy::web::PlanRules;
use tenancy::{Result, TenantContext, TenantScoped};

use crate::model::{ORDERS, Order, PROJECTS, SEATS};
use crate::{App, AppDb};

const EXPORT: Flag = Flag::new("export");
const REQUESTS: Rate = Rate::new("requests");
const API_CALLS: Quota = Quota::new("api_calls");
const EXPORTED_ROWS: Quota = Quota::new("exported_rows");
const EXPORTS: Concurrency = Concurrency::new("exports");

/// The plans. A key of the program that the file lacks stops the program here.
pub(crate) fn catalog() -> Result<Catalog> {
    Catalog::from_toml(include_str!("../catalog.toml"))?.require(&[
        &EXPORT,
        &REQUESTS,
        &API_CALLS,
        &EXPORTED_ROWS,
        &EXPORTS,
        &PROJECTS,
        &ORDERS,
        &SEATS,
    ])
}

impl<DB: AppDb> App<DB> {
    /// How fast changes may come, and what each costs. Only requests with a token are counted: an unauthenticated
    /// visitor must not use up what a tenant has.
    pub fn rules_for_changes(&self) -> PlanRules {
        PlanRules::new().limit_rate(&self.rates, REQUESTS).charge(&self.quotas, API_CALLS, 1)
    }

    /// Streams all orders as CSV. The rows are read a page at a time while the response is sent.
    ///
    /// How many rows it sends is known at the end. So it reserves as many as the tenant has, and commits what was sent, also
    /// if the client disconnects.
    ///
    /// # Errors
    /// [`FeatureNotInPlan`](tenancy::ErrorKind::FeatureNotInPlan), which is written to the audit log;
    /// [`QuotaExceeded`](tenancy::ErrorKind::QuotaExceeded),
    /// [`ConcurrencyLimit`](tenancy::ErrorKind::ConcurrencyLimit).
    pub async fn export_orders(
        &self,
        ctx: TenantContext,
    ) -> Result<impl Stream<Item = Result<String>> + Send + use<DB>> {
        if let Err(rejection) = EXPORT.require(ctx.entitlements()) {
            self.denied(AuditEvent::new(&ctx, "order.export"), &rejection).await;
            return Err(rejection);
        }
        let place = self.quotas.acquire(&ctx, EXPORTS).await?;
        let rows = ORDERS.usage(&self.db.scope(&ctx)).await?.used;
        let reserved = self.quotas.reserve(&ctx, EXPORTED_ROWS, rows.max(1), Duration::from_mins(2)).await?;
        let reserved = Arc::new(Mutex::new(reserved));
        let orders = self.db.stream(ctx, |scope| Order::select().stream(scope));
        let header = stream::once(async { Ok("id,project_id,title,amount_cents,status\n".to_owned()) });
        let counted = reserved.clone();
        let lines = orders.enumerate().map(move |(sent, order)| {
            let order = order?;
            // Nothing else holds the lock while rows are sent.
            if let Some(mut counted) = counted.try_lock() {
                counted.used_so_far(sent as u64 + 1);
            }
            Ok(csv_line(&order))
        });
        let end = stream::once(async move {
            let mut reserved = reserved.lock().await;
            let sent = reserved.used();
            reserved.commit(sent).await?;
            place.release().await.map(|()| String::new())
        });
        Ok(header.chain(lines).chain(end))
    }

    /// Returns what the plan allows, what is used now, and what was used in earlier months.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn usage(&self, ctx: &TenantContext) -> Result<Value> {
        let scope = self.db.scope(ctx);
        let mut gauges = Vec::new();
        for gauge in [PROJECTS, ORDERS, SEATS] {
            let usage = gauge.usage(&scope).await?;
            gauges.push(json!({ "feature": gauge.feature(), "used": usage.used, "limit": usage.limit }));
        }
        let snapshot = self.quotas.snapshot(ctx).await?;
        let quotas: Vec<_> = snapshot.features.iter().filter(|one| one.used.is_some()).collect();
        let months = self.quotas.counters(ctx, Some(API_CALLS.feature()), 12).await?;
        let history: Vec<_> = months
            .iter()
            .rev()
            .map(|month| json!({ "period": month.key.period, "used": month.used }))
            .collect();
        Ok(json!({ "gauges": gauges, "quotas": quotas, "history": history }))
    }

    /// Returns every feature with its value and its usage, for the response with an `ETag`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn entitlements(&self, ctx: &TenantContext) -> Result<UsageSnapshot> {
        let (mut snapshot, scope) = (self.quotas.snapshot(ctx).await?, self.db.scope(ctx));
        for gauge in [PROJECTS, ORDERS, SEATS] {
            snapshot = snapshot.with_used(gauge.feature(), gauge.usage(&scope).await?.used);
        }
        Ok(snapshot)
    }
}

/// Gives the demo a past: the changes of the last five months, each charged as if it were that month.
pub(crate) async fn seed_history(
    meter: Arc<dyn Meter>,
    directory: &TenantDirectory,
    tenant: &TenantId,
) -> Result<()> {
    let ctx = directory.context(tenant, Actor::system("demo")).await?;
    if !Quotas::new(meter.clone()).counters(&ctx, Some(API_CALLS.feature()), 1).await?.is_empty() {
        return Ok(());
    }
    let snapshot = Quotas::new(meter.clone()).snapshot(&ctx).await?;
    let calls = snapshot.features.iter().find(|one| one.key == API_CALLS.feature());
    let Some(month_ends) = calls.and_then(|one| one.resets_at) else { return Ok(()) };
    for (months_ago, used) in [(5, 210), (4, 340), (3, 290), (2, 480), (1, 610), (0, 35)] {
        // The middle of a month, because months have different lengths.
        let middle = month_ends.seconds() - (2 * months_ago + 1) * 365 * 86_400 / 24;
        let then = if months_ago == 0 { SystemClock.now() } else { Timestamp::from_seconds(middle) };
        let quotas = Quotas::new(meter.clone()).with_clock(Arc::new(ManualClock::new(then)));
        quotas.charge(&ctx, API_CALLS, used).await?;
    }
    Ok(())
}

fn csv_line(order: &Order) -> String {
    let Order { id, project_id, title, amount_cents, status, .. } = order;
    // A spreadsheet evaluates a cell that starts like a formula. A leading quote makes it text.
    let quote = if title.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    let title = title.replace('"', "\"\"");
    format!("{id},{project_id},\"{quote}{title}\",{amount_cents},{status}\n")
}
