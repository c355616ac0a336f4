//! `tenancy usage`: what each tenant uses, beside what its plan allows.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::config::block_on;
use super::databases::{Databases, Opened};
use super::embedded::Embedded;
use super::tenants;
use super::usage_report::{Counted, Found, Metered, Report};
use crate::billing::unsent_usage;
use crate::context::{Actor, TenantContext, TenantDirectory};
use crate::database::TxMode;
use crate::placement::Provision;
use crate::plan::FeatureKind;
use crate::quota::{Gauge, Quotas};
use crate::scope::TenantDb;
use crate::tenant::Tenant;

/// The actor of the contexts. Nothing is written, so no audit event names it.
const ACTOR: &str = "tenancy usage";
/// How many counters of a tenant are read, those of the newest periods first.
const COUNTERS: u16 = 1000;

#[derive(Args)]
pub(crate) struct Options {
    /// The file of the plan catalog, TOML or `.json`.
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Only this tenant, by its slug or its id.
    #[arg(long, value_name = "SLUG_OR_ID")]
    tenant: Option<String>,
    /// Print JSON: a line for each tenant, and a last one with a summary.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    databases: Databases,
}

pub(crate) fn run(options: &Options, embedded: &Embedded) -> Result<ExitCode, String> {
    block_on(async {
        let schema = options.databases.schema(embedded)?;
        let urls = options.databases.urls()?;
        if urls.is_postgres {
            report(options, embedded, &options.databases.postgres(&urls, schema).await?).await
        } else {
            report(options, embedded, &options.databases.sqlite(&urls, schema).await?).await
        }
    })
}

async fn report<DB: Provision>(
    options: &Options,
    embedded: &Embedded,
    Opened { db, store, .. }: &Opened<DB>,
) -> Result<ExitCode, String> {
    let catalog = embedded.catalog(options.catalog.as_deref())?;
    let mut usage = Usage {
        db,
        directory: options.databases.directory(store, catalog)?,
        quotas: Quotas::new(Arc::new(store.clone())),
        gauges: HashMap::new(),
    };
    let (mut report, region) = (Report::new(options.json), options.databases.region()?);
    let visit = async |tenant: &Arc<Tenant>| {
        let found = usage.of(tenant).await;
        report.tenant(tenant, &found)
    };
    let left_out = tenants::each(store, options.tenant.as_deref(), region.as_ref(), visit).await?;
    let code = report.end()?;
    left_out.note();
    Ok(ExitCode::from(code))
}

/// Reads what tenants use.
struct Usage<'a, DB: Provision> {
    db: &'a TenantDb<DB>,
    directory: TenantDirectory,
    quotas: Quotas,
    /// The gauges by their keys.
    gauges: HashMap<String, Gauge>,
}

impl<DB: Provision> Usage<'_, DB> {
    async fn of(&mut self, tenant: &Arc<Tenant>) -> crate::Result<Found> {
        let ctx = self.directory.unchecked_context(tenant.clone(), Actor::system(ACTOR))?;
        let quotas = self.quotas(&ctx).await?;
        let mut tx = self.db.begin_unlimited(&ctx, TxMode::Snapshot).await?;
        let mut gauges = Vec::new();
        for (key, feature) in ctx.entitlements().features() {
            if feature.kind() == FeatureKind::Gauge {
                let usage = self.gauge(key).usage(&mut tx).await?;
                gauges.push(Counted::gauge(key, usage.used, usage.limit));
            }
        }
        let unsent = unsent_usage(&mut tx).await?;
        tx.rollback().await?;
        let metered = unsent.into_iter().map(|(meter, usage)| Metered { meter, usage }).collect();
        Ok(Found { gauges, quotas, metered })
    }

    /// A key of a gauge is a constant elsewhere; the program has each once.
    fn gauge(&mut self, key: &str) -> Gauge {
        *self.gauges.entry(key.to_owned()).or_insert_with(|| Gauge::new(key.to_owned().leak()))
    }

    /// The counters of the current periods. A quota that is counted for each user or key has one for each.
    async fn quotas(&self, ctx: &TenantContext) -> crate::Result<Vec<Counted>> {
        let (mut found, mut counters) = (Vec::new(), None);
        for feature in self.quotas.snapshot(ctx).await?.features {
            if feature.kind != FeatureKind::Quota {
                continue;
            }
            if feature.used.is_some() {
                found.push(Counted::quota(&feature));
                continue;
            }
            if counters.is_none() {
                counters = Some(self.quotas.counters(ctx, None, COUNTERS).await?);
            }
            let own = counters.iter().flatten().filter(|counter| counter.key.feature == feature.key);
            let now = crate::clock::Clock::now(&crate::clock::SystemClock);
            let current =
                own.filter(|counter| counter.start <= now && counter.end.is_none_or(|end| now < end));
            found.extend(current.map(|counter| Counted::of_subject(&feature, counter)));
        }
        Ok(found)
    }
}
