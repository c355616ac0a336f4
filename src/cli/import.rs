//! `tenancy tenants import`: creates a tenant from a bundle.

use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use clap::Args;
use futures_util::future::{Either, select};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, ReadBuf};

use super::bundle_input::{BundleInput, read_to_end};
use super::embedded::Embedded;
use super::interrupts::{INTERRUPTED, interrupts, unless_interrupted};
use super::new_tenant;
use super::output::{counted, json, note, show, text};
use super::progress::byte_bar;
use super::provisioners::{Migrating, Provisioned};
use super::table::{Align, Table};
use super::tenants;
use crate::ErrorKind;
use crate::operations::{Imported, TenantData};
use crate::store::SqlStore;
use crate::tenant::{Slug, TenantStatus, TenantStore};

#[derive(Args)]
pub(crate) struct Options {
    /// The bundle, which `tenancy tenants export` wrote; `-` is standard input.
    file: PathBuf,
    /// The name of the new tenant in URLs.
    #[arg(long)]
    slug: String,
    #[command(flatten)]
    new: new_tenant::Options,
    #[command(flatten)]
    pub(crate) place: Migrating,
}

pub(crate) async fn run<DB: TenantData>(
    options: &Options,
    embedded: &Embedded,
    Provisioned { store, provisioner }: &Provisioned<DB>,
) -> Result<ExitCode, String> {
    let new = options.new.new_tenant::<DB>(&options.slug, embedded)?;
    let input = BundleInput::open(&options.file).await?;
    let is_stream = input.bytes.is_none();
    let bar = byte_bar(input.bytes);
    let stop = Arc::new(AtomicBool::new(false));
    let mut reader = Stoppable { reader: bar.wrap_async_read(input.reader), stop: stop.clone() };
    let actor = tenants::actor();
    let (mut import, mut interrupts) =
        (Box::pin(provisioner.import_unless(&stop, &mut reader, new, &actor)), interrupts());
    let imported = loop {
        match select(import.as_mut(), pin!(interrupts.recv())).await {
            Either::Left((imported, _)) => break imported,
            Either::Right(_) if stop.swap(true, Ordering::Relaxed) => {
                note(&format!("stopped at once; {}", removed_by(&options.slug)));
                return Ok(ExitCode::from(INTERRUPTED));
            }
            Either::Right(_) => {
                note("interrupted: the new tenant is removed again; Ctrl-C again stops at once");
            }
        }
    };
    drop(import);
    bar.finish_and_clear();
    let imported = match imported {
        Ok(imported) => imported,
        Err(error) => {
            // Its place could not be created, so nobody knows whether there is something in it.
            if error.kind() != ErrorKind::Conflict && is_left(store, &options.slug).await {
                note(&removed_by(&options.slug));
            }
            if stop.load(Ordering::Relaxed) {
                note("nothing was imported");
                return Ok(ExitCode::from(INTERRUPTED));
            }
            return Err(text(&error));
        }
    };
    if is_stream {
        let _ = unless_interrupted(read_to_end(&mut reader)).await;
    }
    options.place.owner.note_missing_grants::<DB>(imported.tenant.placement());
    show(&report(&imported, options.place.owner.json))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the tenant of an import that failed can still be in the list of tenants. It can be if the list is not readable.
async fn is_left<DB: TenantData>(store: &SqlStore<DB>, slug: &str) -> bool {
    let Ok(slug) = Slug::parse(slug) else { return false };
    let found = store.by_slug(&slug).await;
    found.map_or(true, |found| found.is_some_and(|tenant| tenant.status() == TenantStatus::Provisioning))
}

fn removed_by(slug: &str) -> String {
    format!(
        "a tenant that is left, and not open, is removed by `tenancy tenants delete {slug} --confirm {slug}`"
    )
}

fn report(imported: &Imported, is_json: bool) -> String {
    let Imported { tenant, rows, new_ids, .. } = imported;
    if is_json {
        let rows: Map<String, Value> =
            rows.iter().map(|(table, rows)| (table.clone(), Value::from(*rows))).collect();
        return json(&serde_json::json!({ "tenant": **tenant, "rows": rows, "new_ids": new_ids }));
    }
    let table = Table::new([(40, Align::Left), (12, Align::Right)]);
    let mut lines = table.line([&"table", &"rows"], "");
    lines.extend(rows.iter().map(|(name, rows)| table.line([name, rows], "")));
    let all: u64 = rows.iter().map(|(_, rows)| rows).sum();
    let (tables, all) = (counted(rows.len() as u64, "table"), counted(all, "row"));
    let (slug, id, place) = (tenant.slug(), tenant.id(), tenant.placement());
    let ids = if *new_ids {
        "ids that are unique over all tenants are new; an id in a text or in JSON is the old one\n"
    } else {
        ""
    };
    format!("{lines}{slug} ({id}) is open, in the {place}: {tables}, {all}\n{ids}")
}

/// A reader that fails after Ctrl-C, so that the import undoes what it did.
struct Stoppable<R> {
    reader: R,
    stop: Arc<AtomicBool>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Stoppable<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stop.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::Error::other("interrupted")));
        }
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}
