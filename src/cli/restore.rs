//! `tenancy tenants restore`: puts the rows of a bundle back into the tenant that they are of.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::bundle_input::{BundleInput, is_standard, read_to_end};
use super::confirm::confirm;
use super::interrupts::{INTERRUPTED, unless_interrupted};
use super::output::{json, note, show, text};
use super::progress::byte_bar;
use super::provisioners::{Migrating, Provisioned};
use super::table::{Align, Table};
use super::tenants;
use crate::operations::{Restore, TenantData};
use crate::tenant::Slug;

#[derive(Args)]
pub(crate) struct Options {
    /// The tenant, by its slug or its id.
    #[arg(value_name = "SLUG_OR_ID")]
    tenant: String,
    /// A bundle of this tenant, which `tenancy tenants export` wrote; `-` is standard input, and needs `--yes`.
    file: PathBuf,
    /// The slug of the tenant once more, which confirms that it is the right one.
    #[arg(long, value_name = "SLUG", required_unless_present = "dry_run")]
    confirm: Option<String>,
    /// Only show how the rows would change.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for a confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(crate) place: Migrating,
}

pub(crate) async fn run<DB: TenantData>(
    options: &Options,
    Provisioned { store, provisioner }: &Provisioned<DB>,
) -> Result<ExitCode, String> {
    let tenant = tenants::find(store, &options.tenant, "SLUG_OR_ID").await?;
    let slug = options.confirm.as_deref().map(Slug::parse).transpose();
    let slug = slug.map_err(|e| format!("`--confirm`: {}", text(&e)))?;
    if slug.as_ref().is_some_and(|slug| slug != tenant.slug()) {
        return Err("`--confirm` is not the slug of the tenant; nothing was changed".to_owned());
    }
    if is_standard(&options.file) && !options.dry_run && !options.yes {
        return Err("standard input has the bundle, so nobody can be asked; confirm it by `--yes`".to_owned());
    }
    let input = BundleInput::open(&options.file).await?;
    let bar = byte_bar(input.bytes);
    let mut reader = bar.wrap_async_read(input.reader);
    let restore = provisioner.restore(tenant.id(), &mut reader).await;
    bar.finish_and_clear();
    let restore = restore.map_err(|e| text(&e))?;
    if input.bytes.is_none() {
        read_to_end(&mut reader).await;
    }
    show(&report(&restore, options.place.owner.json))?;
    let Some(slug) = slug.filter(|_| !options.dry_run) else { return Ok(ExitCode::SUCCESS) };
    confirm(&format!("Replace the rows of {slug} by those of the bundle?"), options.yes)?;
    let Some(restored) = unless_interrupted(restore.apply(&slug, &tenants::actor())).await else {
        note("interrupted: either nothing or everything was replaced; `--dry-run` shows which");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    restored.map_err(|e| text(&e))?;
    note("the rows are restored; `tenancy tenants resume` opens the tenant");
    Ok(ExitCode::SUCCESS)
}

/// How the rows would change: a table for people, or a line of JSON for each table.
fn report<DB: TenantData>(restore: &Restore<DB>, is_json: bool) -> String {
    if is_json {
        let line = |one: &crate::operations::RestoredTable| {
            let (name, added, changed, removed) = (&one.name, one.added, one.changed, one.removed);
            json(
                &serde_json::json!({ "table": name, "added": added, "changed": changed, "removed": removed }),
            )
        };
        return restore.differences().iter().map(line).collect();
    }
    let table = Table::new([(40, Align::Left), (10, Align::Right), (10, Align::Right), (10, Align::Right)]);
    let mut lines = table.line([&"table", &"added", &"changed", &"removed"], "");
    for one in restore.differences() {
        lines += &table.line([&one.name, &one.added, &one.changed, &one.removed], "");
    }
    lines
}
