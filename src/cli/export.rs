//! `tenancy tenants export`: writes the data of a tenant into a bundle.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use tokio::io::BufWriter;

use super::bundle_input::is_standard;
use super::interrupts::{INTERRUPTED, unless_interrupted};
use super::new_file::NewFile;
use super::output::{counted, json, note, show, text};
use super::progress::byte_bar;
use super::provisioners::{Owner, Provisioned};
use super::table::{Align, Table};
use super::tenants;
use crate::operations::{Manifest, TableManifest, TenantData};
use crate::tenant::Tenant;

#[derive(Args)]
pub(crate) struct Options {
    /// The tenant, by its slug or its id.
    #[arg(value_name = "SLUG_OR_ID")]
    tenant: String,
    /// A new file, which only its owner may read; `-` is standard output, and the report is then on standard error.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    pub(crate) owner: Owner,
}

pub(crate) async fn run<DB: TenantData>(
    options: &Options,
    Provisioned { store, provisioner }: &Provisioned<DB>,
) -> Result<ExitCode, String> {
    let tenant = tenants::find(store, &options.tenant, "SLUG_OR_ID").await?;
    let export = provisioner.export(tenant.id());
    let bar = byte_bar(None);
    let written = if is_standard(&options.output) {
        if std::io::stdout().is_terminal() {
            return Err("a bundle is not for a terminal; name a file by `--output`".to_owned());
        }
        unless_interrupted(export.write_to(bar.wrap_async_write(tokio::io::stdout()))).await
    } else {
        let file = NewFile::create(&options.output)?;
        let writer = BufWriter::new(tokio::fs::File::from_std(file.file()?));
        let written = unless_interrupted(export.write_to(bar.wrap_async_write(writer))).await;
        if matches!(written, Some(Ok(_))) {
            file.publish()?;
        }
        written
    };
    bar.finish_and_clear();
    let Some(written) = written else {
        note("interrupted: there is no bundle; run the same command again");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let manifest = written.map_err(|e| text(&e))?;
    report(options, &tenant, &manifest, bar.position())?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Exported<'a> {
    #[serde(flatten)]
    tenant: tenants::Named<'a>,
    file: String,
    bytes: u64,
    schema_version: Option<i64>,
    tables: &'a [TableManifest],
}

fn report(options: &Options, tenant: &Tenant, manifest: &Manifest, bytes: u64) -> Result<(), String> {
    let file = options.output.display().to_string();
    let is_standard = is_standard(&options.output);
    let report = if options.owner.json {
        let (schema_version, tables) = (manifest.schema_version, &manifest.tables);
        json(&Exported { tenant: tenants::named(tenant), file, bytes, schema_version, tables })
    } else {
        let table = Table::new([(40, Align::Left), (12, Align::Right)]);
        let lines = manifest.tables.iter().map(|one| table.line([&one.name, &one.rows], &one.sha256));
        let lines: String = [table.line([&"table", &"rows"], "sha256")].into_iter().chain(lines).collect();
        let rows: u64 = manifest.tables.iter().map(|one| one.rows).sum();
        let (tables, rows) = (counted(manifest.tables.len() as u64, "table"), counted(rows, "row"));
        let file = if is_standard { "standard output" } else { &file };
        format!("{lines}{}: {tables}, {rows}, {bytes} bytes in {file}\n", tenant.slug())
    };
    if is_standard {
        #[expect(clippy::print_stderr, reason = "standard output has the bundle")]
        {
            eprint!("{report}");
        }
        return Ok(());
    }
    show(&report)
}
