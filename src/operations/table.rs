//! [`DataTable`]: a table with rows of tenants, as it is in one place; the order of such tables by their foreign keys.

use std::collections::{BTreeMap, BTreeSet};

use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};

/// A table with rows of tenants, as it is in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct DataTable {
    /// The name, the same in every place. It has the schema only if a statement finds the table by it alone.
    pub(crate) name: String,
    /// The name in SQL, with the schema of the place.
    pub(crate) ident: String,
    /// What stands before the name in `FROM`: `ONLY` for a table that has children of its own.
    pub(crate) only: &'static str,
    /// The tenant column in SQL.
    pub(crate) tenant: String,
    /// The type of the tenant column, as declared.
    pub(crate) tenant_type: String,
    /// The columns that hold data: without the tenant column and without generated ones.
    pub(crate) columns: Vec<DataColumn>,
    /// The positions of the primary key in `columns`, without the tenant column. `None` without a primary key.
    pub(crate) key: Option<Vec<usize>>,
    /// Whether the primary key contains the tenant column. If it does not, its values are unique over all tenants.
    pub(crate) key_has_tenant: bool,
    /// The columns in SQL that identify a row on this server, also without a primary key.
    pub(crate) row: Vec<String>,
    /// The foreign keys to tables with rows of tenants.
    pub(crate) links: Vec<Link>,
    /// The tables without the tenant column whose foreign keys refer to this table.
    pub(crate) children: Vec<ChildTable>,
    /// Whether it is one of the library's own tables.
    pub(crate) own: bool,
}

/// A column that holds data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct DataColumn {
    pub(crate) name: String,
    /// The name in SQL.
    pub(crate) ident: String,
    /// The type, as declared.
    pub(crate) r#type: String,
    pub(crate) not_null: bool,
    /// Whether the database numbers it.
    pub(crate) identity: bool,
}

/// A foreign key to a table with rows of tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// The name of the parent's table.
    pub(crate) parent: String,
    /// The columns of the child in SQL, each with the column of the parent. The tenant column is left out.
    pub(crate) columns: Vec<(String, String)>,
    /// Whether a child needs its parent: none of the columns may be null.
    pub(crate) required: bool,
    /// Whether a deleted parent changes rows of other tenants: the key has an action, and lacks the tenant column.
    pub(crate) reaches_others: bool,
}

/// A table without the tenant column whose foreign key refers to a table with rows of tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChildTable {
    pub(crate) name: String,
    /// The name in SQL.
    pub(crate) ident: String,
    /// The columns of the key in SQL, each with the column of the parent. Empty if they are not known.
    pub(crate) columns: Vec<(String, String)>,
    /// Whether row-level security or a missing privilege can hide its rows.
    pub(crate) hidden: bool,
}

impl DataTable {
    /// The error of a statement, with the name of the table. `done` is what cannot be done with the rows.
    pub(crate) fn failed(&self, done: &str, error: &sqlx::Error) -> Error {
        let error = database_error(error);
        Error::new(error.kind(), format!("the rows of `{}` cannot be {done}: {error}", self.name))
            .with_constraint(error.constraint().map(str::to_owned))
            .with_source(error)
    }

    /// The position of a column, by its name in SQL.
    pub(crate) fn position(&self, ident: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.ident == ident)
    }

    /// The columns of the primary key, without the tenant column.
    pub(crate) fn key_columns(&self) -> impl Iterator<Item = &DataColumn> {
        self.key.iter().flatten().map(|at| &self.columns[*at])
    }

    /// Whether a row can refer to another row of the table.
    pub(crate) fn refers_to_itself(&self) -> bool {
        self.links.iter().any(|link| link.parent == self.name)
    }
}

/// Refuses tables of which a deleted row changes rows of other tenants.
pub(crate) fn check_reach(tables: &[DataTable]) -> Result<()> {
    let reaching = |table: &&DataTable| table.links.iter().any(|link| link.reaches_others);
    match tables.iter().find(reaching) {
        None => Ok(()),
        Some(table) => Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "a foreign key of `{}` lacks the tenant column and has an action ON DELETE, so a deleted row can change rows of \
                 other tenants; add the tenant column to the key (`tenancy doctor` shows how)",
                table.name
            ),
        )),
    }
}

/// Sorts tables so that each comes after the tables that it refers to.
///
/// Tables that refer to each other in a circle are broken at a foreign key that may be null, where there is one.
pub(crate) fn parents_first(tables: Vec<DataTable>) -> Vec<DataTable> {
    let names: BTreeSet<String> = tables.iter().map(|table| table.name.clone()).collect();
    let mut rest: BTreeMap<String, DataTable> =
        tables.into_iter().map(|table| (table.name.clone(), table)).collect();
    let mut sorted = Vec::<DataTable>::new();
    while !rest.is_empty() {
        let waits = |table: &DataTable, all: bool| {
            table.links.iter().any(|link| {
                link.parent != table.name
                    && (all || link.required)
                    && names.contains(&link.parent)
                    && rest.contains_key(&link.parent)
            })
        };
        let next = rest
            .values()
            .find(|table| !waits(table, true))
            .or_else(|| rest.values().find(|table| !waits(table, false)))
            .or_else(|| rest.values().next())
            .map(|table| table.name.clone());
        sorted.extend(next.and_then(|name| rest.remove(&name)));
    }
    sorted
}

#[cfg(test)]
impl DataTable {
    /// A table without columns and keys.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ident: name.to_owned(),
            only: "",
            tenant: "tenant_id".to_owned(),
            tenant_type: "uuid".to_owned(),
            columns: Vec::new(),
            key: None,
            key_has_tenant: false,
            row: Vec::new(),
            links: Vec::new(),
            children: Vec::new(),
            own: false,
        }
    }

    /// With a foreign key to each of these tables, which may be null unless it is required.
    pub(crate) fn referring_to(self, parents: &[(&str, bool)]) -> Self {
        let link = |(parent, required): &(&str, bool)| Link {
            parent: (*parent).to_owned(),
            columns: Vec::new(),
            required: *required,
            reaches_others: false,
        };
        Self { links: parents.iter().map(link).collect(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, parents: &[(&str, bool)]) -> DataTable {
        DataTable::named(name).referring_to(parents)
    }

    fn order(tables: Vec<DataTable>) -> Vec<String> {
        parents_first(tables).into_iter().map(|table| table.name).collect()
    }

    #[test]
    fn a_parent_comes_before_its_children() {
        let tables = vec![
            table("a", &[("b", true), ("c", false)]),
            table("b", &[("c", true)]),
            table("c", &[("c", true), ("elsewhere", true)]),
        ];
        assert_eq!(order(tables), ["c", "b", "a"]);
    }

    #[test]
    fn a_circle_is_broken_where_a_key_may_be_null() {
        let tables =
            vec![table("a", &[("b", true)]), table("b", &[("a", false)]), table("c", &[("b", true)])];
        assert_eq!(order(tables), ["b", "a", "c"]);
        // Without such a key every table comes once.
        assert_eq!(order(vec![table("a", &[("b", true)]), table("b", &[("a", true)])]).len(), 2);
    }
}
