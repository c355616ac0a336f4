//! `tenancy recount`: compares a gauge with the rows of one tenant or of all tenants, and sets it where asked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tenancy_sql::{Dialect, Schema};

use super::config::block_on;
use super::databases::{Databases, Opened};
use super::embedded::Embedded;
use super::output::text;
use super::recount_report::{Applies, Form, Found, Report};
use super::recount_rows::{Count, Counted};
use super::tenants;
use crate::context::Actor;
use crate::plan::Catalog;
use crate::quota::{Existing, Gauge, GaugeRecount};
use crate::scope::{Backend, Tx};
use crate::tenant::Tenant;

/// The actor in the audit log.
const ACTOR: &str = "tenancy recount";

#[derive(Args)]
pub(crate) struct Options {
    /// The gauge, by its key in the catalog, such as `projects`.
    #[arg(long, value_name = "KEY")]
    feature: String,
    /// The table whose rows the gauge counts, without a schema if tenants have schemas of their own.
    #[arg(long, value_name = "TABLE")]
    table: String,
    /// Count only the rows for which this condition is true, such as `deleted_at IS NULL`. Without it, soft-deleted rows
    /// count too.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// The column with the ids that `acquire_for` is called with. For a gauge that counts by id.
    #[arg(long, value_name = "COLUMN")]
    id_column: Option<String>,
    /// The file of the plan catalog, TOML or `.json`.
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Only this tenant, by its slug or its id.
    #[arg(long, value_name = "SLUG_OR_ID")]
    tenant: Option<String>,
    /// Set each gauge that differs to the number of rows. Each change is written to the tenant's audit log.
    #[arg(long, requires = "reason")]
    apply: bool,
    /// Why the gauges are set, for the audit log.
    #[arg(long, value_name = "TEXT", requires = "apply")]
    reason: Option<String>,
    /// Print only tenants whose gauge differs or could not be compared.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Print JSON: a line for each tenant, and a last one with a summary.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    databases: Databases,
}

pub(crate) fn run(options: &Options, embedded: &Embedded) -> Result<ExitCode, String> {
    block_on(async {
        let databases = &options.databases;
        let schema = databases.schema(embedded)?;
        let urls = databases.urls()?;
        if urls.is_postgres {
            let counted = counted(options, Dialect::Postgres, &schema)?;
            recount(options, embedded, &databases.postgres(&urls, schema).await?, &counted).await
        } else {
            let counted = counted(options, Dialect::Sqlite, &schema)?;
            recount(options, embedded, &databases.sqlite(&urls, schema).await?, &counted).await
        }
    })
}

fn counted(options: &Options, dialect: Dialect, schema: &Schema) -> Result<Counted, String> {
    let Options { table, condition, id_column, .. } = options;
    Counted::new(table, condition.as_deref(), id_column.as_deref(), dialect, schema)
}

/// Reads the catalog, and checks that it has the gauge.
fn catalog(option: Option<&Path>, embedded: &Embedded, gauge: Gauge) -> Result<Catalog, String> {
    let catalog = Arc::unwrap_or_clone(embedded.catalog(option)?);
    catalog.require(&[&gauge]).map_err(|e| match option {
        Some(path) => format!("{}: {e}", path.display()),
        None => e.to_string(),
    })
}

async fn recount<DB: Count>(
    options: &Options,
    embedded: &Embedded,
    Opened { db, store, .. }: &Opened<DB>,
    counted: &Counted,
) -> Result<ExitCode, String> {
    // A key of a gauge is a constant elsewhere; the program has one.
    let gauge = Gauge::new(options.feature.clone().leak());
    let catalog = catalog(options.catalog.as_deref(), embedded, gauge)?;
    let directory = options.databases.directory(store, catalog)?;
    let gauges = GaugeRecount::new(gauge, db, &directory, Actor::system(ACTOR)).map_err(|e| text(&e))?;
    let form = match (options.json, options.quiet) {
        (true, _) => Form::Json,
        (_, true) => Form::Drifts,
        _ => Form::Table,
    };
    let applies = if options.apply { Applies::Recounts } else { Applies::Reports };
    let mut work = Work {
        gauges,
        feature: &options.feature,
        counted,
        reason: options.reason.as_deref(),
        report: Report::new(&options.feature, form, applies),
    };
    work.report.head(&counted.words())?;
    let region = options.databases.region()?;
    let visit = async |tenant: &Arc<Tenant>| work.visit(tenant).await;
    let left_out = tenants::each(store, options.tenant.as_deref(), region.as_ref(), visit).await?;
    let code = work.report.end()?;
    left_out.note();
    if work.report.tenants() == 0 {
        return Err("no tenant was compared; check `--control-url` and `--region`".to_owned());
    }
    Ok(ExitCode::from(code))
}

/// A run over tenants.
struct Work<'a, DB: Backend> {
    gauges: GaugeRecount<'a, DB>,
    feature: &'a str,
    counted: &'a Counted,
    reason: Option<&'a str>,
    report: Report<'a>,
}

impl<DB: Count> Work<'_, DB> {
    /// Compares the gauge of a tenant, and sets it where asked. A tenant that fails stops no other.
    async fn visit(&mut self, tenant: &Arc<Tenant>) -> Result<(), String> {
        let found = self.compare(tenant).await;
        self.report.tenant(tenant, &found)
    }

    async fn compare(&self, tenant: &Arc<Tenant>) -> crate::Result<Found> {
        let mut limit = None;
        let count = async |tx: &mut Tx<'_, DB>| -> crate::Result<Existing> {
            limit = Some(tx.context().entitlements().limit(self.feature)?);
            DB::count(tx, self.counted).await
        };
        let drift = match self.reason {
            Some(reason) => self.gauges.recount(tenant, reason, count).await?,
            None => self.gauges.compare(tenant, count).await?,
        };
        Ok(Found { drift, limit: limit.expect("the closure ran") })
    }
}
