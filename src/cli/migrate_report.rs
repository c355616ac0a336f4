//! What `tenancy migrate` prints: lines of text or JSON on standard output, and a progress bar.

use crate::placement::{Drift, MigratedPlace};
use indicatif::ProgressBar;
use serde::Serialize;

use super::output::{Cause, json, line, show, text};
use super::progress::bar;

/// Reports a run: a line for each place that failed, and in JSON for every place. The progress bar is on standard
/// error, if that is a terminal.
pub(crate) struct Report {
    json: bool,
    bar: ProgressBar,
    pub(crate) summary: Summary,
}

/// What a run did.
#[derive(Default, Serialize)]
pub(crate) struct Summary {
    migrated: usize,
    up_to_date: usize,
    pub(crate) failed: usize,
    pub(crate) interrupted: bool,
}

impl Summary {
    /// How many places were visited.
    pub(crate) fn places(&self) -> usize {
        self.migrated + self.up_to_date + self.failed
    }

    /// Whether a migration was applied anywhere.
    pub(crate) fn has_changes(&self) -> bool {
        self.migrated > 0
    }
}

impl Report {
    pub(crate) fn new(json: bool, places: usize) -> Self {
        let bar = bar(Some(places as u64), "{spinner} [{bar:30}] {pos} of {len} places{msg}");
        Self { json, bar, summary: Summary::default() }
    }

    /// Counts a place, and prints its line.
    pub(crate) fn place(&mut self, place: &MigratedPlace) -> Result<(), String> {
        let MigratedPlace { tenant, result, .. } = place;
        match result {
            Ok(versions) if versions.is_empty() => self.summary.up_to_date += 1,
            Ok(_) => self.summary.migrated += 1,
            Err(_) => {
                self.summary.failed += 1;
                self.bar.set_message(format!(", {} failed", self.summary.failed));
            }
        }
        // A tenant that was inserted meanwhile is migrated too.
        let visited = self.summary.places() as u64;
        self.bar.set_length(visited.max(self.bar.length().unwrap_or_default()));
        self.bar.set_position(visited);
        let line = match result {
            _ if self.json => {
                let applied = result.as_deref().unwrap_or_default();
                let error = result.as_ref().err().map(Cause::of);
                line(tenant.as_deref(), Applied { applied, error })
            }
            Ok(_) => return Ok(()),
            Err(error) => format!("{place}: {}\n", text(error)),
        };
        self.bar.suspend(|| show(&line))
    }

    /// Prints a remark on standard error.
    pub(crate) fn note(&self, text: &str) {
        #[expect(clippy::print_stderr, reason = "a remark beside the report")]
        self.bar.suspend(|| eprintln!("tenancy: {text}"));
    }

    /// Prints the summary.
    pub(crate) fn end(&self) -> Result<(), String> {
        self.bar.finish_and_clear();
        let Summary { migrated, up_to_date, failed, .. } = &self.summary;
        let visited = counted(self.summary.places());
        show(&if self.json {
            json(&serde_json::json!({ "summary": self.summary }))
        } else {
            format!("{visited}: {migrated} migrated, {up_to_date} up to date, {failed} failed\n")
        })
    }
}

/// The report of places that differ from the migrations. `places` is the number of those that were compared.
pub(crate) fn compared(drifts: &[Drift], places: usize, is_json: bool) -> String {
    let mut lines = Vec::new();
    for drift in drifts {
        let Drift { tenant, missing, unknown, altered, unreadable, .. } = drift;
        if is_json {
            let error = unreadable.as_ref().map(Cause::of);
            lines.push(line(tenant.as_deref(), Differs { missing, unknown, altered, error }));
            continue;
        }
        let lists = [("missing", missing), ("unknown", unknown), ("altered", altered)];
        let lists = lists.iter().filter(|(_, versions)| !versions.is_empty());
        let mut parts: Vec<_> = lists.map(|(what, versions)| format!("{what} {versions:?}")).collect();
        parts.extend(unreadable.as_ref().map(text));
        let name = tenant.as_ref().map_or("shared tables", |tenant| tenant.slug().as_str());
        lines.push(format!("{name}: {}\n", parts.join(", ")));
    }
    let different = drifts.len();
    let up_to_date = places.saturating_sub(different);
    lines.push(if is_json {
        json(&serde_json::json!({ "summary": { "up_to_date": up_to_date, "different": different } }))
    } else {
        format!("{} compared: {up_to_date} up to date, {different} different\n", counted(places))
    });
    lines.concat()
}

fn counted(places: usize) -> String {
    if places == 1 { "1 place".to_owned() } else { format!("{places} places") }
}

#[derive(Serialize)]
struct Applied<'a> {
    applied: &'a [i64],
    error: Option<Cause>,
}

#[derive(Serialize)]
struct Differs<'a> {
    missing: &'a [i64],
    unknown: &'a [i64],
    altered: &'a [i64],
    error: Option<Cause>,
}
