//! [`sync`] makes the rows of a tenant in one place the same as in another; [`digest`] proves it.
//!
//! The rows of the source are read as of one moment, so their foreign keys hold in the target. What was copied before is
//! found by its fingerprint, so a copy that was interrupted goes on.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::pin::Pin;

use futures_util::stream::{BoxStream, Peekable};
use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::erase;
use super::read::{MAX_BATCH, Row};
use super::statement::{delete_keys, digests, fingerprints, rows};
use super::table::{DataTable, Link};
use super::tenant_data::TenantData;
use super::write_rows::{add, delete, exchange, replace, run};
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// How many rows one statement writes.
const BATCH: usize = 500;

/// The table of events that are only added. Rows of its target that the source lacks are kept.
pub(super) const EVENTS: &str = "tenancy_audit_events";

/// A place of a tenant, with connections as the owner of its tables: one reads, and one writes meanwhile.
pub(super) struct Side<DB: TenantData> {
    pub(super) tables: Vec<DataTable>,
    pub(super) reader: DB::Connection,
    pub(super) writer: DB::Connection,
}

impl<DB: TenantData> Side<DB> {
    pub(super) fn table(&self, name: &str) -> Result<DataTable> {
        self.tables.iter().find(|table| table.name == name).cloned().ok_or_else(|| differing(name))
    }
}

/// The tables of the source and the target differ.
pub(super) fn differing(table: &str) -> Error {
    Error::new(
        ErrorKind::MigrationPending,
        format!(
            "`{table}` is not the same table in both places; run the migrations in both, and repeat the move"
        ),
    )
}

/// Copies what differs, once. Returns how many rows were written or deleted: 0 if both are the same.
pub(super) async fn sync<DB: TenantData>(
    source: &mut Side<DB>,
    target: &mut Side<DB>,
    tenant: &TenantId,
    copied: &[String],
    mut progress: impl FnMut(&str, u64),
) -> Result<u64> {
    let tables: Vec<(DataTable, DataTable)> = copied
        .iter()
        .map(|name| {
            let (from, to) = (source.table(name)?, target.table(name)?);
            if from.columns.iter().map(|c| &c.name).eq(to.columns.iter().map(|c| &c.name))
                && from.key == to.key
            {
                Ok((from, to))
            } else {
                Err(differing(name))
            }
        })
        .collect::<Result<_>>()?;
    run::<DB>(&mut source.reader, DB::BEGIN_SNAPSHOT).await?;
    let Side { reader, .. } = source;
    let Side { reader: target_reader, writer, .. } = target;
    let mut changed = 0;
    // Children first: rows that the source does not have any more. One to which a row still refers is deleted at the end.
    for pass in 0..2 {
        for (from, to) in tables.iter().rev().filter(|(from, _)| from.name != EVENTS) {
            let mut comparison = Comparison::<DB>::new(reader, target_reader, (from, to), tenant);
            while let Some(Difference { extra, .. }) = comparison.next().await? {
                changed += delete::<DB>(writer, to, tenant, &extra, pass == 1).await?;
            }
        }
        if pass == 1 {
            break;
        }
        for (at, (from, to)) in tables.iter().enumerate() {
            let later: Vec<&str> = tables[at..].iter().map(|(table, _)| &*table.name).collect();
            let left_out = backward(to, &later);
            let mut written = 0;
            let mut exchanged = Vec::new();
            let mut comparison = Comparison::<DB>::new(reader, target_reader, (from, to), tenant);
            while let Some(Difference { missing, other, .. }) = comparison.next().await? {
                written += (missing.len() + other.len()) as u64;
                replace::<DB>(writer, to, tenant, other, &left_out, &mut exchanged).await?;
                add::<DB>(writer, to, tenant, missing, &left_out, &mut exchanged).await?;
                progress(&to.name, written);
            }
            exchange::<DB>(writer, to, tenant, &exchanged, &left_out).await?;
            changed += written;
        }
        // Keys to rows that were not there when their own row was written.
        for (at, (from, to)) in tables.iter().enumerate() {
            let later: Vec<&str> = tables[at..].iter().map(|(table, _)| &*table.name).collect();
            if backward(to, &later).is_empty() {
                continue;
            }
            let mut exchanged = Vec::new();
            let mut comparison = Comparison::<DB>::new(reader, target_reader, (from, to), tenant);
            while let Some(Difference { other, .. }) = comparison.next().await? {
                replace::<DB>(writer, to, tenant, other, &[], &mut exchanged).await?;
            }
            exchange::<DB>(writer, to, tenant, &exchanged, &[]).await?;
        }
    }
    run::<DB>(reader, "ROLLBACK").await?;
    Ok(changed)
}

