//! Foreign keys between tenant tables: whether they contain the tenant column, and the SQL that adds it.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::policy::{list, quoted};

/// The query that reads every foreign key: a row is a [`ForeignKey`].
pub(super) const READ: &str = include_str!("foreign_keys.sql");

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct ForeignKey {
    pub(super) oid: i64,
    pub(super) name: String,
    pub(super) child: i64,
    pub(super) parent: i64,
    /// Each column of the child with the column of the parent that it references.
    pub(super) columns: Vec<(String, String)>,
    /// The operator that compares each pair, the parent's value first.
    pub(super) operators: Vec<String>,
    /// Whether a column of the child may be null.
    nullable: bool,
    on_update: Action,
    on_delete: Action,
    /// The columns that `SET NULL` and `SET DEFAULT` change; all, if this is empty.
    on_delete_columns: Vec<String>,
    /// `MATCH FULL`, over several columns.
    full: bool,
    /// It compares periods (`PERIOD`, PostgreSQL 18).
    pub(super) period: bool,
    pub(super) valid: bool,
    /// `DEFERRABLE`, `NOT VALID` and other options, as SQL.
    options: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Action {
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
    const fn as_sql(self) -> &'static str {
        match self {
            Self::No => "NO ACTION",
            Self::Restrict => "RESTRICT",
            Self::Cascade => "CASCADE",
            Self::SetNull => "SET NULL",
            Self::SetDefault => "SET DEFAULT",
        }
    }

    const fn sets(self) -> bool {
        matches!(self, Self::SetNull | Self::SetDefault)
    }
}

/// One table of a foreign key, as SQL names it, and its tenant column.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) table: &'a str,
    pub(super) tenant: &'a str,
}

/// Whether a foreign key contains the tenant column, and how to add it.
pub(super) enum KeyStatus {
    Right,
    /// A person has to change the key, for this reason.
    ByHand(&'static str),
    Wrong {
        reason: &'static str,
        drop: String,
        /// PostgreSQL checks the rows only if [`checked`] wraps this statement.
        add: String,
        /// The columns of the unique key that it references.
        needs: BTreeSet<String>,
    },
}

impl ForeignKey {
    pub(super) fn judge(&self, child: Side<'_>, parent: Side<'_>) -> KeyStatus {
        let (child_tenant, parent_tenant) = (child.tenant, parent.tenant);
        let is_tenant = |(a, b): &&(String, String)| a == child_tenant && b == parent_tenant;
        let paired = self.columns.iter().any(|pair| is_tenant(&pair));
        let others: Vec<&(String, String)> = self.columns.iter().filter(|pair| !is_tenant(pair)).collect();
        if others.iter().any(|(a, b)| a == child_tenant || b == parent_tenant) {
            return KeyStatus::ByHand(
                "it compares the tenant column with another column, and can reference another tenant's rows",
            );
        }
        if self.on_update.sets() {
            return KeyStatus::ByHand(if paired {
                "its ON UPDATE would overwrite the tenant column; choose another action"
            } else {
                "it can reference another tenant's rows; with the tenant column its ON UPDATE would overwrite that column: \
                 choose another action"
            });
        }
        let overwrites_tenant = self.on_delete_columns.is_empty()
            || self.on_delete_columns.iter().any(|column| column == child_tenant);
        let reason = match (paired, self.on_delete.sets() && overwrites_tenant) {
            (true, false) => return KeyStatus::Right,
            (true, true) if others.is_empty() => {
                return KeyStatus::ByHand(
                    "its ON DELETE would overwrite the tenant column; choose another action",
                );
            }
            (true, true) => "its ON DELETE would overwrite the tenant column",
            (false, _) => {
                "it lacks the tenant column: a row can reference another tenant's row, and be deleted with it"
            }
        };
        if self.period {
            return KeyStatus::ByHand(
                "it lacks the tenant column and compares periods: recreate it with the tenant column in front",
            );
        }
        if self.full && self.nullable {
            return KeyStatus::ByHand(
                "it is MATCH FULL with nullable columns, which a key with the tenant column cannot be: make it MATCH \
                 SIMPLE, and add a CHECK that these columns are null together",
            );
        }
        let from = std::iter::once(child_tenant).chain(others.iter().map(|(a, _)| a.as_str()));
        let to: Vec<&str> =
            std::iter::once(parent_tenant).chain(others.iter().map(|(_, b)| b.as_str())).collect();
        let set: Vec<&str> = if self.on_delete_columns.is_empty() {
            others.iter().map(|(a, _)| a.as_str()).collect()
        } else {
            self.on_delete_columns
                .iter()
                .map(String::as_str)
                .filter(|column| *column != child_tenant)
                .collect()
        };
        let columns = if self.on_delete.sets() { format!(" ({})", list(set)) } else { String::new() };
        let (table, name) = (child.table, quoted(&self.name));
        KeyStatus::Wrong {
            reason,
            drop: format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name};"),
            add: format!(
                "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({}) REFERENCES {} ({})\n    \
                 ON UPDATE {} ON DELETE {}{columns}{};",
                list(from),
                parent.table,
                list(to.iter().copied()),
                self.on_update.as_sql(),
                self.on_delete.as_sql(),
                self.options
            ),
            needs: to.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// The statement that adds the unique key of these columns, for a foreign key with the tenant column.
pub(super) fn unique(parent: Side<'_>, needs: &BTreeSet<String>) -> String {
    let others = needs.iter().map(String::as_str).filter(|column| *column != parent.tenant);
    format!(
        "ALTER TABLE {} ADD UNIQUE ({});",
        parent.table,
        list(std::iter::once(parent.tenant).chain(others))
    )
}

/// Wraps the statement that adds a foreign key in `NO FORCE` and `FORCE`, so that PostgreSQL checks the rows.
///
/// Under `FORCE`, PostgreSQL looks as the owner for rows that violate the key, sees no rows, and marks the key valid.
/// The tables are both sides with all their partitions and children. Run the result in one transaction.
pub(super) fn checked(tables: &BTreeSet<&str>, add: &str) -> String {
    let all = |action: &'static str| {
        tables.iter().map(move |name| format!("ALTER TABLE {name} {action} ROW LEVEL SECURITY;"))
    };
    let statements: Vec<String> = all("NO FORCE").chain([add.to_owned()]).chain(all("FORCE")).collect();
    statements.join("\n")
}
