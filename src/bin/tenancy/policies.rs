//! `tenancy policies`: the row-level security of a database.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use sqlx::{Connection, PgConnection};
use tenancy::isolation::{MissingTenant, PolicyPlan, RlsPolicies};

use super::config::{database, schema};

#[derive(Args)]
pub(crate) struct Options {
    /// The database, `postgres://…`, in place of `DATABASE_URL`.
    #[arg(long)]
    url: Option<String>,
    /// The `tenancy.toml`, in place of the one in this directory.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The role that the application logs in as; it gets the rights that it needs.
    #[arg(long)]
    role: Option<String>,
    /// What a statement sees that runs without a tenant: nothing, or an error.
    #[arg(long, value_enum, default_value = "no-rows")]
    missing_tenant: MissingTenantOption,
    /// Also change the columns and keys that lack the tenant, which are comments otherwise.
    #[arg(long)]
    keys: bool,
    /// Print what is lacking in short, and exit with 1 if anything is, if a table has no policy and nobody decided that it
    /// needs none, or if nothing was compared.
    #[arg(long, conflicts_with = "apply")]
    check: bool,
    /// Change the database, in one transaction. For that, be the owner of the tables.
    #[arg(long)]
    apply: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum MissingTenantOption {
    NoRows,
    Error,
}

impl From<MissingTenantOption> for MissingTenant {
    fn from(seen: MissingTenantOption) -> Self {
        match seen {
            MissingTenantOption::NoRows => Self::NoRows,
            MissingTenantOption::Error => Self::Error,
        }
    }
}

pub(crate) fn run(options: Options) -> Result<ExitCode, String> {
    let Options { url, config, role, missing_tenant, keys, check, apply } = options;
    let url = database(url)?;
    if !url.starts_with("postgres:") && !url.starts_with("postgresql:") {
        return Err("row-level security is PostgreSQL's; name a database of it, postgres://…".to_owned());
    }
    let config = config.unwrap_or_else(|| PathBuf::from("tenancy.toml"));
    let schema = schema(&config)?;

    let mut policies = RlsPolicies::new(&schema).missing_tenant(missing_tenant.into());
    if let Some(role) = role {
        policies = policies.runtime_role(role);
    }
    if keys {
        policies = policies.with_keys();
    }
    let asking = async {
        let mut conn =
            PgConnection::connect(&url).await.map_err(|e| format!("the database does not answer: {e}"))?;
        let done = if apply { policies.apply(&mut conn).await } else { policies.plan(&mut conn).await };
        // It has said all that it will.
        let _ = conn.close().await;
        done.map_err(|e| e.to_string())
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let migration = runtime.block_on(asking)?;

    let said = match (check, apply) {
        (true, _) => summary(&migration, "lacking"),
        (_, true) => summary(&migration, "done"),
        _ => migration.sql(),
    };
    super::check::show(&said)?;
    let fails = !migration.is_empty() || !migration.unguarded().is_empty() || migration.tables() == 0;
    Ok(if check && fails { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn summary(migration: &PolicyPlan, what: &str) -> String {
    let mut said = String::new();
    let (steps, unguarded, tables) = (migration.changes(), migration.unguarded(), migration.tables());
    let compared =
        if tables == 1 { "1 table compared".to_owned() } else { format!("{tables} tables compared") };
    for step in steps.iter().chain(unguarded) {
        // A String takes whatever is written to it; a name could hold anything.
        let _ = writeln!(said, "{}: {}", step.object().escape_debug(), step.reason().escape_debug());
    }
    if tables == 0 {
        said += "nothing was compared: no table in the schemas of the search_path has a tenant column; check `--url`, the \
                 search_path, and `column` and `columns` in tenancy.toml\n";
    } else if steps.is_empty() && unguarded.is_empty() {
        let _ = writeln!(said, "the policies are as planned: {compared}");
    }
    if !steps.is_empty() {
        let _ = writeln!(said, "{} {what}, {compared}", steps.len());
    }
    if !unguarded.is_empty() {
        let _ = writeln!(said, "{} without a policy, to be decided on by a person", unguarded.len());
    }
    let (keys, advice) = (migration.keys().len(), migration.advice().len());
    if keys + advice > 0 {
        let _ = writeln!(
            said,
            "besides, columns and keys that lack the tenant: {keys}; advice: {advice}; `tenancy policies` prints them"
        );
    }
    said
}
