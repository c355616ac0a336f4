//! Finds foreign keys that are marked valid although rows violate them.

use std::time::{Duration, Instant};

use serde::Deserialize;
use sqlx::postgres::PgConnection;
use tenancy_sql::Schema;

use super::catalog::{self, Catalog};
use super::check::Check;
use super::examined::Examined;
use super::report::{Finding, Fix, Report};
use crate::isolation::catalog::{ForeignKey, Ownership};
use crate::isolation::identifier::quoted;

/// The time for all keys together. Keys after that are named in a note.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The number of rows at which counting stops.
const COUNT_LIMIT: i64 = 1000;

#[derive(Deserialize)]
struct Broken {
    rows: i64,
}

/// Checks the rows of each foreign key between tables whose rows the role sees completely. A note counts the other
/// keys.
pub(super) async fn run(
    conn: &mut PgConnection,
    catalog: &Catalog,
    schema: &Schema,
    report: &mut Report,
) -> sqlx::Result<()> {
    let started = Instant::now();
    let mut hidden = 0;
    for key in catalog.foreign_keys.iter().filter(|key| key.valid) {
        let (Some(child), Some(parent)) =
            (catalog.relations.get(key.child), catalog.relations.get(key.parent))
        else {
            continue;
        };
        let of_tenants = [child, parent]
            .into_iter()
            .any(|one| matches!(catalog.ownership(one, schema), Ownership::Tenant(_)));
        if !of_tenants {
            continue;
        }
        if !child.sees_all || !parent.sees_all {
            hidden += 1;
            continue;
        }
        let unchecked = |why: &str| {
            format!(
                "the rows of the foreign key `{}` of `{}` were not checked: {why}",
                key.name,
                child.display()
            )
        };
        if key.period || started.elapsed() > TIME_LIMIT {
            let why =
                if key.period { "it compares periods" } else { "the keys before it exceeded the time limit" };
            report.notes.push(unchecked(why));
            continue;
        }
        let rows = broken(key, child, parent);
        let sql = format!("SELECT count(*) AS rows FROM (SELECT {rows} LIMIT {COUNT_LIMIT}) broken");
        match catalog::rows::<Broken>(conn, &sql).await {
            Ok(found) => {
                if let Some(Broken { rows: count @ 1.. }) = found.first() {
                    report.findings.push(finding(key, child, parent, *count, &rows));
                }
            }
            Err(sqlx::Error::Database(error)) => report.notes.push(unchecked(error.message())),
            Err(error) => return Err(error),
        }
    }
    if hidden > 0 {
        report.notes.push(format!(
            "foreign keys whose rows were not checked: {hidden}; `{}` does not see all rows; a role with BYPASSRLS and \
             SELECT on the tables does",
            catalog.server.role
        ));
    }
    Ok(())
}

fn finding(key: &ForeignKey, child: &Examined, parent: &Examined, count: i64, rows: &str) -> Finding {
    let more = if count == COUNT_LIMIT { " or more" } else { "" };
    Finding::new(
        Check::BrokenKey,
        child.display(),
        format!(
            "`{}` is marked valid, and {count}{more} of its rows reference no row of `{}`",
            key.name,
            parent.display()
        ),
        Fix::Step(format!("change or delete these rows, as a role that sees all of them: SELECT c.* {rows}")),
    )
}

/// The `FROM` and `WHERE` that select the rows of the child, as `c`, whose parent row does not exist.
fn broken(key: &ForeignKey, child: &Examined, parent: &Examined) -> String {
    // A partitioned table stores its rows in its partitions; a key of any other table applies to that table only.
    let from = |relation: &Examined, name: &str| {
        let only = if relation.kind == 'p' { "" } else { "ONLY " };
        format!("FROM {only}{} {name}", relation.ident)
    };
    let set = key.columns.iter().map(|(child_column, _)| format!("c.{} IS NOT NULL", quoted(child_column)));
    let same = key.columns.iter().zip(&key.operators).map(|((child_column, parent_column), operator)| {
        format!("p.{} {operator} c.{}", quoted(parent_column), quoted(child_column))
    });
    format!(
        "{} WHERE {} AND NOT EXISTS (SELECT {} WHERE {})",
        from(child, "c"),
        set.collect::<Vec<_>>().join(" AND "),
        from(parent, "p"),
        same.collect::<Vec<_>>().join(" AND ")
    )
}
