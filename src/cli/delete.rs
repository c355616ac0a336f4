//! `tenancy tenants delete`: deletes a tenant with all of its data, and writes a receipt.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::confirm::confirm;
use super::embedded::Embedded;
use super::hooks::{Hooked, with_hooks};
use super::interrupts::{INTERRUPTED, unless_interrupted};
use super::new_file::NewFile;
use super::output::{json, note, printable, show, text};
use super::provisioners::{Owner, Provisioned};
use super::table::{Align, Table};
use super::{receipts, tenants};
use crate::Error;
use crate::ErrorKind;
use crate::operations::{Deletion, DeletionPlan, DeletionReceipt};
use crate::tenant::{Slug, Tenant, TenantId};

#[derive(Args)]
pub(crate) struct Options {
    /// The tenant, by its slug or its id. A tenant that is deleted already is named by its id: its receipt is written again.
    #[arg(value_name = "SLUG_OR_ID")]
    tenant: String,
    /// The slug of the tenant once more, which confirms that it is the right one.
    #[arg(long, value_name = "SLUG", required_unless_present = "dry_run")]
    confirm: Option<String>,
    /// Keep the rows of a table, because a law requires them. The reason is part of the receipt. May be repeated.
    #[arg(long = "hold", value_name = "TABLE=REASON", value_parser = hold)]
    holds: Vec<(String, String)>,
    /// Only show what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// A new file for the receipt, instead of standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    receipt: Option<PathBuf>,
    /// Do not ask for a confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(crate) owner: Owner,
}

fn hold(text: &str) -> Result<(String, String), String> {
    let (table, reason) = text.split_once('=').ok_or("it has no `=`, as in `invoices=kept for 10 years`")?;
    Ok((table.to_owned(), reason.to_owned()))
}

