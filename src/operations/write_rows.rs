//! Writes rows to the target of a move: adds, changes and deletes them, a batch at a time.

use super::read::Row;
use super::statement::{delete_keys, exchanges, insert, update};
use super::table::DataTable;
use super::tenant_data::TenantData;
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// How many bytes of rows with exchanged unique values are kept.
const MAX_EXCHANGED: usize = 64 << 20;

/// Deletes rows of the target. Unless `all`, a row to which another one refers is left.
pub(super) async fn delete<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    tenant: &TenantId,
    keys: &[Row],
    all: bool,
) -> Result<u64> {
    if keys.is_empty() {
        return Ok(0);
    }
    let text = serde_json::to_string(keys).expect("texts are always JSON");
    let sql = delete_keys::<DB>(table, tenant);
    match write::<DB>(conn, table, sql, &text).await {
        Err(error) if error.kind() == ErrorKind::ReferenceViolation && !all => Ok(0),
        deleted => deleted,
    }
}

/// Inserts rows, without the columns at the positions `left_out` where a row that these refer to is not there yet.
/// Rows with a unique value of a row that is still to be changed are added to `exchanged`.
pub(super) async fn add<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    tenant: &TenantId,
    rows: Vec<String>,
    left_out: &[usize],
    exchanged: &mut Vec<String>,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let part = (!left_out.is_empty()).then(|| insert::<DB>(table, tenant, left_out));
    write_or_keep::<DB>(conn, table, (insert::<DB>(table, tenant, &[]), part), rows, exchanged).await
}

/// Changes rows of the target to these, without the columns at the positions `left_out` where a row that these refer to is
/// not there yet. Rows with a unique value of another row are added to `exchanged`.
pub(super) async fn replace<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    tenant: &TenantId,
    rows: Vec<String>,
    left_out: &[usize],
    exchanged: &mut Vec<String>,
) -> Result<()> {
    let Some(all) = update::<DB>(table, tenant, &[]).filter(|_| !rows.is_empty()) else { return Ok(()) };
    let part = update::<DB>(table, tenant, left_out).filter(|_| !left_out.is_empty());
    write_or_keep::<DB>(conn, table, (all, part), rows, exchanged).await
}

/// Writes rows with all columns, or with a part of them if a row that they refer to is not there yet.
async fn write_or_keep<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    (all, part): (String, Option<String>),
    rows: Vec<String>,
    exchanged: &mut Vec<String>,
) -> Result<()> {
    let text = array(&rows);
    let mut done = write::<DB>(conn, table, all, &text).await;
    if let Some(part) = part
        && done.as_ref().is_err_and(|e| e.kind() == ErrorKind::ReferenceViolation)
    {
        done = write::<DB>(conn, table, part, &text).await;
    }
    match done {
        Err(error) if error.kind() == ErrorKind::Conflict => {
            exchanged.extend(rows);
            if exchanged.iter().map(String::len).sum::<usize>() > MAX_EXCHANGED {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "too many rows of `{}` have exchanged unique values with each other while the tenant was moved: \
                         suspend the tenant for the time of the move",
                        table.name
                    ),
                )
                .with_source(error));
            }
            Ok(())
        }
        done => done.map(|_| ()),
    }
}

/// Writes rows that have exchanged unique values with each other: all are deleted, and inserted anew.
pub(super) async fn exchange<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    tenant: &TenantId,
    rows: &[String],
    left_out: &[usize],
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    for statement in DB::BEGIN_IMPORT.split("; ") {
        run::<DB>(conn, statement).await?;
    }
    let text = array(rows);
    let done = async {
        for sql in exchanges::<DB>(table, tenant, left_out) {
            write::<DB>(conn, table, sql, &text).await?;
        }
        Ok(())
    };
    let done = done.await;
    run::<DB>(conn, if done.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    done
}

async fn write<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    sql: String,
    parameter: &str,
) -> Result<u64> {
    DB::run(conn, sql, Some(parameter)).await.map_err(|e| table.failed("written", &e))
}

fn array(rows: &[String]) -> String {
    format!("[{}]", rows.join(","))
}

pub(super) async fn run<DB: TenantData>(conn: &mut DB::Connection, sql: &str) -> Result<()> {
    DB::run(conn, sql.to_owned(), None).await.map(|_| ()).map_err(|e| database_error(&e))
}
