//! `tenancy migrate`: runs the application's migrations in the shared tables and in the place of every tenant, or
//! compares them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use crate::placement::{Provision, Provisioner};
use crate::store::SqlStore;
use crate::tenant::{Placement, Tenant};
use clap::{Args, Subcommand};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use tenancy_sql::Dialect;

use super::config::block_on;
use super::embedded::Embedded;
use super::interrupts::interrupts;
use super::migrate_report::{Report, compared};
use super::output::{show, text};
use super::provisioners::{Provisioned, Settings};
use super::tenants;
use super::urls::Urls;

#[derive(Subcommand)]
pub(crate) enum MigrateCommand {
    /// Run the migrations: first in the canary, then in the shared tables, then in the places of all tenants.
    ///
    /// Connect as the owner of the tables, past every pooler. A place that fails is listed and stops nothing else,
    /// except for the canary. Ctrl-C finishes the places in work and begins no other. A repeated run goes on where the
    /// last one stopped. Exits with 1 if a place failed, with 2 if the run could not be done, and with 130 after
    /// Ctrl-C.
    Run(RunOptions),
    /// List the places that differ from the migrations. Changes nothing.
    ///
    /// A migration is missing if it was not applied, unknown if the directory does not have it, and altered if it was
    /// applied with another text. Exits with 1 if a place differs, and with 2 if the tenants cannot be read.
    Status(Places),
}

#[derive(Args)]
pub(crate) struct Places {
    /// The directory of the application's migrations, as in `sqlx::migrate!`.
    #[arg(long, value_name = "DIR")]
    migrations: Option<PathBuf>,
    /// The database of the shared tables, `postgres://…` or `sqlite:…`, as the owner of the tables, instead of
    /// `DATABASE_URL`.
    #[arg(long)]
    url: Option<String>,
    /// The database that has the list of tenants, if it is not that of the shared tables or if another role reads it.
    #[arg(long, value_name = "URL")]
    control_url: Option<String>,
    /// Leave the shared tables to your own deployment.
    #[arg(long)]
    without_shared_tables: bool,
    /// The directory of the tenants' files, for SQLite.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Print JSON: a line for each place, and a last one with a summary.
    #[arg(long)]
    json: bool,
    // Otherwise the error of the parser would repeat a URL that follows no option.
    #[arg(hide = true)]
    unexpected: Vec<String>,
}

#[derive(Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    places: Places,
    /// The role that the application logs in as; it is granted the rights that it needs on new tables. PostgreSQL only.
    #[arg(long, value_name = "ROLE")]
    runtime_role: Option<String>,
    /// Grant the rights on a tenant's place to the role of that place. PostgreSQL only.
    #[arg(long, requires = "runtime_role")]
    role_per_tenant: bool,
    /// How many places are migrated at the same time.
    #[arg(long, value_name = "N", default_value = "2")]
    parallel: NonZeroUsize,
    /// The tenant that is migrated first, by its slug or its id. If it fails, nothing else is migrated.
    #[arg(long, value_name = "SLUG_OR_ID")]
    canary: Option<String>,
    /// The `tenancy.toml` that declares the tables for their policies, instead of the one in this directory. PostgreSQL only.
    #[arg(long)]
    config: Option<PathBuf>,
}

pub(crate) fn run(command: &MigrateCommand, mut embedded: Embedded) -> Result<ExitCode, String> {
    block_on(async {
        let (places, run) = match command {
            MigrateCommand::Run(run) => (&run.places, Some(run)),
            MigrateCommand::Status(places) => (places, None),
        };
        if !places.unexpected.is_empty() {
            return Err(
                "an argument follows no option; name the database by `--url` or `DATABASE_URL`".to_owned()
            );
        }
        let urls = Urls::new(places.url.as_deref(), places.control_url.as_deref())?;
        let settings = Settings {
            urls: &urls,
            files: places.files.as_deref(),
            without_shared_tables: places.without_shared_tables,
            runtime_role: run.and_then(|run| run.runtime_role.as_deref()),
            role_per_tenant: run.is_some_and(|run| run.role_per_tenant),
        };
        let schema = run.map(|run| embedded.schema(run.config.as_deref()));
        let migrator = embedded.migrations(places.migrations.as_ref()).await?;
        if urls.is_postgres {
            let schema = schema.transpose();
            let schema = schema.map_err(|e| format!("{e}; `--config` names the file of the policies"))?;
            work(&settings.on_postgres(migrator, schema).await?, places, run).await
        } else {
            if run.is_some_and(|run| run.config.is_some()) {
                return Err("`--config` is for PostgreSQL; SQLite has no policies".to_owned());
            }
            work(&settings.on_sqlite(migrator, None).await?, places, run).await
        }
    })
}

