//! Judges unique keys, foreign keys and indexes. PostgreSQL checks keys without row-level security, so each must
//! contain the tenant column.

use std::collections::BTreeSet;

use tenancy_sql::Schema;

use super::catalog::{Catalog, Index, Ownership};
use super::check::Check;
use super::relation::{Column, Relation};
use super::report::{Finding, Fix};
use crate::isolation::foreign_key::{self, ForeignKey, KeyStatus, Side};

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    let tenants: Vec<_> = catalog.tenants(schema).collect();
    for (relation, column) in &tenants {
        for index in catalog.indexes.iter().filter(|index| index.table == relation.oid && !index.inherited) {
            let has = index.columns.iter().flatten().any(|name| *name == column.name);
            if (index.unique || index.exclusion) && !has {
                found.push(unique(relation, column, index));
            } else if index.leaky && !has && !index.unique {
                found.push(leaky(catalog, relation, column, index));
            }
        }
    }
    for key in &catalog.foreign_keys {
        let (Some(child), Some(parent)) =
            (catalog.relations.get(&key.child), catalog.relations.get(&key.parent))
        else {
            continue;
        };
        if let (true, Ownership::Tenant(parent_tenant)) =
            (child.reachable(), catalog.ownership(parent, schema))
        {
            let child_tenant = match catalog.ownership(child, schema) {
                Ownership::Tenant(column) => Some(column),
                Ownership::Unknown(_) | Ownership::Shared { .. } => None,
                Ownership::Operator => continue,
            };
            found.extend(foreign(catalog, key, (child, child_tenant), (parent, parent_tenant)));
        }
    }
}

fn unique(relation: &Relation, column: &Column, index: &Index) -> Finding {
    let Index { short, ident, terms, .. } = index;
    let table = &relation.ident;
    let terms = terms.join(", ");
    let fix = if index.referenced {
        Fix::Step(format!(
            "a foreign key references it: fix that key first, then put `{}` in front of these columns",
            column.name
        ))
    } else if index.exclusion || index.special {
        Fix::Step(format!("recreate it with `{}` in front: {}", column.name, index.definition))
    } else if index.constraint {
        let kind = if index.primary { "PRIMARY KEY" } else { "UNIQUE" };
        Fix::Sql(format!(
            "ALTER TABLE {table} DROP CONSTRAINT {short}, ADD CONSTRAINT {short} {kind} ({}, {terms})",
            column.ident
        ))
    } else {
        let predicate = predicate(index);
        Fix::together(&format!(
            "DROP INDEX {ident};\nCREATE UNIQUE INDEX {short} ON {table} ({}, {terms}){predicate};",
            column.ident
        ))
    };
    let detail = format!("`{}` is unique over ({terms}) across all tenants", index.name);
    Finding::new(Check::KeyWithoutTenant, relation.display(), detail, fix)
}

fn leaky(catalog: &Catalog, relation: &Relation, column: &Column, index: &Index) -> Finding {
    let terms = index.terms.join(", ");
    let Index { ident, short, .. } = index;
    let starts_with_tenant = catalog.indexes.iter().any(|other| {
        other.table == index.table
            && other.method == "btree"
            && other.predicate == index.predicate
            && other
                .terms
                .split_first()
                .is_some_and(|(first, rest)| *first == column.ident && *rest == *index.terms)
    });
    let fix = if starts_with_tenant {
        // An index with the tenant in front already exists.
        Fix::Sql(format!("DROP INDEX {ident}"))
    } else if index.method == "btree" && !index.special {
        Fix::together(&format!(
            "DROP INDEX {ident};\nCREATE INDEX {short} ON {} ({}, {terms}){};",
            relation.ident,
            column.ident,
            predicate(index)
        ))
    } else {
        Fix::Step(format!(
            "drop it, and use an index that starts with `{}`, which limits the scan to the tenant's rows, or an index on a \
             stored column; no composite index replaces it: {}",
            column.name, index.definition
        ))
    };
    let detail = format!("`{}` over ({terms}) has operators or functions that are not leakproof", index.name);
    Finding::new(Check::UnleakproofIndex, relation.display(), detail, fix)
}

fn predicate(index: &Index) -> String {
    index.predicate.as_ref().map_or_else(String::new, |predicate| format!(" WHERE {predicate}"))
}

fn foreign(
    catalog: &Catalog,
    key: &ForeignKey,
    (child, child_tenant): (&Relation, Option<&str>),
    (parent, parent_tenant): (&Relation, &str),
) -> Option<Finding> {
    let columns: Vec<_> = key.columns.iter().map(|(column, _)| column.as_str()).collect();
    let finding = |reason: &str, fix| {
        let refers =
            format!("`{}` references a row of `{}` by ({})", key.name, parent.display(), columns.join(", "));
        Finding::new(Check::ForeignKeyWithoutTenant, child.display(), format!("{refers}: {reason}"), fix)
    };
    let Some(child_tenant) = child_tenant else {
        let step = format!(
            "add the tenant column to the table, and both tenant columns to the key: FOREIGN KEY (tenant, ..) REFERENCES {} \
             ({parent_tenant}, ..); add it between NO FORCE and FORCE ROW LEVEL SECURITY of both tables, otherwise \
             PostgreSQL does not check its rows",
            parent.ident
        );
        return Some(finding("its table has no tenant column", Fix::Step(step)));
    };
    let parent_side = Side { table: &parent.ident, tenant: parent_tenant };
    match key.judge(Side { table: &child.ident, tenant: child_tenant }, parent_side) {
        KeyStatus::Right => None,
        KeyStatus::ByHand(reason) => Some(finding(
            reason,
            Fix::Step(
                "recreate it as described, between NO FORCE and FORCE ROW LEVEL SECURITY of both tables, otherwise \
                 PostgreSQL does not check its rows"
                    .to_owned(),
            ),
        )),
        KeyStatus::Wrong { reason, drop, add, needs } => {
            let exists = catalog.indexes.iter().any(|index| {
                let columns: BTreeSet<&str> = index.columns.iter().flatten().map(String::as_str).collect();
                index.table == parent.oid
                    && index.unique
                    && index.predicate.is_none()
                    && columns == needs.iter().map(String::as_str).collect()
                    && columns.len() == index.columns.len()
            });
            let unique =
                if exists { String::new() } else { foreign_key::unique(parent_side, &needs) + "\n" };
            let family = catalog.family(&[child.oid, parent.oid]).map(|relation| relation.ident.as_str());
            let add = foreign_key::checked(&family.collect(), &add);
            Some(finding(reason, Fix::together(&format!("{drop}\n{unique}{add}"))))
        }
    }
}
