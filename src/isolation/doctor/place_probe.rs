//! Probes a place from another place: from there, as its role, a tenant that does not exist tries to reach the row of
//! another such tenant by the name of its table. Every change is rolled back.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;
use tenancy_sql::Schema;
use uuid::Uuid;

use super::catalog::Catalog;
use super::check::Check;
use super::probe;
use super::probe_batch;
use super::probe_table::{self, Outcome};
use super::report::{Finding, Fix, Report};
use super::server::unexamined;
use crate::isolation::identifier::literal;
use crate::tenant::PlacementName;

/// The place from which another one is probed.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    Shared,
    /// A schema, and whether the application chooses its role.
    Schema(&'a PlacementName, bool),
}

/// Probes the tables of the catalogue, in whose place the connection is.
pub(super) async fn run(
    conn: &mut PgConnection,
    catalog: &Catalog,
    schema: &Schema,
    from: Origin<'_>,
    report: &mut Report,
) -> sqlx::Result<()> {
    if catalog.bypasses() || catalog.server.read_only {
        return Ok(());
    }
    // Tables that are open without another place are left out.
    let open = probe::open(report);
    let tenants = (Uuid::now_v7(), Uuid::now_v7());
    let tables: Vec<_> = probe::ordered(catalog, schema)
        .into_iter()
        .filter(|(relation, _)| relation.kind != 'f' && !open.contains(&relation.display()))
        .filter_map(|one| probe_table::table(catalog, schema, one, tenants, true))
        .collect();
    let origin = match from {
        Origin::Shared => "the shared tables".to_owned(),
        Origin::Schema(name, _) => format!("the schema {name}"),
    };
    let what = format!("probe from {origin}");
    let outcomes = probe_batch::execute(conn, catalog, &what, &block(from), &tables).await?;
    record(outcomes, &origin, report);
    Ok(())
}

/// The block that tries to reach the tables from there.
fn block(from: Origin<'_>) -> String {
    let default = "(SELECT reset_val FROM pg_settings WHERE name = 'search_path')";
    let (role, path) = match from {
        Origin::Shared => ("none", default.to_owned()),
        Origin::Schema(name, role) => {
            (if role { name.as_str() } else { "none" }, literal(&format!("\"{name}\", pg_temp")))
        }
    };
    include_str!("place_probe.sql").replace("{ROLE}", &literal(role)).replace("{PATH}", &path)
}

fn record(outcomes: Vec<Outcome>, origin: &str, report: &mut Report) {
    let mut open = BTreeMap::<(Check, String), Vec<String>>::new();
    for Outcome { table, kind, detail } in outcomes {
        let check = match &*kind {
            "read" => Check::ProbeRead,
            "updated" | "deleted" => Check::ProbeWrite,
            _ => {
                report.findings.push(unexamined(&table, &detail));
                continue;
            }
        };
        open.entry((check, table)).or_default().push(format!("a row was {kind} from {origin} {detail}"));
    }
    for ((check, table), details) in open {
        let fix = "look for operators, functions and policies that depend on the search path or on the role";
        report.findings.push(Finding::new(check, table, details.join("; "), Fix::Step(fix.to_owned())));
    }
}
