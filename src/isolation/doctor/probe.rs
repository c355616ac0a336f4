//! The probe: two tenants that do not exist try to reach each other's rows, and every change is rolled back.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgConnection;
use tenancy_sql::Schema;
use uuid::Uuid;

use super::catalog::Catalog;
use super::check::{Check, Severity};
use super::examined::Examined;
use super::probe_batch;
use super::probe_table::{Outcome, table};
use super::report::{Finding, Fix, Report};
use super::server::unexamined;
use crate::isolation::catalog::Column;

pub(super) async fn run(
    conn: &mut PgConnection,
    catalog: &Catalog,
    schema: &Schema,
    report: &mut Report,
) -> sqlx::Result<()> {
    if catalog.bypasses() {
        report.notes.push("the probe did not run: no policy applies to this role".to_owned());
        return Ok(());
    }
    let open = open(report);
    let writes = !catalog.server.read_only;
    if !writes {
        report.notes.push("the probe wrote no row: the server is read-only".to_owned());
    }
    let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
    let mut tables = Vec::new();
    for (relation, column) in ordered(catalog, schema) {
        if relation.kind == 'f' || relation.usable.is_empty() || open.contains(&relation.display()) {
            continue;
        }
        match table(catalog, schema, (relation, column), (a, b), writes) {
            Some(table) => tables.push(table),
            None => report.findings.push(unexamined(
                &relation.display(),
                &format!(
                    "`{}` is of the type {}, for which the probe has no tenant ids",
                    column.name, column.r#type
                ),
            )),
        }
    }
    let outcomes = probe_batch::execute(conn, catalog, "probe", include_str!("probe.sql"), &tables).await?;
    record(outcomes, catalog, schema, report);
    Ok(())
}

/// The tables that are already known to be open. A probe skips them.
pub(super) fn open(report: &Report) -> BTreeSet<String> {
    const OPEN: [Check; 6] = [
        Check::RlsOff,
        Check::ChildWithoutRls,
        Check::OpenPolicy,
        Check::OwnerPastRls,
        Check::ProbeRead,
        Check::ProbeWrite,
    ];
    let errors = report.findings.iter().filter(|finding| finding.severity() == Severity::Error);
    errors
        .filter(|finding| OPEN.contains(&finding.check()))
        .map(|finding| finding.object().to_owned())
        .collect()
}

fn record(outcomes: Vec<Outcome>, catalog: &Catalog, schema: &Schema, report: &mut Report) {
    let counted: BTreeSet<String> = catalog
        .tenants(schema)
        .filter(|(table, _)| !table.partition)
        .map(|(table, _)| table.display())
        .collect();
    let mut open = BTreeMap::<(Check, String), Vec<String>>::new();
    for Outcome { table, kind, detail } in outcomes {
        match &*kind {
            "made" if counted.contains(&table) => report.proven += 1,
            "made" => {}
            "unmade" => report.notes.push(format!("could not insert a row into `{table}`: {detail}")),
            "read" => open.entry((Check::ProbeRead, table)).or_default().push(detail),
            "write" => open.entry((Check::ProbeWrite, table)).or_default().push(detail),
            _ => report.findings.push(unexamined(&table, &detail)),
        }
    }
    for ((check, table), mut details) in open {
        details.dedup();
        let fix = "compare its policies with those of a table without this finding, as the database prints them (`\\d`), \
                   and look for operators, functions and rules with the same names in another schema";
        report.findings.push(Finding::new(check, table, details.join("; "), Fix::Step(fix.to_owned())));
    }
}

/// The tenant tables, each after the tables that it references.
pub(super) fn ordered<'a>(catalog: &'a Catalog, schema: &'a Schema) -> Vec<(&'a Examined, &'a Column)> {
    let mut open: Vec<_> = catalog.tenants(schema).collect();
    let mut done = Vec::new();
    while !open.is_empty() {
        let waits = |(relation, _): &(&Examined, &Column)| {
            catalog.foreign_keys.iter().any(|key| {
                key.child == relation.oid
                    && key.parent != relation.oid
                    && open.iter().any(|(other, _)| other.oid == key.parent)
            })
        };
        let (waiting, mut ready): (Vec<_>, Vec<_>) = open.iter().copied().partition(waits);
        if ready.is_empty() {
            // These tables reference each other in a circle.
            done.extend(waiting);
            break;
        }
        done.append(&mut ready);
        open = waiting;
    }
    done
}
