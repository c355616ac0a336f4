//! Foreign keys between tables of tenants: whether they hold the tenant, and the SQL that gives it to them.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::policy::{list, quoted};

/// Reads every foreign key, as a [`ForeignKey`] a row.
pub(super) const READ: &str = include_str!("foreign_keys.sql");

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct ForeignKey {
    pub(super) oid: i64,
    pub(super) name: String,
    pub(super) child: i64,
    pub(super) parent: i64,
    /// Each column of the child with the column of the parent that it refers to.
    pub(super) columns: Vec<(String, String)>,
    /// The operator that compares each pair, the parent's value first.
    pub(super) operators: Vec<String>,
    /// Whether a column of the child may be null.
    nullable: bool,
    on_update: Action,
    on_delete: Action,
    /// Those that `SET NULL` and `SET DEFAULT` are about; all, if there are none.
    on_delete_columns: Vec<String>,
    full: bool,
    pub(super) period: bool,
    pub(super) valid: bool,
    /// `DEFERRABLE` and the like.
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

/// A table as SQL names it, and its tenant column.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) table: &'a str,
    pub(super) tenant: &'a str,
}

pub(super) enum KeyStatus {
    Right,
    /// What a person has to decide.
    ByHand(&'static str),
    Wrong {
        reason: &'static str,
        drop: String,
        /// Only [`checked`] makes PostgreSQL look at the rows.
        add: String,
        /// The columns of the key that it refers to.
        needs: BTreeSet<String>,
    },
}

impl ForeignKey {
    pub(super) fn judge(&self, child: Side<'_>, parent: Side<'_>) -> KeyStatus {
        let (own, theirs) = (child.tenant, parent.tenant);
        let is_tenant = |(a, b): &&(String, String)| a == own && b == theirs;
        let paired = self.columns.iter().any(|pair| is_tenant(&pair));
        let rest: Vec<&(String, String)> = self.columns.iter().filter(|pair| !is_tenant(pair)).collect();
        if rest.iter().any(|(a, b)| a == own || b == theirs) {
            return KeyStatus::ByHand(
                "it compares the tenant with what is no tenant, and can refer to another's rows",
            );
        }
        if self.on_update.sets() {
            return KeyStatus::ByHand(if paired {
                "ON UPDATE it takes the tenant from its rows; choose another action"
            } else {
                "it can refer to another tenant's rows; its ON UPDATE would take the tenant away once it has one: \
                 choose another action"
            });
        }
        let emptied =
            self.on_delete_columns.is_empty() || self.on_delete_columns.iter().any(|column| column == own);
        let reason = match (paired, self.on_delete.sets() && emptied) {
            (true, false) => return KeyStatus::Right,
            (true, true) if rest.is_empty() => {
                return KeyStatus::ByHand(
                    "ON DELETE it takes the tenant from its rows; choose another action",
                );
            }
            (true, true) => "ON DELETE it takes the tenant from its rows",
            (false, _) => "it lacks the tenant: a row can refer to another tenant's, and be deleted with it",
        };
        if self.period {
            return KeyStatus::ByHand(
                "it lacks the tenant and compares periods: make it anew with the tenant in front",
            );
        }
        if self.full && self.nullable {
            return KeyStatus::ByHand(
                "it is MATCH FULL with columns that may be empty, which a key with the tenant cannot be; say by a \
                 CHECK which are empty together, and make it MATCH SIMPLE",
            );
        }
        let from = std::iter::once(own).chain(rest.iter().map(|(a, _)| a.as_str()));
        let to: Vec<&str> = std::iter::once(theirs).chain(rest.iter().map(|(_, b)| b.as_str())).collect();
        let set: Vec<&str> = if self.on_delete_columns.is_empty() {
            rest.iter().map(|(a, _)| a.as_str()).collect()
        } else {
            self.on_delete_columns.iter().map(String::as_str).filter(|column| *column != own).collect()
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

/// The key that a foreign key with the tenant refers to, of these columns.
pub(super) fn unique(parent: Side<'_>, needs: &BTreeSet<String>) -> String {
    let others = needs.iter().map(String::as_str).filter(|column| *column != parent.tenant);
    format!(
        "ALTER TABLE {} ADD UNIQUE ({});",
        parent.table,
        list(std::iter::once(parent.tenant).chain(others))
    )
}

/// The statement that adds a foreign key, while the security of its tables does not bind their owner.
///
/// Otherwise PostgreSQL looks as the owner for rows that break the key, sees none of the rows, and marks the key as
/// valid. The tables are both sides with all their partitions and children. Run it in one transaction.
pub(super) fn checked(tables: &BTreeSet<&str>, add: &str) -> String {
    let all = |action: &'static str| {
        tables.iter().map(move |name| format!("ALTER TABLE {name} {action} ROW LEVEL SECURITY;"))
    };
    let statements: Vec<String> = all("NO FORCE").chain([add.to_owned()]).chain(all("FORCE")).collect();
    statements.join("\n")
}
