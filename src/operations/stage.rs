//! Reads a bundle into a temporary table. The transaction that writes the rows begins afterwards, and does not wait for the
//! reader of the caller.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::TryStreamExt;
use tokio::io::AsyncRead;

use super::bundle::{TableHead, malformed};
use super::read::{BundleReader, MAX_BATCH, array_of};
use super::row_writer::{RowWriter, is_written};
use super::statement::{stage, staged};
use super::table::DataTable;
use super::tenant_data::TenantData;
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};

/// How many rows one statement inserts.
const BATCH: usize = 500;

/// Reads the rows of a bundle into a temporary table of a connection, and compares the bundle with its manifest. Returns the
/// number of rows of each table.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if this is no complete bundle; what the database returns.
pub(super) async fn stage_rows<DB: TenantData>(
    conn: &mut DB::Connection,
    tables: &[(DataTable, TableHead)],
    mut reader: BundleReader<impl AsyncRead + Unpin + Send>,
) -> Result<Vec<u64>> {
    for statement in DB::CREATE_LINKS.split("; ") {
        DB::run(conn, statement.to_owned(), None).await.map_err(|e| database_error(&e))?;
    }
    let mut counts = Vec::new();
    for (at, (table, file)) in tables.iter().enumerate() {
        let stage = stage::<DB>(at);
        let mut rows = reader.rows(file).await?;
        while let Some(batch) = rows.next_batch(BATCH).await? {
            if batch.iter().flatten().flatten().any(|text| !DB::is_value(text)) {
                return Err(malformed(format!(
                    "a row of `{}` has a value that {} does not read",
                    table.name,
                    DB::NAME
                )));
            }
            // Other rows are checked, and not written.
            if is_written(table) {
                let staged = DB::run(conn, stage.clone(), Some(&array_of(&batch))).await;
                staged.map_err(|e| table.failed("read from the bundle", &e))?;
            }
        }
        counts.push(rows.finish());
    }
    reader.finish().await?;
    Ok(counts)
}

/// Writes all rows of a temporary table of [`stage_rows`], and completes the writer.
///
/// # Errors
/// What the database returns, with the name of the table; [`ErrorKind::Retryable`] once `stop` is set.
pub(super) async fn write_staged<DB: TenantData>(
    conn: &mut DB::Connection,
    mut writer: RowWriter<'_, DB>,
    stop: &AtomicBool,
) -> Result<()> {
    let check = || if stop.load(Ordering::Relaxed) { Err(stopped()) } else { Ok(()) };
    for at in 0..writer.tables() {
        let mut all = DB::texts(conn, staged::<DB>(at));
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = all.try_next().await.map_err(|e| database_error(&e))? {
            bytes += row.len();
            let row = serde_json::from_str(&row);
            rows.push(row.map_err(|e| malformed(format!("a row cannot be read ({e})")))?);
            if rows.len() >= BATCH || bytes >= MAX_BATCH {
                bytes = 0;
                check()?;
                writer.write(at, std::mem::take(&mut rows)).await?;
            }
        }
        if !rows.is_empty() {
            check()?;
            writer.write(at, rows).await?;
        }
    }
    writer.finish().await?;
    check()
}

fn stopped() -> Error {
    Error::new(ErrorKind::Retryable, "this was stopped before all rows were written, and none is; repeat it")
}
