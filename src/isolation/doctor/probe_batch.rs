//! Runs a probe in batches of tables: each is one message with a time limit of its own.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::catalog::{Catalog, TIME_LIMITS};
use super::probe_table::{Outcome, Table};
use crate::isolation::catalog::{Setting, set_local};

/// How many tables are probed in one message, beside the tables that these refer to.
const BATCH: usize = 50;

/// With one connection for each worker, Citus opens no connection after the probe has set a savepoint. A trigger of the
/// application sends no notice to the log.
const SETTINGS: [Setting; 4] = [
    ("standard_conforming_strings", "on"),
    ("jit", "off"),
    ("client_min_messages", "error"),
    ("citus.max_adaptive_executor_pool_size", "1"),
];

/// Runs a block that tries something on each table. `tables` are sorted: each after those that it refers to.
///
/// A batch that the server rejects is a fault of each of its tables, and the others are probed. If the role may run no
/// block, that is one fault of the probe, which `what` names.
pub(super) async fn execute(
    conn: &mut PgConnection,
    catalog: &Catalog,
    what: &str,
    block: &str,
    tables: &[Table],
) -> sqlx::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for batch in tables.chunks(BATCH) {
        let names: BTreeSet<&str> = batch.iter().map(|table| table.name.as_str()).collect();
        match run(conn, block, &with_parents(catalog, batch, tables)).await {
            // A table of another batch has its results from that batch.
            Ok(found) => outcomes.extend(found.into_iter().filter(|one| names.contains(&*one.table))),
            // Each statement of the block handles a missing privilege, so the role lacks that of the block itself.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {
                outcomes.push(fault(what, error.message().to_owned()));
                break;
            }
            Err(sqlx::Error::Database(error)) => outcomes.extend(batch.iter().map(|table| {
                let detail = format!("the {what} of {} tables failed: {}", batch.len(), error.message());
                fault(&table.name, detail)
            })),
            Err(error) => return Err(error),
        }
        tracing::debug!(target: "tenancy::doctor", tables = batch.len(), of = tables.len(), "probed a batch of tables");
    }
    Ok(outcomes)
}

fn fault(table: &str, detail: String) -> Outcome {
    Outcome { table: table.to_owned(), kind: "fault".to_owned(), detail }
}

/// A batch, and the tables whose rows its rows need, in the order of all tables: those that foreign keys refer to, and
/// those whose partition or child a table is.
fn with_parents(catalog: &Catalog, batch: &[Table], tables: &[Table]) -> Vec<Table> {
    let probed: BTreeSet<i64> = batch.iter().map(|table| table.oid).collect();
    let mut needed = probed.clone();
    let mut open: Vec<i64> = probed.iter().copied().collect();
    while let Some(oid) = open.pop() {
        let referred = catalog.foreign_keys.iter().filter(|key| key.child == oid).map(|key| key.parent);
        let above = catalog.relations.get(oid).into_iter().flat_map(|one| one.parents.iter().copied());
        for parent in referred.chain(above) {
            if needed.insert(parent) {
                open.push(parent);
            }
        }
    }
    let wanted = tables.iter().filter(|table| needed.contains(&table.oid));
    wanted.map(|table| if probed.contains(&table.oid) { table.clone() } else { table.unprobed() }).collect()
}

/// Runs the block on some tables. It leaves the results in the setting `tenancy.doctor`.
async fn run(conn: &mut PgConnection, block: &str, tables: &[Table]) -> sqlx::Result<Vec<Outcome>> {
    let tables = serde_json::to_string(tables).map_err(|e| sqlx::Error::Encode(e.into()))?;
    // No table name can end the SQL string or the dollar quote around it.
    let tables = tables.replace('\'', "''").replace('$', "\\u0024");
    let sql = format!(
        "{}; {}; SELECT current_setting('tenancy.doctor')",
        set_local(&[&SETTINGS[..], &TIME_LIMITS].concat()),
        block.replace("{SHARED}", include_str!("probe_shared.sql")).replace("{TABLES}", &tables)
    );
    // One message without `BEGIN`: a dropped future leaves no transaction open.
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await?;
    let text: &str = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
    serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(e.into()))
}