/// Deletes the rows of a table in the source that the target has too.
pub(super) async fn delete_copied<DB: TenantData>(
    source: &mut Side<DB>,
    target: &mut Side<DB>,
    table: &str,
    tenant: &TenantId,
) -> Result<()> {
    let (from, to) = (source.table(table)?, target.table(table)?);
    let sql = delete_keys::<DB>(&from, tenant);
    let mut copied = DB::texts(&mut target.reader, fingerprints::<DB>(&to, tenant)).chunks(BATCH);
    while let Some(rows) = copied.next().await {
        let rows: sqlx::Result<Vec<String>> = rows.into_iter().collect();
        let rows = rows.map_err(|e| database_error(&e))?;
        let keys: Vec<Row> = rows.iter().map(|row| keyed(row).0).collect();
        let keys = serde_json::to_string(&keys).expect("texts are always JSON");
        erase::delete::<DB>(&mut source.writer, &from, tenant, sql.clone(), Some(&keys)).await?;
    }
    Ok(())
}

/// The number of rows of a table, and one hash over all of them.
pub(super) async fn digest<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    tenant: &TenantId,
) -> Result<(u64, [u8; 32])> {
    let failed = |e: sqlx::Error| table.failed("compared", &e);
    let (mut count, mut hash) = (0, Sha256::new());
    let is_of_many = DB::digests("", "").is_some();
    let mut parts = DB::texts(conn, digests::<DB>(table, tenant));
    while let Some(part) = parts.try_next().await.map_err(failed)? {
        let rows = if is_of_many {
            keyed(&part).0[0].as_deref().and_then(|n| n.parse().ok()).unwrap_or(0)
        } else {
            1
        };
        hash.update(&part);
        count += rows;
    }
    Ok((count, hash.finalize().into()))
}

/// Some of the rows of a table that differ between two places.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// The rows that the target lacks, and those that it has with other values.
    pub(super) missing: Vec<String>,
    pub(super) other: Vec<String>,
    /// The keys of rows that only the target has.
    pub(super) extra: Vec<Row>,
    /// The size of the rows.
    bytes: usize,
}

impl Difference {
    fn is_full(&self) -> bool {
        [self.missing.len(), self.other.len(), self.extra.len()].iter().any(|rows| *rows >= BATCH)
            || self.bytes >= MAX_BATCH
    }

    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.other.is_empty() && self.extra.is_empty()
    }
}

/// Compares a table in two places by its primary keys and the fingerprints of its rows, a batch at a time.
pub(super) struct Comparison<'a, DB: TenantData> {
    table: &'a DataTable,
    wanted: Rows<'a>,
    present: Rows<'a>,
    database: PhantomData<fn() -> DB>,
}

/// Rows, of which the next one can be looked at.
type Rows<'a> = Peekable<BoxStream<'a, sqlx::Result<String>>>;

/// The next row, which stays the next one until it is taken.
async fn peek<'r>(rows: &'r mut Rows<'_>) -> Result<Option<&'r str>> {
    match Pin::new(rows).peek().await {
        Some(Ok(row)) => Ok(Some(row)),
        Some(Err(error)) => Err(database_error(error)),
        None => Ok(None),
    }
}

