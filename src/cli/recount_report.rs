//! What `tenancy recount` prints: a table with a line for each tenant, or JSON, and a summary.

use crate::Error;
use crate::plan::Limit;
use crate::quota::GaugeDrift;
use crate::tenant::Tenant;
use serde::Serialize;

use super::output::{Cause, json, line, show, text};
use super::table::{Align, Table};

/// How the report is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Table,
    /// The table, without the tenants whose gauge is exact.
    Drifts,
    Json,
}

/// The report, and what was found so far.
pub(crate) struct Report<'a> {
    gauge: &'a str,
    form: Form,
    applies: bool,
    begun: bool,
    table: Table<5>,
    sum: Summary,
}

#[derive(Default, Serialize)]
struct Summary {
    exact: usize,
    drift: usize,
    recounted: usize,
    failed: usize,
}

/// The gauge of one tenant.
pub(crate) struct Found {
    pub(crate) drift: GaugeDrift,
    pub(crate) limit: Limit,
}

#[derive(Serialize)]
struct Compared<'a> {
    gauge: &'a str,
    stored: Option<u64>,
    counted: Option<u64>,
    drift: Option<i64>,
    missing_ids: Option<u64>,
    extra_ids: Option<u64>,
    limit: Option<Limit>,
    recounted: bool,
    error: Option<Cause>,
}

impl<'a> Report<'a> {
    /// A report of a gauge. `applies`: the gauge of each tenant with drift is set.
    pub(crate) fn new(gauge: &'a str, form: Form, applies: Applies) -> Self {
        let number = (9, Align::Right);
        let table = Table::new([(24, Align::Left), number, number, number, number]);
        let applies = applies == Applies::Recounts;
        Self { gauge, form, applies, begun: false, table, sum: Summary::default() }
    }

    /// Says what is counted.
    pub(crate) fn head(&self, words: &str) -> Result<(), String> {
        match self.form {
            Form::Json => Ok(()),
            _ => show(&format!("{}: {words}\n", self.gauge)),
        }
    }

    /// Counts a tenant, and prints its line.
    pub(crate) fn tenant(&mut self, tenant: &Tenant, found: &Result<Found, Error>) -> Result<(), String> {
        match found {
            Ok(Found { drift, .. }) if drift.is_exact() => self.sum.exact += 1,
            Ok(_) if self.applies => self.sum.recounted += 1,
            Ok(_) => self.sum.drift += 1,
            Err(_) => self.sum.failed += 1,
        }
        match (self.form, found) {
            (Form::Json, _) => show(&self.json_line(tenant, found)),
            (_, Err(error)) => show(&format!("{}: {}\n", tenant.slug(), text(error))),
            (Form::Drifts, Ok(Found { drift, .. })) if drift.is_exact() => Ok(()),
            (_, Ok(found)) => {
                let head = if self.begun {
                    String::new()
                } else {
                    self.table.line([&"tenant", &"stored", &"counted", &"drift", &"limit"], "")
                };
                self.begun = true;
                show(&(head + &self.table_line(tenant, found)))
            }
        }
    }

    fn table_line(&self, tenant: &Tenant, Found { drift, limit }: &Found) -> String {
        let signed = match drift.drift() {
            0 => "0".to_owned(),
            other => format!("{other:+}"),
        };
        let mut remarks = Vec::new();
        if drift.missing_ids > 0 {
            remarks.push(format!("ids that are not counted: {}", drift.missing_ids));
        }
        if drift.extra_ids > 0 {
            remarks.push(format!("counted ids without a row: {}", drift.extra_ids));
        }
        if let Some(over) =
            limit.max().and_then(|max| drift.counted.checked_sub(max)).filter(|over| *over > 0)
        {
            remarks.push(format!("over the limit by {over}"));
        }
        if self.applies && !drift.is_exact() {
            remarks.push(format!("set to {}", drift.counted));
        }
        let cells: [&dyn std::fmt::Display; 5] = [tenant.slug(), &drift.used, &drift.counted, &signed, limit];
        self.table.line(cells, &remarks.join(", "))
    }

    fn json_line(&self, tenant: &Tenant, found: &Result<Found, Error>) -> String {
        let (ok, error) = match found {
            Ok(found) => (Some(found), None),
            Err(error) => (None, Some(Cause::of(error))),
        };
        let drift = ok.map(|found| &found.drift);
        line(
            Some(tenant),
            Compared {
                gauge: self.gauge,
                stored: drift.map(|one| one.used),
                counted: drift.map(|one| one.counted),
                drift: drift.map(GaugeDrift::drift),
                missing_ids: drift.map(|one| one.missing_ids),
                extra_ids: drift.map(|one| one.extra_ids),
                limit: ok.map(|found| found.limit),
                recounted: self.applies && drift.is_some_and(|one| !one.is_exact()),
                error,
            },
        )
    }

    /// How many tenants were counted, or failed.
    pub(crate) fn tenants(&self) -> usize {
        let Summary { exact, drift, recounted, failed } = &self.sum;
        exact + drift + recounted + failed
    }

    /// Prints the summary, and returns the exit code.
    pub(crate) fn end(&self) -> Result<u8, String> {
        let Summary { exact, drift, recounted, failed } = &self.sum;
        let tenants = match self.tenants() {
            1 => "1 tenant".to_owned(),
            tenants => format!("{tenants} tenants"),
        };
        let found =
            if self.applies { format!("{recounted} recounted") } else { format!("{drift} with drift") };
        show(&match self.form {
            Form::Json => json(&serde_json::json!({ "summary": self.sum })),
            _ => format!("{tenants}: {exact} exact, {found}, {failed} failed\n"),
        })?;
        Ok(if *failed > 0 { 2 } else { u8::from(*drift > 0) })
    }
}

/// Whether a run sets the gauges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applies {
    Reports,
    Recounts,
}
