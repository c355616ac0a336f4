//! What `tenancy usage` prints: a line for each gauge, quota and meter of a tenant, or JSON, and a summary.

use serde::Serialize;

use super::output::{Cause, json, line, printable, show, text};
use super::table::{Align, Table};
use crate::Error;
use crate::billing::UnsentUsage;
use crate::clock::Timestamp;
use crate::plan::Limit;
use crate::quota::FeatureUsage;
use crate::quota::meter::Counter;
use crate::tenant::Tenant;

/// What one tenant uses.
pub(crate) struct Found {
    pub(crate) gauges: Vec<Counted>,
    pub(crate) quotas: Vec<Counted>,
    pub(crate) metered: Vec<Metered>,
}

/// A gauge, or a quota in its current period.
#[derive(Serialize)]
pub(crate) struct Counted {
    feature: String,
    /// The user, API key or subject that is counted; without one, the whole tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    used: u64,
    /// What reservations hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<u64>,
    limit: Limit,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<String>,
    /// When the next period starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_us: Option<Timestamp>,
}

/// The usage of a meter that was not sent to the billing system.
#[derive(Serialize)]
pub(crate) struct Metered {
    pub(crate) meter: String,
    #[serde(flatten)]
    pub(crate) usage: UnsentUsage,
}

impl Counted {
    pub(crate) fn gauge(key: &str, used: u64, limit: Limit) -> Self {
        let feature = key.to_owned();
        Self { feature, subject: None, used, held: None, limit, period: None, resets_us: None }
    }

    pub(crate) fn quota(usage: &FeatureUsage) -> Self {
        Self {
            feature: usage.key.clone(),
            subject: None,
            used: usage.used.unwrap_or(0),
            held: usage.held.filter(|held| *held > 0),
            limit: usage.limit.map_or(Limit::Unlimited, Limit::AtMost),
            period: usage.period.clone(),
            resets_us: usage.resets_at,
        }
    }

    pub(crate) fn of_subject(usage: &FeatureUsage, counter: &Counter) -> Self {
        Self {
            subject: Some(counter.key.subject.clone()),
            used: counter.used,
            held: (counter.held > 0).then_some(counter.held),
            period: Some(counter.key.period.clone()),
            resets_us: counter.end,
            ..Self::quota(usage)
        }
    }

    fn remarks(&self) -> String {
        let over = self.limit.max().and_then(|max| self.used.checked_sub(max)).filter(|over| *over > 0);
        let remarks = [
            self.period.clone(),
            self.held.map(|held| format!("{held} held")),
            over.map(|over| format!("over the limit by {over}")),
        ];
        remarks.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl Metered {
    fn remarks(&self) -> String {
        let UnsentUsage { dead, withheld, .. } = self.usage;
        let parts = [(dead, "given up"), (withheld, "withheld in a trial")];
        let parts = parts.iter().filter(|(sum, _)| *sum > 0).map(|(sum, what)| format!("{sum} {what}"));
        [vec!["not sent".to_owned()], parts.collect()].concat().join(", ")
    }
}

/// The report, and what was read so far.
pub(crate) struct Report {
    json: bool,
    table: Table<5>,
    begun: bool,
    sum: Summary,
}

#[derive(Default, Serialize)]
struct Summary {
    read: usize,
    /// The tenants that are over a limit.
    over_limit: usize,
    failed: usize,
}

#[derive(Serialize)]
struct Line<'a> {
    plan: &'a str,
    gauges: &'a [Counted],
    quotas: &'a [Counted],
    metered: &'a [Metered],
    error: Option<Cause>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        let columns =
            [(24, Align::Left), (24, Align::Left), (6, Align::Left), (12, Align::Right), (12, Align::Right)];
        Self { json, table: Table::new(columns), begun: false, sum: Summary::default() }
    }

    /// Counts a tenant, and prints its lines.
    pub(crate) fn tenant(&mut self, tenant: &Tenant, found: &Result<Found, Error>) -> Result<(), String> {
        match found {
            Ok(Found { gauges, quotas, .. }) => {
                self.sum.read += 1;
                let is_over = |one: &Counted| one.limit.max().is_some_and(|max| one.used > max);
                self.sum.over_limit += usize::from(gauges.iter().chain(quotas).any(is_over));
            }
            Err(_) => self.sum.failed += 1,
        }
        if self.json {
            let (gauges, quotas, metered) = match found {
                Ok(Found { gauges, quotas, metered }) => (&gauges[..], &quotas[..], &metered[..]),
                Err(_) => (&[][..], &[][..], &[][..]),
            };
            let error = found.as_ref().err().map(Cause::of);
            return show(&line(Some(tenant), Line { plan: tenant.plan(), gauges, quotas, metered, error }));
        }
        let slug = tenant.slug();
        let Found { gauges, quotas, metered } = match found {
            Ok(found) => found,
            Err(error) => return show(&format!("{slug}: {}\n", text(error))),
        };
        let mut lines = String::new();
        if !self.begun {
            self.begun = true;
            lines += &self.table.line([&"tenant", &"feature", &"kind", &"used", &"limit"], "");
        }
        for (kind, counted) in
            gauges.iter().map(|one| ("gauge", one)).chain(quotas.iter().map(|one| ("quota", one)))
        {
            let feature = match &counted.subject {
                Some(subject) => format!("{} ({})", counted.feature, printable(subject)),
                None => counted.feature.clone(),
            };
            let cells: [&dyn std::fmt::Display; 5] = [slug, &feature, &kind, &counted.used, &counted.limit];
            lines += &self.table.line(cells, &counted.remarks());
        }
        for one in metered {
            let meter = printable(&one.meter);
            lines += &self.table.line([slug, &meter, &"meter", &one.usage.waiting, &""], &one.remarks());
        }
        show(&lines)
    }

    /// Prints the summary, and returns the exit code.
    pub(crate) fn end(&self) -> Result<u8, String> {
        let Summary { read, over_limit, failed } = &self.sum;
        let tenants = if read + failed == 1 { "1 tenant" } else { &format!("{} tenants", read + failed) };
        show(&if self.json {
            json(&serde_json::json!({ "summary": self.sum }))
        } else {
            format!("{tenants}: {read} read, {over_limit} over a limit, {failed} failed\n")
        })?;
        Ok(if *failed > 0 { 2 } else { 0 })
    }
}
