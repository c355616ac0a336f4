//! `tenancy tenants moves`: lists the moves that are not finished.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Postgres, Sqlite};

use super::audit_line::time;
use super::config::is_postgres;
use super::control::Control;
use super::output::{json, printable, show, text};
use super::table::{Align, Table};
use super::tenants;
use crate::clock::Timestamp;
use crate::operations::{TenantData, UnfinishedMove};
use crate::placement::{PostgresPlaces, Provisioner, SqliteFiles, SqlitePlaces};
use crate::store::SqlStore;
use crate::tenant::{Placement, TenantId, TenantStore};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    control: Control,
}

pub(crate) async fn run(options: &Options) -> Result<ExitCode, String> {
    let url = options.control.url()?;
    let unreachable = |e: sqlx::Error| format!("the database cannot be reached: {e}");
    // The list of moves is beside the list of tenants. No place is connected to.
    if is_postgres(&url)? {
        let store = tenants::store::<Postgres>(&url).await.map_err(unreachable)?;
        let places = PostgresPlaces::new(url.parse::<PgConnectOptions>().map_err(unreachable)?);
        list(options, &store, places).await
    } else {
        let store = tenants::store::<Sqlite>(&url).await.map_err(unreachable)?;
        let places = SqlitePlaces::new(SqliteFiles::new(".").map_err(|e| text(&e))?);
        list(options, &store, places).await
    }?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Listed<'a> {
    tenant: &'a TenantId,
    slug: Option<&'a str>,
    source: &'a Placement,
    target: &'a Placement,
    step: &'a str,
    started: Timestamp,
    error: Option<&'a str>,
}

async fn list<DB: TenantData>(
    options: &Options,
    store: &SqlStore<DB>,
    places: DB::Places,
) -> Result<(), String> {
    let provisioner = Provisioner::new(store.clone(), places, Migrator::with_migrations(Vec::new()));
    let unreadable = |e| format!("the list of moves cannot be read: {}", text(&e));
    let moves = provisioner.unfinished_moves().await.map_err(unreadable)?;
    let columns = [(20, Align::Left), (24, Align::Left), (10, Align::Left), (40, Align::Left)];
    let table = Table::new(columns);
    if !moves.is_empty() && !options.control.json {
        show(&table.line([&"started", &"tenant", &"step", &"to"], "error"))?;
    }
    for one in &moves {
        let tenant = store.by_id(&one.tenant).await.map_err(unreadable)?;
        let slug = tenant.as_ref().map(|tenant| tenant.slug().as_str());
        let UnfinishedMove { tenant, source, target, step, started, error, .. } = one;
        let (step, error) = (step.name(), error.as_deref());
        show(&if options.control.json {
            json(&Listed { tenant, slug, source, target, step, started: *started, error })
        } else {
            let name = slug.map_or_else(|| tenant.to_string(), ToOwned::to_owned);
            let error = printable(error.unwrap_or_default());
            table.line([&time(*started), &name, &step, &target.to_string()], &error)
        })?;
    }
    match (options.control.json, moves.len()) {
        (true, _) => Ok(()),
        (false, 1) => show("1 unfinished move\n"),
        (false, count) => show(&format!("{count} unfinished moves\n")),
    }
}
