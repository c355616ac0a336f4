//! `tenancy plans diff`: what a new plan catalog changes, for each plan and for each tenant.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::clock::{Clock, SystemClock};
use crate::placement::Provision;
use crate::plan::{Catalog, Entitlements, Feature, Limit, Plan};
use crate::store::SqlStore;
use crate::tenant::{Tenant, TenantStatus};
use clap::{Args, Subcommand};
use serde::Serialize;
use sqlx::{Postgres, Sqlite};

use super::config::{block_on, catalog_file, is_postgres};
use super::output::show;
use super::output::{json, text};
use super::tenants;

#[derive(Subcommand)]
pub(crate) enum PlansCommand {
    /// Show what a new plan catalog changes: for each plan, and with `--url` for each tenant.
    ///
    /// Compares what is allowed: flags, limits and their rules, config values. A tenant is compared with its add-ons, seats,
    /// overrides and pinned version. Tenants that lose something, and tenants whose plan or add-on the new catalog lacks,
    /// are named. Exits with 1 if anything changes, and with 2 if something could not be read.
    Diff(Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// The catalog that is in use, TOML or `.json`.
    old: PathBuf,
    /// The new catalog.
    new: PathBuf,
    /// The database that has the list of tenants, `postgres://…` or `sqlite:…`.
    #[arg(long)]
    url: Option<String>,
    /// Print JSON: a line for each plan and each tenant that changes, and a last one with a summary.
    #[arg(long)]
    json: bool,
}

/// The change of one feature.
#[derive(Serialize)]
struct Change {
    feature: String,
    old: Option<Feature>,
    new: Option<Feature>,
    less: bool,
}

/// A plan or a tenant that changes.
#[derive(Serialize)]
struct Found<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a Tenant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a str>,
    changes: &'a [Change],
    error: Option<&'a str>,
}

#[derive(Default, Serialize)]
struct Summary {
    unchanged: usize,
    less: usize,
    other: usize,
    without_plan: usize,
}

pub(crate) fn run(PlansCommand::Diff(options): &PlansCommand) -> Result<ExitCode, String> {
    let (old, new) = (catalog_file(&options.old)?, catalog_file(&options.new)?);
    let mut differs = diff_plans(&old, &new, options.json)?;
    if let Some(url) = &options.url {
        let sum = block_on(async {
            let unreachable = |e| format!("the database cannot be reached: {e}");
            if is_postgres(url)? {
                let store = tenants::store::<Postgres>(url).await.map_err(unreachable)?;
                diff_tenants(&store, &old, &new, options.json).await
            } else {
                let store = tenants::store::<Sqlite>(url).await.map_err(unreachable)?;
                diff_tenants(&store, &old, &new, options.json).await
            }
        })?;
        let Summary { unchanged, less, other, without_plan } = &sum;
        differs |= less + other + without_plan > 0;
        show(&if options.json {
            json(&serde_json::json!({ "summary": sum }))
        } else {
            format!(
                "{} tenants: {unchanged} unchanged, {less} with less, {other} with more or other values, \
                 {without_plan} without a plan\n",
                unchanged + less + other + without_plan
            )
        })?;
    }
    Ok(ExitCode::from(u8::from(differs)))
}

/// Prints the plans that change, and says whether there are any.
fn diff_plans(old: &Catalog, new: &Catalog, as_json: bool) -> Result<bool, String> {
    let mut keys: Vec<&str> = old.plans().chain(new.plans()).map(Plan::key).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut differs = false;
    for key in keys {
        let (found, error) = match (old.entitlements(key), new.entitlements(key)) {
            (Ok(old), Ok(new)) => (changes(&old, &new), None),
            (Ok(_), Err(_)) => (Vec::new(), Some("the new catalog does not have this plan")),
            (Err(_), _) => (Vec::new(), Some("the plan is new")),
        };
        if found.is_empty() && error.is_none() {
            continue;
        }
        differs = true;
        let head = format!("plan {key}");
        let one = Found { tenant: None, plan: Some(key), changes: &found, error };
        show(&if as_json { json(&one) } else { lines(&head, &found, error) })?;
    }
    if !differs && !as_json {
        show("the plans are equal\n")?;
    }
    Ok(differs)
}

