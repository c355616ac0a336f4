//! Keys: they are checked past row-level security, so each must hold the tenant.

use std::collections::BTreeSet;

use tenancy_sql::Schema;

use super::catalog::{Catalog, Index, Whose};
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
        if let (true, Whose::Tenant(owner)) = (child.reachable(), catalog.whose(parent, schema)) {
            let own = match catalog.whose(child, schema) {
                Whose::Tenant(own) => Some(own),
                Whose::Unknown(_) | Whose::Shared { .. } => None,
                Whose::Operator => continue,
            };
            found.extend(foreign(catalog, key, (child, own), (parent, owner)));
        }
    }
}

fn unique(relation: &Relation, column: &Column, index: &Index) -> Finding {
    let Index { short, ident, terms, .. } = index;
    let table = &relation.ident;
    let terms = terms.join(", ");
    let fix = if index.referenced {
        Fix::Step(format!(
            "a foreign key refers to it: fix that first, then put `{}` in front of its columns",
            column.name
        ))
    } else if index.exclusion || index.special {
        Fix::Step(format!("make it anew with `{}` in front: {}", column.name, index.definition))
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
    let detail = format!("`{}` is unique over ({terms}) for all tenants together", index.name);
    Finding::new(Check::KeyWithoutTenant, relation.display(), detail, fix)
}

fn leaky(catalog: &Catalog, relation: &Relation, column: &Column, index: &Index) -> Finding {
    let terms = index.terms.join(", ");
    let Index { ident, short, .. } = index;
    let led = catalog.indexes.iter().any(|other| {
        other.table == index.table
            && other.method == "btree"
            && other.predicate == index.predicate
            && other
                .terms
                .split_first()
                .is_some_and(|(first, rest)| *first == column.ident && *rest == *index.terms)
    });
    let fix = if led {
        // With the tenant in front it is there already.
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
            "drop it, and look rows up by an index led by `{}`, which bounds the scan to the tenant's rows, or by a stored \
             column; no composite index brings it back: {}",
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
    (child, own): (&Relation, Option<&str>),
    (parent, owner): (&Relation, &str),
) -> Option<Finding> {
    let columns: Vec<_> = key.columns.iter().map(|(own, _)| own.as_str()).collect();
    let finding = |reason: &str, fix| {
        let refers =
            format!("`{}` refers to a row of `{}` by ({})", key.name, parent.display(), columns.join(", "));
        Finding::new(Check::ForeignKeyWithoutTenant, child.display(), format!("{refers}: {reason}"), fix)
    };
    let Some(own) = own else {
        let step = format!(
            "give the table the tenant column, and the key both: FOREIGN KEY (tenant, ..) REFERENCES {} ({owner}, ..); \
             add it between NO FORCE and FORCE ROW LEVEL SECURITY of both tables, or its rows are not checked",
            parent.ident
        );
        return Some(finding("its table has no tenant", Fix::Step(step)));
    };
    let parent_side = Side { table: &parent.ident, tenant: owner };
    match key.judge(Side { table: &child.ident, tenant: own }, parent_side) {
        KeyStatus::Right => None,
        KeyStatus::ByHand(reason) => Some(finding(
            reason,
            Fix::Step(
                "make it anew as the reason says, between NO FORCE and FORCE ROW LEVEL SECURITY of both tables, or its \
                 rows are not checked"
                    .to_owned(),
            ),
        )),
        KeyStatus::Wrong { reason, drop, add, needs } => {
            let there = catalog.indexes.iter().any(|index| {
                let columns: BTreeSet<&str> = index.columns.iter().flatten().map(String::as_str).collect();
                index.table == parent.oid
                    && index.unique
                    && index.predicate.is_none()
                    && columns == needs.iter().map(String::as_str).collect()
                    && columns.len() == index.columns.len()
            });
            let unique =
                if there { String::new() } else { foreign_key::unique(parent_side, &needs) + "\n" };
            let family = catalog.family(&[child.oid, parent.oid]).map(|relation| relation.ident.as_str());
            let add = foreign_key::checked(&family.collect(), &add);
            Some(finding(reason, Fix::together(&format!("{drop}\n{unique}{add}"))))
        }
    }
}
