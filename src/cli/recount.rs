//! `tenancy recount`: compares a gauge with the rows of one tenant or of all tenants, and sets it where asked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::TenantDb;
use crate::context::{Actor, TenantDirectory};
use crate::isolation::doctor::Check;
use crate::placement::{ConnectionLimits, DatabaseConfig, SqliteFiles};
use crate::plan::Catalog;
use crate::quota::{Existing, Gauge, GaugeRecount};
use crate::scope::{Backend, Enforcement, Tx};
use crate::store::SqlStore;
use crate::tenant::{PlacementName, Region, Tenant};
use clap::Args;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::SqlitePoolOptions;
use tenancy_sql::{Dialect, Schema};

use super::config::{block_on, database, is_postgres};
use super::embedded::Embedded;
use super::output::text;
use super::recount_report::{Applies, Form, Found, Report};
use super::recount_rows::{Count, Counted};
use super::tenants;

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

#[derive(Args)]
struct Databases {
    /// The database of the shared tables, `postgres://…` or `sqlite:…`, as the application, instead of `DATABASE_URL`.
    #[arg(long)]
    url: Option<String>,
    /// The database that has the list of tenants, if it is not that of the shared tables or if another role reads it.
    #[arg(long, value_name = "URL")]
    control_url: Option<String>,
    /// The directory of the tenants' files, for SQLite.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Use the place of each tenant as the role of that place. PostgreSQL only.
    #[arg(long)]
    role_per_tenant: bool,
    /// The database has no row-level security. PostgreSQL only.
    #[arg(long)]
    predicate_only: bool,
    /// A check of `tenancy doctor` that the application accepts too. PostgreSQL only.
    #[arg(long, value_name = "CHECK")]
    accept: Vec<String>,
    /// The region of the tenants. Those of other regions are left out.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The `tenancy.toml`, instead of the one in this directory.
    #[arg(long)]
    config: Option<PathBuf>,
}

pub(crate) fn run(options: &Options, embedded: &Embedded) -> Result<ExitCode, String> {
    block_on(async {
        let databases = &options.databases;
        let schema = embedded
            .schema(databases.config.as_deref())
            .map_err(|e| format!("{e}; `--config` names the file"))?;
        let url = database(databases.url.clone())?;
        let control = databases.control_url.clone().unwrap_or_else(|| url.clone());
        match (is_postgres(&url)?, is_postgres(&control)?) {
            (true, true) => {
                let counted = counted(options, Dialect::Postgres, &schema)?;
                let db = on_postgres(&url, databases, schema).await?;
                let store = tenants::store(&control).await.map_err(|e| unreachable(&e))?;
                recount(options, embedded, &db, store, &counted).await
            }
            (false, false) => {
                let counted = counted(options, Dialect::Sqlite, &schema)?;
                let db = on_sqlite(&url, databases, schema).await?;
                let store = tenants::store(&control).await.map_err(|e| unreachable(&e))?;
                recount(options, embedded, &db, store, &counted).await
            }
            _ => Err("`--url` and `--control-url` name different kinds of databases".to_owned()),
        }
    })
}

fn counted(options: &Options, dialect: Dialect, schema: &Schema) -> Result<Counted, String> {
    let Options { table, condition, id_column, .. } = options;
    Counted::new(table, condition.as_deref(), id_column.as_deref(), dialect, schema)
}

fn unreachable(error: &sqlx::Error) -> String {
    format!("the list of tenants cannot be read: {error}; check `--control-url`")
}

async fn on_postgres(
    url: &str,
    options: &Databases,
    schema: Schema,
) -> Result<TenantDb<sqlx::Postgres>, String> {
    if options.files.is_some() {
        return Err("`--files` is for SQLite; PostgreSQL keeps tenants in schemas and databases".to_owned());
    }
    let app: PgConnectOptions = url.parse().map_err(|e| format!("`--url` cannot be read: {e}"))?;
    let registry =
        move |name: &PlacementName| Ok(Some(DatabaseConfig::new(app.clone().database(name.as_str()))));
    let mut db = TenantDb::postgres(PgPoolOptions::new().max_connections(1), url)
        .schema(schema)
        .databases(registry, limits());
    if options.role_per_tenant {
        db = db.role_per_tenant();
    }
    if options.predicate_only {
        db = db.enforcement(Enforcement::PredicateOnly);
    }
    for check in &options.accept {
        db = db.accept(Check::parse(check).map_err(|e| e.to_string())?);
    }
    db.build().await.map_err(|e| format!("{}; `--url` logs in as the application does", text(&e)))
}

