//! [`DeletionRecord`]: how far a deletion has come. The control plane stores it until the deletion ends.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::deletion_plan::PlannedTable;
use super::receipt::DeletionReceipt;
use crate::error::{Error, ErrorKind, Result};

/// How far a deletion has come.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DeletionRecord {
    /// Counts only rows that are gone.
    #[serde(flatten)]
    pub(super) receipt: DeletionReceipt,
    /// The tables whose deletion has begun and not ended, each with its number of rows before.
    #[serde(default)]
    begun: BTreeMap<String, u64>,
    /// The tables in which keys to other rows were set to null.
    #[serde(default)]
    pub(super) unlinked: BTreeSet<String>,
    /// Whether the place can be missing: a run was about to drop it, or it was never created.
    #[serde(default)]
    pub(super) may_be_gone: bool,
}

impl DeletionRecord {
    pub(super) fn new(receipt: DeletionReceipt) -> Self {
        Self { receipt, begun: BTreeMap::new(), unlinked: BTreeSet::new(), may_be_gone: false }
    }

    /// The record as JSON.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are always JSON")
    }

    /// The deletion of a table with this number of rows begins.
    pub(super) fn begin(&mut self, table: &str, rows: u64) {
        self.begun.insert(table.to_owned(), rows);
    }

    /// The rows of a table are deleted.
    pub(super) fn end(&mut self, table: &str, rows: u64) {
        self.begun.remove(table);
        self.add(table, rows);
    }

    /// Counts deleted rows.
    pub(super) fn add(&mut self, table: &str, rows: u64) {
        *self.receipt.tables.entry(table.to_owned()).or_default() += rows;
    }

    /// Counts the rows that an interrupted run has deleted: those that a table had before, without those of `left`.
    /// `None` if the place is gone.
    pub(super) fn settle(&mut self, left: Option<&[PlannedTable]>) {
        for (table, before) in std::mem::take(&mut self.begun) {
            let found = left.and_then(|tables| tables.iter().find(|one| one.name == table));
            self.add(&table, before.saturating_sub(found.map_or(0, |one| one.rows)));
        }
        self.may_be_gone = left.is_none();
    }

    /// Refuses holds that come too late, and a repeat without the holds of an earlier run.
    pub(super) fn check_holds(&self, holds: &BTreeMap<String, String>) -> Result<()> {
        let refused = |text| Err(Error::new(ErrorKind::Misconfigured, text));
        let earlier = &self.receipt.holds;
        if let Some((table, reason)) = earlier.iter().find(|(table, _)| !holds.contains_key(*table)) {
            return refused(format!(
                "an earlier run of this deletion put `{table}` on hold ({reason}), and this one would delete its rows; repeat \
                 it with this hold"
            ));
        }
        for table in holds.keys() {
            let deleted = self.receipt.tables.get(table).copied().unwrap_or(0);
            let why = if deleted > 0 {
                format!("an earlier run of this deletion has deleted {deleted} rows of `{table}`")
            } else if self.unlinked.contains(table) {
                format!("an earlier run of this deletion has set keys of `{table}` to null")
            } else if self.may_be_gone {
                "the place of the tenant does not exist any more".to_owned()
            } else {
                continue;
            };
            return refused(format!(
                "{why}, so the hold on `{table}` comes too late; repeat the deletion without it"
            ));
        }
        Ok(())
    }

    /// Keeps the rows of these tables. No row of them was deleted.
    pub(super) fn hold(&mut self, holds: &BTreeMap<String, String>) {
        self.receipt.holds.clone_from(holds);
        self.receipt.tables.retain(|table, rows| *rows > 0 || !holds.contains_key(table));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::Placement;

    fn record() -> DeletionRecord {
        DeletionRecord::new(DeletionReceipt {
            tenant: "1".to_owned(),
            slug: "acme".to_owned(),
            placement: Placement::Shared,
            actor: "ada".to_owned(),
            started_us: 1,
            ended_us: 0,
            tables: BTreeMap::new(),
            hooks: BTreeMap::new(),
            holds: BTreeMap::new(),
        })
    }

    fn left(name: &str, rows: u64) -> PlannedTable {
        PlannedTable { name: name.to_owned(), rows, hold: None }
    }

    fn refused(record: &DeletionRecord, table: &str) -> String {
        let holds = BTreeMap::from([(table.to_owned(), "a law".to_owned())]);
        record.check_holds(&holds).map_or_else(|error| error.to_string(), |()| String::new())
    }

    /// The process ends, and the next one reads the record.
    fn read_again(record: &DeletionRecord) -> DeletionRecord {
        serde_json::from_str(&record.text()).unwrap()
    }

    #[test]
    fn rows_of_an_interrupted_run_are_counted() {
        let mut record = record();
        record.begin("done", 3);
        record.end("done", 3);
        record.begin("part", 1500);
        record.begin("whole", 7);
        let mut repeated = read_again(&record);
        repeated.settle(Some(&[left("part", 500), left("whole", 7)]));
        let counted = |record: &DeletionRecord, table: &str| record.receipt.tables[table];
        assert_eq!(["done", "part", "whole"].map(|table| counted(&repeated, table)), [3, 1000, 0]);
        assert!(refused(&repeated, "part").contains("deleted 1000 rows of `part`"));
        assert_eq!(refused(&repeated, "whole"), "");
        // Nothing is counted twice.
        repeated.settle(Some(&[]));
        assert_eq!(counted(&repeated, "part"), 1000);

        let mut dropped = read_again(&record);
        dropped.settle(None);
        assert_eq!(["part", "whole"].map(|table| counted(&dropped, table)), [1500, 7]);
        assert!(refused(&dropped, "nonsense").contains("does not exist any more"));
    }

    #[test]
    fn a_hold_that_changes_is_refused() {
        let mut record = record();
        record.unlinked.insert("teams".to_owned());
        assert!(refused(&record, "teams").contains("has set keys of `teams` to null"));
        record.hold(&BTreeMap::from([("invoices".to_owned(), "a law".to_owned())]));
        let record = read_again(&record);
        assert!(refused(&record, "orders").contains("put `invoices` on hold (a law)"));
        assert_eq!(refused(&record, "invoices"), "");
    }
}
