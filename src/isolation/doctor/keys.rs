//! Keys: they are checked past row-level security, so each must hold the tenant.

use tenancy_sql::Schema;

use super::catalog::{Catalog, Column, ForeignKey, Index, Relation, Whose};
use super::check::Check;
use super::report::{Finding, Fix};

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    let tenants: Vec<_> = catalog.tenants(schema).collect();
    for (relation, column) in &tenants {
        for index in catalog.indexes.iter().filter(|index| index.table == relation.oid && !index.inherited) {
            let has = index.columns.iter().flatten().any(|name| *name == column.name);
            if (index.unique || index.exclusion) && !has {
                found.push(unique(relation, column, index));
            } else if index.leaky && !has && !index.unique {
                found.push(leaky(relation, column, index));
            }
        }
    }
    for key in &catalog.foreign_keys {
        let (Some(child), Some(parent)) =
            (catalog.relations.get(&key.table), catalog.relations.get(&key.parent))
        else {
            continue;
        };
        if let (true, Whose::Tenant(owner)) = (child.reachable(), catalog.whose(parent, schema)) {
            let own = match catalog.whose(child, schema) {
                Whose::Tenant(own) => Some(own),
                Whose::Unknown(_) | Whose::Shared { .. } => None,
                Whose::Operator => continue,
            };
            let holds = key.columns.iter().zip(&key.parents).any(|(a, b)| Some(&**a) == own && b == owner);
            if !holds {
                found.push(foreign(catalog, key, (child, own), (parent, owner)));
            }
        }
    }
}

fn unique(relation: &Relation, column: &Column, index: &Index) -> Finding {
    let Index { short, ident, terms, .. } = index;
    let table = &relation.ident;
    let terms = terms.join(", ");
    let fix = if index.referenced {
        Fix::Step(format!(
            "a foreign key refers to it: mend that first, then put `{}` in front of its columns",
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
        Fix::Sql(format!(
            "DROP INDEX {ident};\nCREATE UNIQUE INDEX {short} ON {table} ({}, {terms}){predicate}",
            column.ident
        ))
    };
    let detail = format!("`{}` is unique over ({terms}) for all tenants together", index.name);
    Finding::new(Check::KeyWithoutTenant, relation.display(), detail, fix)
}

fn leaky(relation: &Relation, column: &Column, index: &Index) -> Finding {
    let terms = index.terms.join(", ");
    let predicate = predicate(index);
    let fix = if index.method == "btree" && !index.special {
        Fix::Sql(format!(
            "DROP INDEX {};\nCREATE INDEX {} ON {} ({}, {terms}){predicate}",
            index.ident, index.short, relation.ident, column.ident
        ))
    } else {
        Fix::Step(format!(
            "make it anew with `{}` in front (GIN and GiST need the extension btree_gin or btree_gist): {}",
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
) -> Finding {
    let detail =
        format!("`{}` refers to a row of `{}` by ({})", key.name, parent.display(), key.columns.join(", "));
    let step = || {
        Fix::Step(format!(
            "let it hold the tenant column of both tables: FOREIGN KEY (tenant, ..) REFERENCES {} ({owner}, ..)",
            parent.ident
        ))
    };
    let Some(own) = own.filter(|_| !key.special) else {
        return Finding::new(Check::ForeignKeyWithoutTenant, child.display(), detail, step());
    };
    // The tenant stands in front, and for itself only.
    let pairs: Vec<(&str, &str)> = key
        .columns
        .iter()
        .zip(&key.parents)
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .filter(|(a, b)| *a != own && *b != owner)
        .collect();
    let list = |relation: &Relation, names: &mut dyn Iterator<Item = &str>| -> Option<String> {
        let idents: Option<Vec<&str>> =
            names.map(|name| relation.column(name).map(|column| column.ident.as_str())).collect();
        idents.filter(|idents| !idents.is_empty()).map(|idents| idents.join(", "))
    };
    let (Some(from), Some(to), Some(nulled)) = (
        list(child, &mut std::iter::once(own).chain(pairs.iter().map(|(a, _)| *a))),
        list(parent, &mut std::iter::once(owner).chain(pairs.iter().map(|(_, b)| *b))),
        list(child, &mut pairs.iter().map(|(a, _)| *a)),
    ) else {
        return Finding::new(Check::ForeignKeyWithoutTenant, child.display(), detail, step());
    };
    // The tenant itself is never nulled, nor given a default.
    let action = |code: char| match code {
        'r' => " RESTRICT".to_owned(),
        'c' => " CASCADE".to_owned(),
        'n' => format!(" SET NULL ({nulled})"),
        'd' => format!(" SET DEFAULT ({nulled})"),
        _ => String::new(),
    };
    let (delete, update) = (action(key.on_delete), action(key.on_update));
    if matches!(key.on_update, 'n' | 'd') {
        return Finding::new(Check::ForeignKeyWithoutTenant, child.display(), detail, step());
    }
    let mut wanted: Vec<&str> = pairs.iter().map(|(_, b)| *b).chain([owner]).collect();
    wanted.sort_unstable();
    let there = catalog.indexes.iter().any(|index| {
        let mut columns: Vec<&str> = index.columns.iter().flatten().map(String::as_str).collect();
        columns.sort_unstable();
        index.table == parent.oid && index.unique && index.predicate.is_none() && columns == wanted
    });
    let unique =
        if there { String::new() } else { format!("ALTER TABLE {} ADD UNIQUE ({to});\n", parent.ident) };
    let on = |word: &str, action: &str| {
        if action.is_empty() { String::new() } else { format!(" ON {word}{action}") }
    };
    let fix = format!(
        "{unique}ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} FOREIGN KEY ({from}) REFERENCES {to_table} ({to}){delete}{update}",
        table = child.ident,
        name = key.ident,
        to_table = parent.ident,
        delete = on("DELETE", &delete),
        update = on("UPDATE", &update),
    );
    Finding::new(Check::ForeignKeyWithoutTenant, child.display(), detail, Fix::Sql(fix))
}
