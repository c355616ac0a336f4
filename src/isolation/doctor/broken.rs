//! Foreign keys that are marked valid although rows break them.

use std::time::{Duration, Instant};

use serde::Deserialize;
use sqlx::postgres::PgConnection;
use tenancy_sql::Schema;

use super::catalog::{self, Catalog, Whose};
use super::check::Check;
use super::relation::Relation;
use super::report::{Finding, Fix, Report};
use crate::isolation::foreign_key::ForeignKey;
use crate::isolation::policy::quoted;

/// How long all keys together may take; the ones after are named in a note.
const LONGEST: Duration = Duration::from_secs(30);
/// More broken rows than this are not counted.
const COUNTED: i64 = 1000;

#[derive(Deserialize)]
struct Broken {
    rows: i64,
}

/// Looks at the rows of each key between tables of which this role sees all rows. A note counts the others.
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
            (catalog.relations.get(&key.child), catalog.relations.get(&key.parent))
        else {
            continue;
        };
        let of_tenants =
            [child, parent].into_iter().any(|one| matches!(catalog.whose(one, schema), Whose::Tenant(_)));
        if !of_tenants {
            continue;
        }
        if !child.sees_all || !parent.sees_all {
            hidden += 1;
            continue;
        }
        let unchecked = |why: &str| {
            format!(
                "whether rows keep the key `{}` of `{}` was not checked: {why}",
                key.name,
                child.display()
            )
        };
        if key.period || started.elapsed() > LONGEST {
            let why = if key.period { "it compares periods" } else { "the keys before it took too long" };
            report.notes.push(unchecked(why));
            continue;
        }
        let rows = broken(key, child, parent);
        let sql = format!("SELECT count(*) AS rows FROM (SELECT {rows} LIMIT {COUNTED}) broken");
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
            "whether rows keep their foreign keys was not checked for {hidden} of them: `{}` does not see all rows; a \
             role with BYPASSRLS and SELECT on the tables does",
            catalog.server.role
        ));
    }
    Ok(())
}

fn finding(key: &ForeignKey, child: &Relation, parent: &Relation, count: i64, rows: &str) -> Finding {
    let more = if count == COUNTED { " or more" } else { "" };
    Finding::new(
        Check::BrokenKey,
        child.display(),
        format!(
            "`{}` is marked valid, and {count}{more} of its rows refer to no row of `{}`",
            key.name,
            parent.display()
        ),
        Fix::Step(format!(
            "decide on these rows, as a role that sees all of them, and change or delete them: SELECT c.* {rows}"
        )),
    )
}

/// The rows of the child, as `c`, that refer to a row that is not there.
fn broken(key: &ForeignKey, child: &Relation, parent: &Relation) -> String {
    // A partitioned table has its rows in its partitions; a key of any other table is about that table alone.
    let from = |relation: &Relation, name: &str| {
        let only = if relation.kind == 'p' { "" } else { "ONLY " };
        format!("FROM {only}{} {name}", relation.ident)
    };
    let set = key.columns.iter().map(|(own, _)| format!("c.{} IS NOT NULL", quoted(own)));
    let same = key
        .columns
        .iter()
        .zip(&key.operators)
        .map(|((own, theirs), operator)| format!("p.{} {operator} c.{}", quoted(theirs), quoted(own)));
    format!(
        "{} WHERE {} AND NOT EXISTS (SELECT {} WHERE {})",
        from(child, "c"),
        set.collect::<Vec<_>>().join(" AND "),
        from(parent, "p"),
        same.collect::<Vec<_>>().join(" AND ")
    )
}