async fn on_sqlite(url: &str, options: &Databases, schema: Schema) -> Result<TenantDb<sqlx::Sqlite>, String> {
    if options.role_per_tenant || options.predicate_only || !options.accept.is_empty() {
        return Err(
            "`--role-per-tenant`, `--predicate-only` and `--accept` are for PostgreSQL; SQLite has no roles and policies"
                .to_owned(),
        );
    }
    let mut db = TenantDb::sqlite(SqlitePoolOptions::new().max_connections(1), url).schema(schema);
    if let Some(files) = &options.files {
        db = db.databases(SqliteFiles::new(files).map_err(|e| e.to_string())?, limits());
    }
    db.build().await.map_err(|e| text(&e))
}

/// Tenants are visited one after another, so each database needs one connection.
fn limits() -> ConnectionLimits {
    ConnectionLimits::new(3).per_database(1)
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
    db: &TenantDb<DB>,
    store: SqlStore<DB>,
    counted: &Counted,
) -> Result<ExitCode, String> {
    // A key of a gauge is a constant elsewhere; the program has one.
    let gauge = Gauge::new(options.feature.clone().leak());
    let catalog = catalog(options.catalog.as_deref(), embedded, gauge)?;
    let mut directory = TenantDirectory::new(Arc::new(store.clone()), catalog);
    let region = options.databases.region.as_deref().map(Region::parse).transpose();
    let region = region.map_err(|e| format!("`--region`: {e}"))?;
    if let Some(region) = &region {
        directory = directory.region(region.clone());
    }
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
        region,
        reason: options.reason.as_deref(),
        report: Report::new(&options.feature, form, applies),
        elsewhere: 0,
        unfinished: 0,
    };
    work.report.head(&counted.words())?;
    if let Some(name) = &options.tenant {
        work.visit(&tenants::find(&store, name, "--tenant").await?).await?;
        if work.unfinished > 0 {
            return Err(
                "the provisioning of this tenant is not finished, so it has no rows to count".to_owned()
            );
        }
        if work.elsewhere > 0 {
            return Err(
                "this tenant is of another region; name it by `--region` where its rows are".to_owned()
            );
        }
    } else {
        let mut last = None;
        loop {
            let page = tenants::after(&store, last.as_ref()).await?;
            let Some(end) = page.last() else { break };
            last = Some(end.id().clone());
            for tenant in &page {
                work.visit(tenant).await?;
            }
        }
    }
    let code = work.report.end()?;
    work.notes();
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
    region: Option<Region>,
    reason: Option<&'a str>,
    report: Report<'a>,
    /// How many tenants of other regions were left out.
    elsewhere: usize,
    /// How many tenants were left out because their provisioning is not finished.
    unfinished: usize,
}

impl<DB: Count> Work<'_, DB> {
    /// Compares the gauge of a tenant, and sets it where asked. A tenant that fails stops no other.
    async fn visit(&mut self, tenant: &Arc<Tenant>) -> Result<(), String> {
        if !tenants::is_provisioned(tenant) {
            self.unfinished += 1;
            return Ok(());
        }
        if tenant.region().is_some_and(|region| self.region.as_ref() != Some(region)) {
            self.elsewhere += 1;
            return Ok(());
        }
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

    #[expect(clippy::print_stderr, reason = "remarks beside the report")]
    fn notes(&self) {
        if self.unfinished > 0 {
            eprintln!("tenancy: left out, because their provisioning is not finished: {}", self.unfinished);
        }
        if self.elsewhere > 0 {
            eprintln!(
                "tenancy: left out, because they are of another region than `--region`: {}",
                self.elsewhere
            );
        }
    }
}
