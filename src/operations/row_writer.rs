//! [`RowWriter`]: writes the rows of a bundle into the tables of a place, in one transaction.

use super::bundle::TableHead;
use super::read::{Row, array_of};
use super::rewrite::Rewrite;
use super::statement::{insert, keep_links, set_links, staged_count};
use super::sync::backward;
use super::table::DataTable;
use super::tenant_data::TenantData;
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// The library's own tables whose rows are written. Audit events and metered usage stay with their tenant.
const OWN: [&str; 2] = ["tenancy_gauges", "tenancy_gauge_resources"];

/// Writes the rows of a bundle into the tables of a place.
pub(super) struct RowWriter<'a, DB: TenantData> {
    conn: &'a mut DB::Connection,
    tables: &'a [(DataTable, TableHead)],
    tenant: &'a TenantId,
    rewrite: Rewrite,
    /// Whether other tenants use the same tables.
    shared: bool,
}

/// Begins a transaction for a [`RowWriter`].
pub(super) async fn begin<DB: TenantData>(conn: &mut DB::Connection) -> Result<()> {
    for statement in DB::BEGIN_IMPORT.split("; ").chain(DB::CREATE_LINKS.split("; ")) {
        DB::run(conn, statement.to_owned(), None).await.map_err(|e| database_error(&e))?;
    }
    Ok(())
}

impl<'a, DB: TenantData> RowWriter<'a, DB> {
    /// The transaction is begun. The tables are in the order of the bundle, parents first.
    pub(super) fn new(
        conn: &'a mut DB::Connection,
        tables: &'a [(DataTable, TableHead)],
        tenant: &'a TenantId,
        rewrite: Rewrite,
        shared: bool,
    ) -> Self {
        Self { conn, tables, tenant, rewrite, shared }
    }

    /// The number of tables.
    pub(super) fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Whether the rows of a table are written, and not left out.
    pub(super) fn is_written(&self, at: usize) -> bool {
        let (table, _) = &self.tables[at];
        // The id of a counted row is a text of the application, which new ids would not match.
        is_written(table) && !(self.rewrite.changes_ids() && table.name == OWN[1])
    }

    /// Writes rows of the table at this position. A key to a row that comes later is left out until the end.
    pub(super) async fn write(&mut self, at: usize, rows: Vec<Row>) -> Result<()> {
        if !self.is_written(at) {
            return Ok(());
        }
        let (table, _) = &self.tables[at];
        let later = self.later(at);
        let rows: Result<Vec<Row>> = rows.into_iter().map(|row| self.rewrite.row(table, row)).collect();
        let rows = array_of(&rows?);
        let insert = insert::<DB>(table, self.tenant, &later);
        DB::run(self.conn, insert, Some(&rows)).await.map_err(|e| table.failed("written", &e))?;
        if !later.is_empty() {
            let keep = keep_links::<DB>(at, &later);
            DB::run(self.conn, keep, Some(&rows)).await.map_err(|e| table.failed("written", &e))?;
        }
        Ok(())
    }

    /// Sets the keys that were left out, and the next generated numbers.
    pub(super) async fn finish(self) -> Result<()> {
        for (at, (table, _)) in self.tables.iter().enumerate() {
            let later = self.later(at);
            let stored = match &later[..] {
                [] => 0,
                _ => DB::read_number(self.conn, staged_count(at)).await.map_err(|e| database_error(&e))?,
            };
            if stored > 0 {
                if table.key.is_none() {
                    return Err(ambiguous(table));
                }
                let set = set_links::<DB>(table, self.tenant, at, &later);
                let set = DB::run(self.conn, set, None).await.map_err(|e| table.failed("written", &e))?;
                // In SQLite a primary key can be null, and then identifies no row.
                if i64::try_from(set) != Ok(stored) {
                    return Err(ambiguous(table));
                }
            }
            DB::advance_numbers(self.conn, table, self.tenant, self.shared).await?;
        }
        Ok(())
    }

    fn later(&self, at: usize) -> Vec<usize> {
        let names: Vec<&str> = self.tables[at..].iter().map(|(table, _)| &*table.name).collect();
        backward(&self.tables[at].0, &names)
    }
}

fn ambiguous(table: &DataTable) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!(
            "rows of `{}` refer to rows that are written after them, and have no primary key by which they could be found \
             again; give the table a primary key of columns that are NOT NULL",
            table.name
        ),
    )
}

/// Whether the rows of a table belong to another tenant or to another time as well.
pub(super) fn is_written(table: &DataTable) -> bool {
    !table.own || OWN.contains(&&*table.name)
}
