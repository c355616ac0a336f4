//! [`Reads`]: the tables and views that each view reads.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A view, and a relation that it reads directly.
#[derive(Debug, Deserialize)]
pub(crate) struct Read {
    view: i64,
    relation: i64,
}

/// What every view reads, by the oids of relations.
#[derive(Debug)]
pub(crate) struct Reads(BTreeMap<i64, Vec<i64>>);

impl Reads {
    pub(crate) fn new(rows: Vec<Read>) -> Self {
        let mut reads = BTreeMap::<i64, Vec<i64>>::new();
        for Read { view, relation } in rows {
            reads.entry(view).or_default().push(relation);
        }
        Self(reads)
    }

    /// A view and every relation that it reads, directly or through other views.
    pub(crate) fn of(&self, view: i64) -> BTreeSet<i64> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![view]);
        while let Some(oid) = open.pop() {
            if seen.insert(oid) {
                open.extend(self.0.get(&oid).into_iter().flatten());
            }
        }
        seen
    }
}
