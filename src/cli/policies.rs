//! `tenancy policies`: generates, applies or checks the row-level security of a database.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::isolation::{MissingTenant, PolicyPlan, RlsPolicies};
use clap::{Args, ValueEnum};
use sqlx::Connection;

use super::config::{block_on, database, postgres};
use super::embedded::Embedded;
use super::place::{self, Where};
use super::policies_of_places::{self, Output};

#[derive(Args)]
pub(crate) struct Options {
    /// The database, `postgres://…`, instead of `DATABASE_URL`.
    #[arg(long)]
    url: Option<String>,
    /// The `tenancy.toml`, instead of the one in this directory.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    place: place::Options,
    /// The role that the application logs in as; it is granted the rights that it needs. A place that has a role of its
    /// own name is compared with that role.
    #[arg(long)]
    role: Option<String>,
    /// The result of a statement that runs without a tenant: no rows, or an error.
    #[arg(long, value_enum, default_value = "no-rows")]
    missing_tenant: MissingTenantOption,
    /// Also change the columns and keys that lack the tenant, which are only comments otherwise.
    #[arg(long)]
    keys: bool,
    /// Print a summary of what is missing. Exit with 1 if anything is missing, if a table has no policy and is not
    /// declared to need none, or if nothing was compared.
    #[arg(long, conflicts_with = "apply")]
    check: bool,
    /// Change the database, in one transaction. Connect as the owner of the tables.
    #[arg(long)]
    apply: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum MissingTenantOption {
    NoRows,
    Error,
}

impl From<MissingTenantOption> for MissingTenant {
    fn from(option: MissingTenantOption) -> Self {
        match option {
            MissingTenantOption::NoRows => Self::NoRows,
            MissingTenantOption::Error => Self::Error,
        }
    }
}

pub(crate) fn run(options: Options, embedded: &Embedded) -> Result<ExitCode, String> {
    let Options { url, config, place, role, missing_tenant, keys, check, apply } = options;
    let url = database(url)?;
    if !url.starts_with("postgres:") && !url.starts_with("postgresql:") {
        return Err("row-level security needs PostgreSQL; use a URL of the form postgres://…".to_owned());
    }
    let place = place.chosen()?;
    let schema = embedded.schema(config.as_deref())?;

    let mut policies = RlsPolicies::new(&schema).missing_tenant(missing_tenant.into());
    if let Some(role) = &role {
        policies = policies.runtime_role(role);
    }
    if keys {
        policies = policies.with_keys();
    }
    let work = async {
        let (mut conn, policies) = match place {
            Where::AllPlaces => {
                let output = match (check, apply) {
                    (true, _) => Output::Check,
                    (_, true) => Output::Apply,
                    _ => Output::Sql,
                };
                return policies_of_places::run(&url, &policies, role.is_some(), output).await;
            }
            Where::Place(placement) => {
                policies_of_places::enter(&url, &policies, role.is_some(), &placement).await?
            }
            Where::Schema(name) => (postgres(&url, Some(&name)).await?, policies.search_path_only()),
            Where::Url => (postgres(&url, None).await?, policies),
        };
        let result = if apply { policies.apply(&mut conn).await } else { policies.plan(&mut conn).await };
        // All results are read, so an error while closing does not matter.
        let _ = conn.close().await;
        let plan = result.map_err(|e| e.to_string())?;
        let text = match (check, apply) {
            (true, _) => summary(&plan, "missing"),
            (_, true) => summary(&plan, "done"),
            _ => plan.sql(),
        };
        super::output::show(&text)?;
        let fails = !plan.is_empty() || !plan.unguarded().is_empty() || plan.tables() == 0;
        Ok(if check && fails { ExitCode::from(1) } else { ExitCode::SUCCESS })
    };
    block_on(work)
}

fn summary(plan: &PolicyPlan, what: &str) -> String {
    let mut text = String::new();
    let (changes, unguarded, tables) = (plan.changes(), plan.unguarded(), plan.tables());
    let compared =
        if tables == 1 { "1 table compared".to_owned() } else { format!("{tables} tables compared") };
    for step in changes.iter().chain(unguarded) {
        // Writing to a String cannot fail. Names can contain any character, so they are escaped.
        let _ = writeln!(text, "{}: {}", step.object().escape_debug(), step.reason().escape_debug());
    }
    if tables == 0 {
        text += "nothing was compared: no table in the schemas of the search_path has a tenant column; check `--url`, the \
                 search_path, and `column` and `columns` in tenancy.toml\n";
    } else if changes.is_empty() && unguarded.is_empty() {
        let _ = writeln!(text, "the policies are as planned: {compared}");
    }
    if !changes.is_empty() {
        let _ = writeln!(text, "{} {what}, {compared}", changes.len());
    }
    if !unguarded.is_empty() {
        let _ = writeln!(text, "{} without a policy; decide whether each needs one", unguarded.len());
    }
    let (keys, advice) = (plan.keys().len(), plan.advice().len());
    if keys + advice > 0 {
        let _ = writeln!(
            text,
            "besides, columns and keys that lack the tenant: {keys}; advice: {advice}; `tenancy policies` prints them"
        );
    }
    text
}
