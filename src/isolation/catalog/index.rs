//! [`Index`]: an index, or the key or exclusion constraint that it enforces.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(crate) struct Index {
    pub(crate) table: i64,
    pub(crate) name: String,
    /// The name with its schema, quoted where needed.
    pub(crate) ident: String,
    pub(crate) unique: bool,
    pub(crate) primary: bool,
    pub(crate) exclusion: bool,
    /// It belongs to a constraint.
    pub(crate) constraint: bool,
    pub(crate) valid: bool,
    /// It is checked with each statement, and not `DEFERRABLE`.
    pub(crate) immediate: bool,
    pub(crate) method: String,
    /// It is a part of the index of a partitioned table.
    pub(crate) inherited: bool,
    /// The foreign keys that reference it.
    pub(crate) referenced_by: Vec<i64>,
    pub(crate) predicate: Option<String>,
    /// The columns that it compares with `=`; `None` for an expression, and for another operator of an exclusion.
    pub(crate) columns: Vec<Option<String>>,
    /// The columns and expressions as PostgreSQL prints them.
    pub(crate) terms: Vec<String>,
    pub(crate) definition: String,
    /// Of a constraint, its definition such as `UNIQUE (code)`; of any other index, its definition after the table,
    /// such as ` USING btree (code)`.
    pub(crate) body: String,
    /// The operators and functions for which PostgreSQL cannot use it before it evaluates a policy.
    pub(crate) unleakproof: Vec<String>,
}

impl Index {
    pub(crate) fn contains(&self, column: &str) -> bool {
        self.columns.iter().flatten().any(|name| name == column)
    }

    pub(crate) fn starts_with(&self, column: &str) -> bool {
        self.columns.first().is_some_and(|first| first.as_deref() == Some(column))
    }
}
