//! `tenancy audit`: shows the audit events of tenants, or writes them to a file.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use futures_util::future::{Either, select};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use uuid::Uuid;

use super::audit_line::AuditLines;
use super::audit_log::{AuditLog, id_at};
use super::config::block_on;
use super::databases::Databases;
use super::embedded::Embedded;
use super::interrupts::interrupts;
use super::output::{note, text, write};
use super::tenants::{self, LeftOut};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, ErrorKind};
use crate::placement::Provision;
use crate::scope::StoredEvent;
use crate::store::SqlStore;
use crate::tenant::Tenant;

/// The pause between two reads of `--follow`.
const PAUSE: Duration = Duration::from_secs(1);
/// How far back each read of `--follow` begins: an event is created before its transaction commits.
const OVERLAP: i64 = 60_000_000;

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Show the latest audit events of a tenant or of all tenants, the latest at the end.
    ///
    /// Reads the events beside the rows of each tenant, and those of the control plane, such as `tenant.suspend`. Exits with
    /// 2 if the events of a tenant could not be read, and with 130 if `--follow` is ended by Ctrl-C.
    Tail(Tail),
    /// Write the audit events of a tenant or of all tenants as JSON, one event a line, the oldest of each tenant first.
    ///
    /// A line is the event as it is stored, byte for byte. Exits with 2 if the events of a tenant could not be read.
    Export(Export),
}

