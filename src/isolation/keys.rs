//! Unique keys, foreign keys and indexes of tenant tables: which of them lack the tenant column, and the SQL that adds
//! it.

use std::collections::BTreeSet;

use super::catalog::{Column, ForeignKey, Index, Relation};
use super::comparison::is_tenant;
use super::identifier::{list, quoted};

impl Index {
    /// Whether it is a unique key or an exclusion constraint in which rows of two tenants can collide.
    pub(super) fn lacks_tenant(&self, tenant: &str) -> bool {
        (self.unique || self.exclusion) && !self.contains(tenant)
    }

    /// Whether PostgreSQL cannot use it under the policies of its table, because of what is in `unleakproof`.
    pub(super) fn is_out_of_use(&self, tenant: &str) -> bool {
        !self.unique && !self.contains(tenant) && !self.unleakproof.is_empty()
    }

    /// The columns that a foreign key can reference. `None` if it is not unique, is partial, deferrable or not valid,
    /// or has an expression.
    pub(super) fn referenceable(&self) -> Option<BTreeSet<&str>> {
        let columns = self.columns.iter().map(Option::as_deref).collect::<Option<BTreeSet<&str>>>()?;
        (self.unique && self.valid && self.immediate && self.predicate.is_none()).then_some(columns)
    }

    /// The statements that recreate a unique key with the tenant column in front, in one transaction. `None` if the
    /// definition has an unknown form.
    pub(super) fn unique_with_tenant(&self, table: &str, tenant: &str) -> Option<Vec<String>> {
        let name = quoted(&self.name);
        let body = self.body_with_tenant(tenant)?;
        Some(if self.constraint {
            vec![format!(
                "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name},\n    ADD CONSTRAINT {name} {body};"
            )]
        } else {
            vec![
                format!("DROP INDEX IF EXISTS {};", self.ident),
                format!("CREATE UNIQUE INDEX {name} ON {table}{body};"),
            ]
        })
    }

    /// Its body with the tenant column in front of the other columns.
    pub(super) fn body_with_tenant(&self, tenant: &str) -> Option<String> {
        let known = if self.constraint { ["PRIMARY KEY", "UNIQUE"] } else { [" USING ", " USING "] };
        let known = known.iter().any(|head| self.body.starts_with(head));
        known.then(|| self.body.replacen('(', &format!("({}, ", quoted(tenant)), 1))
    }
}

/// What replaces an index that is out of use under the policies of its table. The doctor and `tenancy policies` both
/// propose it.
pub(super) struct Replacement {
    /// The statements, in one transaction. There may be none.
    pub(super) statements: Vec<String>,
    /// What a person has to do beside them.
    pub(super) step: Option<String>,
}

impl Index {
    /// What replaces it, where `indexes` has all indexes and `table` is the SQL name of its table.
    ///
    /// A B-tree is useful with the tenant column in front: it finds the rows of the tenant, in the order of the other
    /// columns. Any other kind has no replacement but an index that finds the rows of the tenant, which are then
    /// filtered.
    pub(super) fn replacement(&self, indexes: &[Self], table: &str, tenant: &Column) -> Replacement {
        let of_table = || indexes.iter().filter(|other| other.table == self.table && other.is_usable_btree());
        let is_same_with_tenant = |other: &Self| {
            let terms = other.terms.split_first();
            other.predicate == self.predicate
                && terms.is_some_and(|(first, rest)| *first == tenant.ident && *rest == *self.terms)
        };
        let drop = format!("DROP INDEX {};", self.ident);
        if of_table().any(is_same_with_tenant) {
            return Replacement { statements: vec![drop], step: None };
        }
        if let Some(body) = self.body_with_tenant(&tenant.name).filter(|_| self.method == "btree") {
            let create = format!("CREATE INDEX {} ON {table}{body};", quoted(&self.name));
            return Replacement { statements: vec![drop, create], step: None };
        }
        let finds_tenant = |other: &Self| other.predicate.is_none() && other.starts_with(&tenant.name);
        let create = format!("CREATE INDEX ON {table} ({});", quoted(&tenant.name));
        let statements = if of_table().any(finds_tenant) { Vec::new() } else { vec![create] };
        let step = format!(
            "drop it, and use an index that starts with `{}`, which limits the scan to the tenant's rows, or an index on a \
             stored column; no composite index replaces it: {}",
            tenant.name, self.definition
        );
        Replacement { statements, step: Some(step) }
    }

    fn is_usable_btree(&self) -> bool {
        self.method == "btree" && self.valid
    }
}

/// Whether each tenant has at most one row in a table: the tenant column alone is a unique key.
pub(super) fn has_one_row_per_tenant(indexes: &[Index], table: i64, tenant: &str) -> bool {
    let of_table = indexes.iter().filter(|index| index.table == table);
    of_table.filter_map(Index::referenceable).any(|columns| columns.into_iter().eq([tenant]))
}

/// The action of `ALTER COLUMN` that removes what fills a tenant column when an insert does not.
///
/// The current tenant is the right default. In a table with one row for each tenant any default is right, because the
/// database may generate the id of the tenant.
pub(super) fn drop_default(indexes: &[Index], relation: &Relation, column: &Column) -> Option<&'static str> {
    let action = match (&column.default, column.identity, column.generated) {
        (_, true, _) => "DROP IDENTITY",
        (_, _, true) => "DROP EXPRESSION",
        (Some(default), ..) if !is_tenant(column, default) => "DROP DEFAULT",
        _ => return None,
    };
    (!has_one_row_per_tenant(indexes, relation.oid, &column.name)).then_some(action)
}

/// One table of a foreign key, as SQL names it, and its tenant column.
pub(super) struct Side<'a> {
    pub(super) table: String,
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
    pub(super) fn judge(&self, child: &Side<'_>, parent: &Side<'_>) -> KeyStatus {
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
        let (table, name) = (&child.table, quoted(&self.name));
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
pub(super) fn unique(parent: &Side<'_>, needs: &BTreeSet<String>) -> String {
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
pub(super) fn checked(tables: &BTreeSet<String>, add: &str) -> Vec<String> {
    let all = |action: &'static str| {
        tables.iter().map(move |name| format!("ALTER TABLE {name} {action} ROW LEVEL SECURITY;"))
    };
    all("NO FORCE").chain([add.to_owned()]).chain(all("FORCE")).collect()
}
