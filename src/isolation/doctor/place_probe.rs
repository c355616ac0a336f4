//! Probes a place from another place: from there, as its role, a tenant that does not exist tries to reach the row of
//! another such tenant by the name of its table. Every change is rolled back.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use tenancy_sql::Schema;
use uuid::Uuid;

use super::catalog::Catalog;
use super::check::{Check, Severity};
use super::probe;
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

/// A result of `place_probe.sql` for a table.
#[derive(Deserialize)]
struct Reached {
    table: String,
    kind: String,
    detail: String,
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
    let open: BTreeSet<&str> = report
        .findings
        .iter()
        .filter(|finding| finding.severity() == Severity::Error && OPEN.contains(&finding.check()))
        .map(Finding::object)
        .collect();
    let tenants = (Uuid::now_v7(), Uuid::now_v7());
    let tables: Vec<_> = probe::ordered(catalog, schema)
        .into_iter()
        .filter(|(relation, _)| relation.kind != 'f' && !open.contains(&*relation.display()))
        .filter_map(|one| probe::table(catalog, schema, one, tenants, true))
        .collect();
    if tables.is_empty() {
        return Ok(());
    }
    let tables = serde_json::to_string(&tables).map_err(|e| sqlx::Error::Encode(e.into()))?;
    let origin = match from {
        Origin::Shared => "the shared tables".to_owned(),
        Origin::Schema(name, _) => format!("the schema {name}"),
    };
    match execute(conn, &tables, from).await {
        Ok(outcomes) => record(outcomes, &origin, report),
        Err(sqlx::Error::Database(error)) => {
            report.findings.push(unexamined(&format!("probe from {origin}"), error.message()));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

const OPEN: [Check; 6] = [
    Check::RlsOff,
    Check::ChildWithoutRls,
    Check::OpenPolicy,
    Check::OwnerPastRls,
    Check::ProbeRead,
    Check::ProbeWrite,
];

/// The settings of the probe of one place. Calls, because Citus repeats a `SET LOCAL` on its workers, with all other
/// statements of the same message.
const SETTINGS: &str = "SELECT WHERE pg_catalog.set_config('standard_conforming_strings', 'on', true) IS NULL \
    OR pg_catalog.set_config('jit', 'off', true) IS NULL OR pg_catalog.set_config('statement_timeout', '10s', true) IS NULL \
    OR pg_catalog.set_config('lock_timeout', '2s', true) IS NULL";

async fn execute(conn: &mut PgConnection, tables: &str, from: Origin<'_>) -> sqlx::Result<Vec<Reached>> {
    // No table name can end the SQL string or the dollar quote around it.
    let tables = tables.replace('\'', "''").replace('$', "\\u0024");
    let default = "(SELECT reset_val FROM pg_settings WHERE name = 'search_path')";
    let (role, path) = match from {
        Origin::Shared => ("none", default.to_owned()),
        Origin::Schema(name, role) => {
            (if role { name.as_str() } else { "none" }, literal(&format!("\"{name}\", pg_temp")))
        }
    };
    let sql = format!(
        "{SETTINGS}; {}; SELECT current_setting('tenancy.doctor')",
        include_str!("place_probe.sql")
            .replace("{ROLE}", &literal(role))
            .replace("{PATH}", &path)
            .replace("{TABLES}", &tables)
    );
    // One message without `BEGIN`: a dropped future leaves no transaction open.
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await?;
    let text: &str = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
    serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(e.into()))
}

fn record(outcomes: Vec<Reached>, origin: &str, report: &mut Report) {
    let mut open = BTreeMap::<(Check, String), Vec<String>>::new();
    for Reached { table, kind, detail } in outcomes {
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