async fn diff_tenants<DB: Provision>(
    store: &SqlStore<DB>,
    old: &Catalog,
    new: &Catalog,
    as_json: bool,
) -> Result<Summary, String> {
    let (now, mut last, mut sum) = (SystemClock.now(), None, Summary::default());
    loop {
        let page = tenants::after(store, last.as_ref()).await?;
        let Some(end) = page.last() else { return Ok(sum) };
        last = Some(end.id().clone());
        for tenant in page.iter().filter(|tenant| tenant.status() != TenantStatus::Deleting) {
            let of = |catalog: &Catalog| catalog.entitlements_for(tenant.plan(), tenant.terms(), now);
            let (found, error) = match (of(old), of(new)) {
                (Ok(old), Ok(new)) => (changes(&old, &new), None),
                (_, Err(error)) => (Vec::new(), Some(format!("in the new catalog: {}", text(&error)))),
                (Err(error), _) => (Vec::new(), Some(format!("in the old catalog: {}", text(&error)))),
            };
            match (&error, &found[..]) {
                (Some(_), _) => sum.without_plan += 1,
                (None, []) => sum.unchanged += 1,
                (None, found) if found.iter().any(|change| change.less) => sum.less += 1,
                (None, _) => sum.other += 1,
            }
            if found.is_empty() && error.is_none() {
                continue;
            }
            let head = format!("tenant {}, on {}", tenant.slug(), tenant.plan());
            let one = Found { tenant: Some(&**tenant), plan: None, changes: &found, error: error.as_deref() };
            show(&if as_json { json(&one) } else { lines(&head, &found, error.as_deref()) })?;
        }
    }
}

/// The features that differ, in the order of their keys.
fn changes(old: &Entitlements, new: &Entitlements) -> Vec<Change> {
    let mut keys: Vec<&str> = old.features().chain(new.features()).map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.dedup();
    let one = |key: &str| {
        let (old, new) = (old.feature(key).ok().cloned(), new.feature(key).ok().cloned());
        let less = is_less(old.as_ref(), new.as_ref());
        (old != new).then(|| Change { feature: key.to_owned(), old, new, less })
    };
    keys.into_iter().filter_map(one).collect()
}

/// Whether the new value allows less. A rule can change and its limit stay; then nobody can say.
fn is_less(old: Option<&Feature>, new: Option<&Feature>) -> bool {
    match (old, new) {
        (Some(_), None) => true,
        (Some(Feature::Flag(old)), Some(Feature::Flag(new))) => *old && !new,
        (Some(old), Some(new)) => match (old.limit().map(Limit::max), new.limit().map(Limit::max)) {
            (Some(None), Some(Some(_))) => true,
            (Some(Some(old)), Some(Some(new))) => new < old,
            _ => false,
        },
        (None, _) => false,
    }
}

fn lines(head: &str, changes: &[Change], error: Option<&str>) -> String {
    let error = error.map(|error| format!(": {error}")).unwrap_or_default();
    let line = |Change { feature, old, new, less }: &Change| {
        let (old, new) = (value(old.as_ref()), value(new.as_ref()));
        let remark = match (old == new, less) {
            (true, _) => ", with other rules",
            (_, true) => ", less",
            _ => "",
        };
        format!("  {feature:<24} {old} -> {new}{remark}\n")
    };
    changes.iter().map(line).fold(format!("{head}{error}\n"), |lines, line| lines + &line)
}

fn value(feature: Option<&Feature>) -> String {
    match feature {
        None => "not declared".to_owned(),
        Some(Feature::Flag(true)) => "on".to_owned(),
        Some(Feature::Flag(false)) => "off".to_owned(),
        Some(Feature::Config(value)) => serde_json::json!(value).to_string(),
        Some(Feature::Rate(rate)) => {
            format!("{} in {} s, {} at once", rate.limit(), rate.seconds(), rate.burst())
        }
        Some(feature) => feature.limit().map(|limit| limit.to_string()).unwrap_or_default(),
    }
}
