//! [`Relations`]: every table and view, and [`Ownership`]: which tenants own the rows of a table.

use std::borrow::{Borrow, BorrowMut};
use std::collections::{BTreeMap, HashMap};

use tenancy_sql::Schema;

use super::relation::{Column, Relation};
use super::shards::Shards;
use crate::database::CONTROL_PLANE;

/// Which tenants own the rows of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ownership<'a> {
    /// The tenant in this column.
    Tenant(&'a Column),
    /// The tenant in this declared column, which the table does not have.
    Unknown(&'a str),
    Shared {
        writable: bool,
    },
    Operator,
}

/// The tables and views of a database, by oid. `R` is a [`Relation`], with more facts about it where needed.
#[derive(Debug)]
pub(crate) struct Relations<R = Relation>(BTreeMap<i64, R>);

impl<R: BorrowMut<Relation>> Relations<R> {
    /// Takes the rows, and finds a name without a schema in the schemas of `search_path`, the first one first.
    pub(crate) fn new(mut rows: Vec<R>, search_path: &[String]) -> Self {
        let at = |relation: &Relation| search_path.iter().position(|schema| *schema == relation.schema);
        let mut first = HashMap::<String, usize>::new();
        for relation in rows.iter().map(R::borrow) {
            if let Some(at) = at(relation) {
                let first = first.entry(relation.name.clone()).or_insert(at);
                *first = at.min(*first);
            }
        }
        for relation in rows.iter_mut().map(R::borrow_mut) {
            let at = at(relation);
            relation.in_search_path = at.is_some();
            relation.visible = at.is_some() && first.get(&relation.name).copied() == at;
        }
        Self(rows.into_iter().map(|row| (row.borrow().oid, row)).collect())
    }

    /// Gives each table its shards.
    pub(crate) fn set_shards(&mut self, shards: BTreeMap<i64, Shards>) {
        for (oid, shards) in shards {
            if let Some(table) = self.0.get_mut(&oid) {
                table.borrow_mut().shards = shards;
            }
        }
    }
}

impl<R: Borrow<Relation>> Relations<R> {
    pub(crate) fn get(&self, oid: i64) -> Option<&R> {
        self.0.get(&oid)
    }

    /// Adds a relation of a schema that is not in the search path.
    pub(crate) fn insert(&mut self, one: R) {
        self.0.insert(one.borrow().oid, one);
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&R) -> bool) {
        self.0.retain(|_, one| keep(one));
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &R> {
        self.0.values()
    }

    /// Every table above a partition or child, at any distance, the nearest first.
    pub(crate) fn above(&self, relation: &Relation) -> Vec<&Relation> {
        let mut above = Vec::<&Relation>::new();
        let mut next = relation.parents.clone();
        while !next.is_empty() {
            let found = next.iter().filter_map(|oid| self.get(*oid)).map(R::borrow);
            let new: Vec<&Relation> =
                found.filter(|one| !above.iter().any(|known| known.oid == one.oid)).collect();
            next = new.iter().flat_map(|one| &one.parents).copied().collect();
            above.extend(new);
        }
        above
    }

    /// Two tables with all their partitions and children, without foreign tables.
    pub(crate) fn family(&self, oids: [i64; 2]) -> impl Iterator<Item = &Relation> {
        self.values().map(R::borrow).filter(move |one| {
            let within = |relation: &Relation| oids.contains(&relation.oid);
            one.kind != 'f' && (within(one) || self.above(one).into_iter().any(within))
        })
    }

    /// The tenant columns that are declared for a table and for the tables above it, each once and the nearest first.
    ///
    /// A table that is declared shared has none itself. The tables above it count nevertheless: a row of a partition
    /// or child is a row of its parent.
    pub(crate) fn tenant_columns<'a>(&'a self, relation: &'a Relation, schema: &Schema) -> Vec<&'a Column> {
        let mut columns = Vec::<&Column>::new();
        for one in [relation].into_iter().chain(self.above(relation)) {
            let name = one.declared(schema);
            let column = relation.column(name).filter(|_| one.shared(schema).is_none());
            if let Some(column) = column.filter(|_| one.column(name).is_some())
                && !columns.iter().any(|known| known.name == column.name)
            {
                columns.push(column);
            }
        }
        columns
    }

    /// Which tenants own the rows of a table.
    ///
    /// A tenant column of the table, or of a table above it, has priority over `shared`. A partition without one is
    /// shared if a table above it is, because its rows are rows of that table. A child that is no partition may have
    /// more columns than its parent, so it has to be declared shared itself.
    pub(crate) fn ownership<'a>(&'a self, relation: &'a Relation, schema: &'a Schema) -> Ownership<'a> {
        if CONTROL_PLANE.contains(&&*relation.name) {
            return Ownership::Operator;
        }
        if let Some(column) = self.tenant_columns(relation, schema).first() {
            return Ownership::Tenant(column);
        }
        let above = self.above(relation).into_iter().filter(|_| relation.partition);
        match [relation].into_iter().chain(above).find_map(|one| one.shared(schema)) {
            Some(writable) => Ownership::Shared { writable },
            None => Ownership::Unknown(relation.declared(schema)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOML: &str = "
        columns = { notes = \"customer\" }
        shared = [\"countries\", \"public.feedback\"]
        shared_writable = [\"feedback\"]";

    /// A table with its parents and columns.
    fn table(oid: i64, name: &str, parents: &[i64], columns: &[&str]) -> Relation {
        let (schema, name) = name.split_once('.').unwrap_or(("public", name));
        let columns: Vec<_> = columns
            .iter()
            .map(|name| {
                json!({
                    "name": name, "ident": name, "type": "uuid", "declared": "uuid", "deterministic": true, "enum": false,
                    "array": false, "not_null": true, "tenant_not_null": true, "default": null, "generated": false,
                    "identity": false, "choice": null
                })
            })
            .collect();
        serde_json::from_value(json!({
            "oid": oid, "schema": schema, "name": name, "ident": name, "kind": "r", "rls": false, "forced": false,
            "partition": name.starts_with("part"), "parents": parents, "invoker": false, "member": false,
            "columns": columns, "policies": []
        }))
        .unwrap()
    }

    /// Whom the last of these tables belongs to.
    fn owner(tables: Vec<Relation>) -> String {
        let schema = Schema::from_toml(TOML).unwrap();
        let oid = tables.last().unwrap().oid;
        let relations = Relations::new(tables, &["public".to_owned(), "later".to_owned()]);
        match relations.ownership(relations.get(oid).unwrap(), &schema) {
            Ownership::Tenant(column) => column.name.clone(),
            Ownership::Unknown(column) => format!("no {column}"),
            Ownership::Shared { writable } => format!("shared {writable}"),
            Ownership::Operator => "operator".to_owned(),
        }
    }

    #[test]
    fn a_table_belongs_to_the_tenant_of_its_column() {
        assert_eq!(owner(vec![table(1, "orders", &[], &["tenant_id"])]), "tenant_id");
        assert_eq!(owner(vec![table(1, "orders", &[], &["id"])]), "no tenant_id");
        assert_eq!(owner(vec![table(1, "notes", &[], &["tenant_id"])]), "no customer");
        assert_eq!(owner(vec![table(1, "archive.orders", &[], &["tenant_id"])]), "tenant_id");
        assert_eq!(owner(vec![table(1, "tenancy_tenants", &[], &["tenant_id"])]), "operator");
    }

    #[test]
    fn a_table_is_shared_by_each_name_that_is_declared() {
        assert_eq!(owner(vec![table(1, "countries", &[], &["code"])]), "shared false");
        // One of the two names is not declared writable.
        assert_eq!(owner(vec![table(1, "feedback", &[], &[])]), "shared false");
        assert_eq!(owner(vec![table(1, "later.feedback", &[], &[])]), "shared true");
        // The name without a schema is that of another table.
        let first = || table(1, "countries", &[], &["code"]);
        assert_eq!(owner(vec![first(), table(2, "later.countries", &[], &["code"])]), "no tenant_id");
        assert_eq!(owner(vec![table(1, "archive.countries", &[], &["code"])]), "no tenant_id");
    }

    #[test]
    fn a_partition_follows_its_root_and_any_tenant_column_above_a_child_counts() {
        let (notes, countries) =
            (|| table(1, "notes", &[], &["customer"]), || table(2, "countries", &[], &["code"]));
        assert_eq!(owner(vec![notes(), table(3, "child", &[1], &["customer"])]), "customer");
        let both = ["code", "customer"];
        assert_eq!(owner(vec![notes(), countries(), table(3, "child", &[2, 1], &both)]), "customer");
        assert_eq!(owner(vec![countries(), table(3, "part", &[2], &["code"])]), "shared false");
        let middle = || table(3, "part_1", &[2], &["code"]);
        assert_eq!(owner(vec![countries(), middle(), table(4, "part_2", &[3], &["code"])]), "shared false");
        // A child may have more columns than its shared parent.
        assert_eq!(owner(vec![countries(), table(3, "child", &[2], &["code", "token"])]), "no tenant_id");
        assert_eq!(owner(vec![countries(), table(3, "child", &[2], &["code", "tenant_id"])]), "tenant_id");
        // A partition of a tenant table is none of the shared tables, whatever its name is.
        let part = table(3, "later.countries", &[1], &["customer"]);
        assert_eq!(owner(vec![notes(), part]), "customer");
    }
}