async fn take(rows: &mut Rows<'_>) -> Result<String> {
    let row = rows.next().await.transpose().map_err(|e| database_error(&e))?;
    Ok(row.expect("the row was looked at"))
}

impl<'a, DB: TenantData> Comparison<'a, DB> {
    fn new(
        source: &'a mut DB::Connection,
        target: &'a mut DB::Connection,
        (from, to): (&'a DataTable, &'a DataTable),
        tenant: &TenantId,
    ) -> Self {
        Self {
            table: from,
            ..Self::with_rows(DB::texts(source, rows::<DB>(from, tenant)), target, to, tenant)
        }
    }

    /// Compares rows with those of a table. They are in the order of the primary key.
    pub(super) fn with_rows(
        rows: BoxStream<'a, sqlx::Result<String>>,
        target: &'a mut DB::Connection,
        to: &'a DataTable,
        tenant: &TenantId,
    ) -> Self {
        Self {
            table: to,
            wanted: rows.peekable(),
            present: DB::texts(target, fingerprints::<DB>(to, tenant)).peekable(),
            database: PhantomData,
        }
    }

    /// The next rows that differ; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Difference>> {
        let mut found = Difference::default();
        loop {
            let (row, other) = (peek(&mut self.wanted).await?, peek(&mut self.present).await?);
            let order = match (row, other.map(keyed)) {
                (None, None) => return Ok((!found.is_empty()).then_some(found)),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(row), Some((key, fingerprint))) => match key_of(self.table, row).cmp(&key) {
                    Ordering::Equal if fingerprint == DB::fingerprint_of(row) => {
                        take(&mut self.wanted).await?;
                        take(&mut self.present).await?;
                        continue;
                    }
                    order => order,
                },
            };
            match order {
                Ordering::Less => {
                    let row = take(&mut self.wanted).await?;
                    found.bytes += row.len();
                    found.missing.push(row);
                }
                Ordering::Greater => found.extra.push(keyed(&take(&mut self.present).await?).0),
                Ordering::Equal => {
                    take(&mut self.present).await?;
                    let row = take(&mut self.wanted).await?;
                    found.bytes += row.len();
                    found.other.push(row);
                }
            }
            if found.is_full() {
                return Ok(Some(found));
            }
        }
    }
}

/// The key and the fingerprint of a row of [`fingerprints`].
fn keyed(text: &str) -> (Row, String) {
    let mut parts: Row = serde_json::from_str(text).expect("the database returns an array of texts");
    let fingerprint = parts.pop().flatten().unwrap_or_default();
    (parts, fingerprint)
}

fn key_of(table: &DataTable, row: &str) -> Row {
    let row: Row = serde_json::from_str(row).expect("the database returns an array of texts");
    table.key.iter().flatten().map(|at| row[*at].clone()).collect()
}

/// The columns that can refer to rows that are written later, and may be null until then.
pub(super) fn backward(table: &DataTable, later: &[&str]) -> Vec<usize> {
    let can_wait = |link: &&Link| !link.required && later.contains(&&*link.parent);
    let links = table.links.iter().filter(can_wait).flat_map(|link| &link.columns);
    let mut columns: Vec<usize> = links.filter_map(|(child, _)| table.position(child)).collect();
    columns.retain(|at| !table.columns[*at].not_null);
    columns.sort_unstable();
    columns.dedup();
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_few_rows_and_few_bytes() {
        let empty = Difference::default;
        assert!(!empty().is_full());
        let row = || Some("x".to_owned());
        assert!(Difference { extra: vec![vec![row()]; BATCH], ..empty() }.is_full());
        assert!(Difference { missing: vec!["x".to_owned(); BATCH], ..empty() }.is_full());
        assert!(!Difference { other: vec!["x".to_owned(); BATCH - 1], ..empty() }.is_full());
        assert!(Difference { bytes: MAX_BATCH, ..empty() }.is_full());
    }
}
