//! [`ForeignKey`]: a foreign key as the catalogue has it.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(crate) struct ForeignKey {
    pub(crate) oid: i64,
    pub(crate) name: String,
    pub(crate) child: i64,
    pub(crate) parent: i64,
    /// Each column of the child with the column of the parent that it references.
    pub(crate) columns: Vec<(String, String)>,
    /// The operator that compares each pair, the parent's value first.
    pub(crate) operators: Vec<String>,
    /// Whether a column of the child may be null.
    pub(crate) nullable: bool,
    pub(crate) on_update: Action,
    pub(crate) on_delete: Action,
    /// The columns that `SET NULL` and `SET DEFAULT` change; all, if this is empty.
    pub(crate) on_delete_columns: Vec<String>,
    /// `MATCH FULL`, over several columns.
    pub(crate) full: bool,
    /// It compares periods (`PERIOD`, PostgreSQL 18).
    pub(crate) period: bool,
    pub(crate) valid: bool,
    /// `DEFERRABLE`, `NOT VALID` and other options, as SQL.
    pub(crate) options: String,
}

/// What happens to the child when the row of the parent changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Action {
    #[serde(rename = "a")]
    No,
    #[serde(rename = "r")]
    Restrict,
    #[serde(rename = "c")]
    Cascade,
    #[serde(rename = "n")]
    SetNull,
    #[serde(rename = "d")]
    SetDefault,
}

impl Action {
    pub(crate) const fn as_sql(self) -> &'static str {
        match self {
            Self::No => "NO ACTION",
            Self::Restrict => "RESTRICT",
            Self::Cascade => "CASCADE",
            Self::SetNull => "SET NULL",
            Self::SetDefault => "SET DEFAULT",
        }
    }

    pub(crate) const fn sets(self) -> bool {
        matches!(self, Self::SetNull | Self::SetDefault)
    }
}