#[derive(Args)]
pub(crate) struct Tail {
    /// How many events are shown.
    #[arg(long, short = 'n', value_name = "N", default_value = "20", value_parser = clap::value_parser!(u16).range(1..=1000))]
    lines: u16,
    /// Show new events too, until Ctrl-C. Each second the latest minute is read.
    #[arg(long, short)]
    follow: bool,
    /// Print JSON: each event as it is stored.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Args)]
pub(crate) struct Export {
    /// The file that is written, which must not exist; without it, standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    chosen: Chosen,
}

/// Which events are read, and where.
#[derive(Args)]
struct Chosen {
    /// Only this tenant, by its slug or its id.
    #[arg(long, value_name = "SLUG_OR_ID")]
    tenant: Option<String>,
    /// Only events that were recorded since this time: `2h`, `7d`, `2026-11-29` or `2026-11-29T06:00:00Z`.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    #[command(flatten)]
    databases: Databases,
}

impl Chosen {
    /// An id before those of the events.
    fn start(&self) -> Uuid {
        self.since.map_or(Uuid::nil(), id_at)
    }
}

/// The time of `--since`: a time, a date, or how long ago.
fn since(text: &str) -> Result<Timestamp, String> {
    let time = if let Ok(time) = text.parse::<jiff::Timestamp>() {
        Ok(time)
    } else if let Ok(date) = text.parse::<Date>() {
        date.to_zoned(TimeZone::UTC).map(|midnight| midnight.timestamp())
    } else {
        let now = jiff::Timestamp::from_microsecond(SystemClock.now().micros());
        let span = text.parse::<jiff::Span>().map(jiff::Span::abs);
        now.and_then(|now| now.to_zoned(TimeZone::UTC).checked_sub(span?)).map(|then| then.timestamp())
    };
    let wanted = "give a time such as `2026-11-29T06:00:00Z`, a date, or how long ago, such as `90m` or `7d`";
    time.map(|time| Timestamp::from_micros(time.as_microsecond())).map_err(|_| wanted.to_owned())
}

pub(crate) fn run(command: &AuditCommand, embedded: &Embedded) -> Result<ExitCode, String> {
    let chosen = match command {
        AuditCommand::Tail(tail) => &tail.chosen,
        AuditCommand::Export(export) => &export.chosen,
    };
    block_on(async {
        let schema = chosen.databases.schema(embedded)?;
        let urls = chosen.databases.urls()?;
        if urls.is_postgres {
            let opened = chosen.databases.postgres(&urls, schema).await?;
            run_on(command, &opened.store, &AuditLog::new(&opened)).await
        } else {
            let opened = chosen.databases.sqlite(&urls, schema).await?;
            run_on(command, &opened.store, &AuditLog::new(&opened)).await
        }
    })
}

async fn run_on<DB: Provision>(
    command: &AuditCommand,
    store: &SqlStore<DB>,
    log: &AuditLog<'_, DB>,
) -> Result<ExitCode, String> {
    match command {
        AuditCommand::Tail(tail) => show_tail(tail, store, log).await,
        AuditCommand::Export(options) => export(options, store, log).await,
    }
}

/// Visits the chosen tenants. One that fails stops no other; the result is how many failed.
async fn each<DB: Provision>(
    chosen: &Chosen,
    store: &SqlStore<DB>,
    mut visit: impl AsyncFnMut(&Arc<Tenant>) -> crate::Result<()>,
) -> Result<(usize, LeftOut), String> {
    let (mut failed, region) = (0, chosen.databases.region()?);
    let visit = async |tenant: &Arc<Tenant>| {
        if let Err(error) = visit(tenant).await {
            failed += 1;
            note(&format!("{}: {}", tenant.slug(), text(&error)));
        }
        Ok(())
    };
    let left_out = tenants::each(store, chosen.tenant.as_deref(), region.as_ref(), visit).await?;
    Ok((failed, left_out))
}

async fn show_tail<DB: Provision>(
    tail: &Tail,
    store: &SqlStore<DB>,
    log: &AuditLog<'_, DB>,
) -> Result<ExitCode, String> {
    let (lines, start) = (usize::from(tail.lines), tail.chosen.start());
    let mut shown = AuditLines::new(tail.json);
    // What exists now is not new, also if it is not among the latest.
    let mut seen = HashSet::new();
    if tail.follow {
        let fresh = fresh(&tail.chosen, store, log, start).await?;
        seen.extend(fresh.iter().map(|(_, event)| event.id()));
    }
    let mut latest: Vec<(Arc<Tenant>, StoredEvent)> = Vec::new();
    let visit = async |tenant: &Arc<Tenant>| {
        let events = log.newest(tenant, start, tail.lines).await?;
        latest.extend(events.into_iter().map(|event| (tenant.clone(), event)));
        latest.sort_by_key(|(_, event)| event.id());
        latest.drain(..latest.len().saturating_sub(lines));
        Ok(())
    };
    let (failed, left_out) = each(&tail.chosen, store, visit).await?;
    seen.extend(latest.iter().map(|(_, event)| event.id()));
    let mut is_read = write(&shown.lines(&latest)?)?;
    left_out.note();
    if !tail.follow {
        return Ok(ExitCode::from(if failed > 0 { 2 } else { 0 }));
    }
    let mut interrupts = interrupts();
    while is_read {
        let next = async {
            tokio::time::sleep(PAUSE).await;
            fresh(&tail.chosen, store, log, start).await
        };
        let mut events = match select(pin!(interrupts.recv()), pin!(next)).await {
            Either::Left(_) => return Ok(ExitCode::from(130)),
            Either::Right((events, _)) => events?,
        };
        events.retain(|(_, event)| seen.insert(event.id()));
        is_read = write(&shown.lines(&events)?)?;
        let oldest = id_at(Timestamp::from_micros(SystemClock.now().micros() - 2 * OVERLAP));
        seen.retain(|id| *id > oldest);
    }
    Ok(ExitCode::SUCCESS)
}

/// The events of the latest minute, in the order in which they were created.
async fn fresh<DB: Provision>(
    chosen: &Chosen,
    store: &SqlStore<DB>,
    log: &AuditLog<'_, DB>,
    start: Uuid,
) -> Result<Vec<(Arc<Tenant>, StoredEvent)>, String> {
    let after = id_at(Timestamp::from_micros(SystemClock.now().micros() - OVERLAP)).max(start);
    let mut events = Vec::new();
    let visit = async |tenant: &Arc<Tenant>| {
        let keep = async |event: &StoredEvent| {
            events.push((tenant.clone(), event.clone()));
            Ok(())
        };
        log.each(tenant, after, keep).await
    };
    let (failed, _) = each(chosen, store, visit).await?;
    if failed > 0 {
        return Err("the events of a tenant could not be read; run the command again".to_owned());
    }
    events.sort_by_key(|(_, event): &(_, StoredEvent)| event.id());
    Ok(events)
}

async fn export<DB: Provision>(
    options: &Export,
    store: &SqlStore<DB>,
    log: &AuditLog<'_, DB>,
) -> Result<ExitCode, String> {
    let start = options.chosen.start();
    let mut output = Output::new(options.output.as_deref())?;
    let (mut events, mut visited) = (0_u64, 0_u64);
    let visit = async |tenant: &Arc<Tenant>| {
        visited += 1;
        let keep = async |event: &StoredEvent| {
            events += 1;
            output.line(event.json())
        };
        log.each(tenant, start, keep).await
    };
    let (failed, left_out) = each(&options.chosen, store, visit).await?;
    output.end()?;
    note(&format!("events: {events}, tenants: {visited}, not read to the end: {failed}"));
    left_out.note();
    Ok(ExitCode::from(if failed > 0 { 2 } else { 0 }))
}

/// Where an export goes.
enum Output {
    Standard(BufWriter<io::Stdout>),
    File(BufWriter<File>, PathBuf),
    /// The reader of standard output closed it.
    Closed,
}

impl Output {
    fn new(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::Standard(BufWriter::new(io::stdout()))) };
        let file = File::create_new(path)
            .map_err(|e| format!("{}: {e}; name a file that does not exist", path.display()))?;
        Ok(Self::File(BufWriter::new(file), path.to_owned()))
    }

    fn line(&mut self, json: &str) -> crate::Result<()> {
        let written = match self {
            Self::Standard(output) => writeln!(output, "{json}"),
            Self::File(output, _) => writeln!(output, "{json}"),
            Self::Closed => Ok(()),
        };
        self.check(written)
            .map_err(|e| Error::new(ErrorKind::Misconfigured, "the export cannot be written").with_source(e))
    }

    fn end(mut self) -> Result<(), String> {
        let written = match &mut self {
            Self::Standard(output) => output.flush(),
            Self::File(output, _) => output.flush().and_then(|()| output.get_ref().sync_all()),
            Self::Closed => Ok(()),
        };
        let path = if let Self::File(_, path) = &self { path.display().to_string() } else { String::new() };
        self.check(written).map_err(|e| format!("{path}: the export cannot be written: {e}"))
    }

    /// A reader that closes the pipe has read enough.
    fn check(&mut self, written: io::Result<()>) -> io::Result<()> {
        match (written, &*self) {
            (Err(e), Self::Standard(_)) if e.kind() == io::ErrorKind::BrokenPipe => {
                *self = Self::Closed;
                Ok(())
            }
            (written, _) => written,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_a_date_or_how_long_ago() {
        assert_eq!(since("2026-11-29T06:00:00Z").unwrap().seconds(), 1_795_932_000);
        assert_eq!(since("2026-11-29").unwrap().seconds(), 1_795_910_400);
        let now = SystemClock.now().seconds();
        for (text, seconds) in [("90m", 5400), ("2h", 7200), ("7d", 7 * 86_400), ("1 week", 7 * 86_400)] {
            let ago = now - since(text).unwrap().seconds();
            assert!((seconds - 5..=seconds + 5).contains(&ago), "{text}: {ago}");
        }
        for text in ["", "yesterday", "5", "2026-13-01"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