async fn work<DB: Provision>(
    Provisioned { store, provisioner }: &Provisioned<DB>,
    places: &Places,
    run: Option<&RunOptions>,
) -> Result<ExitCode, String> {
    let count = tenant_places(store).await? + usize::from(!places.without_shared_tables);
    match run {
        Some(run) => migrate(store, provisioner, run, count).await,
        None => status(provisioner, places, count).await,
    }
}

/// How many tenants have a place that is migrated.
async fn tenant_places<DB: Provision>(store: &SqlStore<DB>) -> Result<usize, String> {
    let (mut count, mut last) = (0, None);
    loop {
        let page = tenants::after(store, last.as_ref()).await?;
        let Some(end) = page.last() else { return Ok(count) };
        last = Some(end.id().clone());
        let placed = |tenant: &&std::sync::Arc<Tenant>| {
            *tenant.placement() != Placement::Shared && tenants::is_provisioned(tenant)
        };
        count += page.iter().filter(placed).count();
    }
}

async fn migrate<DB: Provision>(
    store: &SqlStore<DB>,
    provisioner: &Provisioner<DB>,
    options: &RunOptions,
    count: usize,
) -> Result<ExitCode, String> {
    let mut migrations = provisioner.migrations().parallel(options.parallel.get());
    if let Some(name) = &options.canary {
        migrations = migrations.canary(tenants::find(store, name, "--canary").await?.id().clone());
    }
    let mut report = Report::new(options.places.json, count);
    let mut interrupts = interrupts();
    let mut places = migrations.run();
    let mut failure = None;
    loop {
        match select(places.next(), pin!(interrupts.recv())).await {
            Either::Left((None, _)) => break,
            Either::Left((Some(Ok(place)), _)) => {
                if let Err(unwritten) = report.place(&place) {
                    places.stop();
                    failure = Some(unwritten);
                }
            }
            Either::Left((Some(Err(error)), _)) => failure = Some(text(&error)),
            Either::Right(_) if report.summary.interrupted => {
                report.note("stopped at once; run the same command again");
                return Ok(ExitCode::from(130));
            }
            Either::Right(_) => {
                places.stop();
                report.summary.interrupted = true;
                report.note("interrupted: the places in work are finished; Ctrl-C again stops at once");
            }
        }
    }
    if let Err(unwritten) = report.end() {
        failure = Some(unwritten);
    }
    let summary = &report.summary;
    let is_canary_failed = options.canary.is_some() && summary.failed == 1 && summary.places() == 1;
    if summary.has_changes() && options.runtime_role.is_none() && DB::DIALECT == Dialect::Postgres {
        report.note("without `--runtime-role` the application was granted no rights on new tables");
    }
    if summary.interrupted {
        report.note("no other place was begun; run the same command again, and it goes on there");
    } else if is_canary_failed {
        report
            .note("the canary failed, so nothing else was migrated; fix the cause and run the command again");
    } else if summary.failed > 0 {
        report.note("fix the cause of each failure and run the same command again");
    }
    match failure {
        Some(failure) => Err(failure),
        None if summary.interrupted => Ok(ExitCode::from(130)),
        None => Ok(ExitCode::from(u8::from(summary.failed > 0))),
    }
}

async fn status<DB: Provision>(
    provisioner: &Provisioner<DB>,
    options: &Places,
    count: usize,
) -> Result<ExitCode, String> {
    let drifts = provisioner.migrations().drift().await.map_err(|e| text(&e))?;
    show(&compared(&drifts, count, options.json))?;
    Ok(ExitCode::from(u8::from(!drifts.is_empty())))
}
