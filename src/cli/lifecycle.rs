//! `tenancy tenants`: lists tenants and changes the state of one, with an audit event for each change.

use std::process::ExitCode;
use std::sync::Arc;

use crate::placement::Provision;
use crate::store::SqlStore;
use crate::tenant::{Slug, Suspension, Tenant, TenantStatus};
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sqlx::{Postgres, Sqlite};

use super::config::{block_on, is_postgres};
use super::control::Control;
use super::output::{json, printable, show, text};
use super::table::{Align, Table};
use super::tenants;

#[derive(Subcommand)]
pub(crate) enum LifecycleCommand {
    /// List the tenants, in the order of their ids.
    List {
        /// Only tenants with this status.
        #[arg(long, value_parser = status())]
        status: Option<TenantStatus>,
        /// Only tenants with this plan, by its key in the catalog.
        #[arg(long, value_name = "KEY")]
        plan: Option<String>,
        #[command(flatten)]
        control: Control,
    },
    /// Show a tenant.
    Show {
        /// The tenant, by its slug or its id.
        #[arg(value_name = "SLUG_OR_ID")]
        tenant: String,
        #[command(flatten)]
        control: Control,
    },
    /// Suspend a tenant: its requests are refused, and its data is kept.
    ///
    /// A tenant that is suspended already gets the new reason and message.
    Suspend {
        /// The tenant, by its slug or its id.
        #[arg(value_name = "SLUG_OR_ID")]
        tenant: String,
        /// Why, for operators and the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// What the users of the tenant read in each refused response.
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
        #[command(flatten)]
        control: Control,
    },
    /// Return a suspended tenant to the status that it had before.
    Resume {
        /// The tenant, by its slug or its id.
        #[arg(value_name = "SLUG_OR_ID")]
        tenant: String,
        /// Why, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        control: Control,
    },
    /// Change the slug or the display name of a tenant.
    ///
    /// The old slug stays reserved for the tenant for a while, so that no link to it leads to another one.
    Rename {
        /// The tenant, by its slug or its id.
        #[arg(value_name = "SLUG_OR_ID")]
        tenant: String,
        /// The new name in URLs.
        #[arg(long, value_name = "SLUG", required_unless_present = "name")]
        slug: Option<String>,
        /// The new display name.
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        #[command(flatten)]
        control: Control,
    },
}

fn status() -> impl TypedValueParser<Value = TenantStatus> {
    PossibleValuesParser::new(TenantStatus::ALL.map(TenantStatus::as_str))
        .try_map(|status| TenantStatus::parse(&status).map_err(|e| e.to_string()))
}

impl LifecycleCommand {
    fn control(&self) -> &Control {
        match self {
            Self::List { control, .. }
            | Self::Show { control, .. }
            | Self::Suspend { control, .. }
            | Self::Resume { control, .. }
            | Self::Rename { control, .. } => control,
        }
    }
}

pub(crate) fn run(command: &LifecycleCommand) -> Result<ExitCode, String> {
    block_on(async {
        let url = command.control().url()?;
        let unreachable = |e| format!("the database cannot be reached: {e}");
        if is_postgres(&url)? {
            run_on(command, &tenants::store::<Postgres>(&url).await.map_err(unreachable)?).await
        } else {
            run_on(command, &tenants::store::<Sqlite>(&url).await.map_err(unreachable)?).await
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn run_on<DB: Provision>(command: &LifecycleCommand, store: &SqlStore<DB>) -> Result<(), String> {
    let tenant = match command {
        LifecycleCommand::List { status, plan, control } => {
            return list(store, *status, plan.as_deref(), control.json).await;
        }
        LifecycleCommand::Show { tenant, .. } => tenants::find(store, tenant, "SLUG_OR_ID").await?,
        _ => changed(command, store).await?,
    };
    show(&if command.control().json { json(&*tenant) } else { tenants::described(&tenant) })
}

async fn changed<DB: Provision>(
    command: &LifecycleCommand,
    store: &SqlStore<DB>,
) -> Result<Arc<Tenant>, String> {
    let (actor, refused) = (tenants::actor(), |e: crate::Error| text(&e));
    let find = async |tenant: &str| tenants::find(store, tenant, "SLUG_OR_ID").await;
    let slug = |slug: &str| Slug::parse(slug).map_err(|e| format!("`{}`: {}", printable(slug), text(&e)));
    match command {
        LifecycleCommand::List { .. } | LifecycleCommand::Show { .. } => Err("it changes nothing".to_owned()),
        LifecycleCommand::Suspend { tenant, reason, message, .. } => {
            let suspension = Suspension::new(reason).map_err(refused)?;
            let suspension = match message {
                Some(message) => suspension.message(message).map_err(refused)?,
                None => suspension,
            };
            store.suspend(find(tenant).await?.id(), suspension, &actor).await.map_err(refused)
        }
        LifecycleCommand::Resume { tenant, reason, .. } => {
            store.resume(find(tenant).await?.id(), reason, &actor).await.map_err(refused)
        }
        LifecycleCommand::Rename { tenant, slug: new, name, .. } => {
            let new = new.as_deref().map(slug).transpose()?;
            store.rename(find(tenant).await?.id(), new, name.as_deref(), &actor).await.map_err(refused)
        }
    }
}

async fn list<DB: Provision>(
    store: &SqlStore<DB>,
    status: Option<TenantStatus>,
    plan: Option<&str>,
    as_json: bool,
) -> Result<(), String> {
    let is_wanted = |tenant: &Tenant| {
        status.is_none_or(|status| tenant.status() == status) && plan.is_none_or(|plan| tenant.plan() == plan)
    };
    let columns = [(24, Align::Left), (12, Align::Left), (16, Align::Left), (20, Align::Left)];
    let (table, mut last, mut shown) = (Table::new(columns), None, 0_usize);
    loop {
        let page = tenants::after(store, last.as_ref()).await?;
        let Some(end) = page.last() else { break };
        last = Some(end.id().clone());
        for tenant in page.iter().filter(|tenant| is_wanted(tenant)) {
            if shown == 0 && !as_json {
                show(&table.line([&"tenant", &"status", &"plan", &"place"], "name"))?;
            }
            shown += 1;
            let (plan, name) = (printable(tenant.plan()), printable(tenant.name()));
            show(&if as_json {
                json(&**tenant)
            } else {
                table.line([tenant.slug(), &tenant.status().as_str(), &plan, tenant.placement()], &name)
            })?;
        }
    }
    match (as_json, shown) {
        (true, _) => Ok(()),
        (false, 1) => show("1 tenant\n"),
        (false, shown) => show(&format!("{shown} tenants\n")),
    }
}