pub(crate) async fn run<DB: Hooked>(
    options: &Options,
    embedded: &Embedded,
    Provisioned { store, provisioner }: &Provisioned<DB>,
) -> Result<ExitCode, String> {
    // Whatever is wrong with the key or the file is found before anything is deleted.
    let keys = receipts::keys()?;
    let deletion = |id: &TenantId| {
        let deletion = with_hooks(provisioner.deletion(id, &tenants::actor()), &embedded.hooks);
        options.holds.iter().fold(deletion, |deletion, (table, reason)| deletion.hold(table, reason))
    };
    let is_json = options.owner.json;
    let found = tenants::find_if_exists(store, &options.tenant, "SLUG_OR_ID").await?;
    if options.dry_run {
        let tenant = found.ok_or_else(|| tenants::unknown("SLUG_OR_ID"))?;
        let plan = deletion(tenant.id()).plan().await.map_err(|e| text(&e))?;
        show(&if is_json { json(&Planned::of(&tenant, &plan)) } else { planned(&plan) })?;
        return Ok(ExitCode::from(u8::from(plan.is_open)));
    }
    let slug = options.confirm.as_deref().unwrap_or_default();
    let slug = Slug::parse(slug).map_err(|e| format!("`--confirm`: {}", text(&e)))?;
    let file = options.receipt.as_deref().map(NewFile::create).transpose()?;
    let deleted = if let Some(tenant) = found {
        let deletion = deletion(tenant.id());
        ask(options, &tenant, &slug, &deletion).await?;
        unless_interrupted(deletion.run(&slug)).await
    } else {
        // It can be deleted already, and then there is its receipt. Nothing is deleted here.
        let unknown = || tenants::unknown("SLUG_OR_ID");
        let id = TenantId::parse(&options.tenant).map_err(|_| unknown())?;
        match deletion(&id).ended(&slug).await {
            Err(error) if error.kind() == ErrorKind::TenantUnknown => return Err(unknown()),
            receipt => Some(Ok(receipt.map_err(|e| text(&e))?)),
        }
    };
    let Some(deleted) = deleted else {
        note("interrupted: the tenant is deleted in part; run the same command again, and it goes on");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let receipt = deleted.map_err(|e| again(&e))?;
    if keys.is_none() {
        note("the receipt is not signed; TENANCY_RECEIPT_KEY_ID and TENANCY_RECEIPT_KEY name a key");
    }
    let written = receipts::written(&receipt, keys.as_ref());
    if let Some(file) = file {
        let kept = file
            .file()
            .and_then(|mut output| output.write_all(written.as_bytes()).map_err(|e| file.unwritten(&e)));
        kept.and_then(|()| file.publish()).map_err(|e| {
            let (id, slug) = (&receipt.tenant, &receipt.slug);
            format!(
                "{e}; the tenant is deleted: `tenancy tenants delete {id} --confirm {slug} --receipt FILE` writes it again"
            )
        })?;
        show(&if is_json { json(&receipt) } else { receipts::lines(&receipt) })?;
    } else if is_json {
        show(&json(&Deleted { receipt: &receipt, signed: keys.map(|_| written.trim_end()) }))?;
    } else {
        show(&(receipts::lines(&receipt) + &written))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What can be repeated says so.
fn again(error: &Error) -> String {
    match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::Misconfigured | ErrorKind::IllegalTransition => text(error),
        _ => format!("{}; run the same command again, and the deletion goes on", text(error)),
    }
}

/// Shows the plan, and asks. An error means that nothing was deleted.
async fn ask<DB: Hooked>(
    options: &Options,
    tenant: &Tenant,
    slug: &Slug,
    deletion: &Deletion<DB>,
) -> Result<(), String> {
    if tenant.slug() != slug {
        return Err("`--confirm` is not the slug of the tenant; nothing was deleted".to_owned());
    }
    let plan = deletion.plan().await.map_err(|e| text(&e))?;
    if plan.is_open {
        return Err(format!(
            "the tenant is {}: suspend or deactivate it first, such as by `tenancy tenants suspend {slug}`; nothing was deleted",
            tenant.status()
        ));
    }
    if !options.owner.json {
        show(&planned(&plan))?;
    } else if !options.yes {
        #[expect(clippy::print_stderr, reason = "what the question is about")]
        {
            eprint!("{}", planned(&plan));
        }
    }
    Ok(confirm(&format!("Delete {slug} with all of its data?"), options.yes)?)
}

#[derive(Serialize)]
struct Planned<'a> {
    #[serde(flatten)]
    tenant: tenants::Named<'a>,
    drops_place: bool,
    is_open: bool,
    tables: Vec<PlannedRows<'a>>,
    hooks: &'a [String],
}

#[derive(Serialize)]
struct PlannedRows<'a> {
    name: &'a str,
    rows: u64,
    hold: Option<&'a str>,
}

impl<'a> Planned<'a> {
    fn of(tenant: &'a Tenant, plan: &'a DeletionPlan) -> Self {
        let DeletionPlan { drops_place, is_open, tables, hooks, .. } = plan;
        let tables = tables.iter().map(|table| PlannedRows {
            name: &table.name,
            rows: table.rows,
            hold: table.hold.as_deref(),
        });
        let tenant = tenants::named(tenant);
        Self { tenant, drops_place: *drops_place, is_open: *is_open, tables: tables.collect(), hooks }
    }
}

#[derive(Serialize)]
struct Deleted<'a> {
    receipt: &'a DeletionReceipt,
    signed: Option<&'a str>,
}

/// A plan for people.
fn planned(plan: &DeletionPlan) -> String {
    let table = Table::new([(40, Align::Left), (12, Align::Right)]);
    let mut lines = table.line([&"table", &"rows"], "");
    for one in &plan.tables {
        let hold = one.hold.as_ref().map(|reason| format!("kept: {}", printable(reason)));
        lines += &table.line([&one.name, &one.rows], &hold.unwrap_or_default());
    }
    lines.extend(plan.hooks.iter().map(|hook| format!("hook {}\n", printable(hook))));
    let dropped = if plan.drops_place { ", which is dropped" } else { "" };
    let open = if plan.is_open { "the tenant is open: suspend or deactivate it first\n" } else { "" };
    format!("{lines}{}, in the {}{dropped}\n{open}", plan.slug, plan.placement)
}
