//! Judges unique keys, foreign keys and indexes. PostgreSQL checks keys without row-level security, so each must
//! contain the tenant column.

use std::collections::BTreeSet;

use tenancy_sql::Schema;

use super::catalog::Catalog;
use super::check::Check;
use super::examined::Examined;
use super::report::{Finding, Fix};
use crate::isolation::catalog::{Column, ForeignKey, Index, Ownership};
use crate::isolation::keys::{self, KeyStatus, Replacement, Side};

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    let tenants: Vec<_> = catalog.tenants(schema).collect();
    for (relation, column) in &tenants {
        for index in catalog.indexes.iter().filter(|index| index.table == relation.oid && !index.inherited) {
            if index.lacks_tenant(&column.name) {
                found.push(unique(catalog, relation, column, index));
            } else if index.is_out_of_use(&column.name) {
                found.push(unleakproof(catalog, relation, column, index));
            }
        }
    }
    for key in &catalog.foreign_keys {
        let (Some(child), Some(parent)) =
            (catalog.relations.get(key.child), catalog.relations.get(key.parent))
        else {
            continue;
        };
        if let (true, Ownership::Tenant(parent_tenant)) =
            (child.reachable(), catalog.ownership(parent, schema))
        {
            let child_tenant = match catalog.ownership(child, schema) {
                Ownership::Tenant(column) => Some(&*column.name),
                Ownership::Unknown(_) | Ownership::Shared { .. } => None,
                Ownership::Operator => continue,
            };
            found.extend(foreign(catalog, key, (child, child_tenant), (parent, &parent_tenant.name)));
        }
    }
}

fn unique(catalog: &Catalog, relation: &Examined, column: &Column, index: &Index) -> Finding {
    let tenant = &column.name;
    let recreate = || Fix::Step(format!("recreate it with `{tenant}` in front: {}", index.definition));
    let fix = if keys::has_one_row_per_tenant(&catalog.indexes, relation.oid, tenant) {
        Fix::Step("each tenant has one row here: drop the key, or accept that it reveals values of one tenant to another".to_owned())
    } else if !index.referenced_by.is_empty() {
        Fix::Step(format!(
            "a foreign key references it: fix that key first, then put `{tenant}` in front of these columns"
        ))
    } else if index.exclusion && !index.unique {
        recreate()
    } else {
        index
            .unique_with_tenant(&relation.ident, tenant)
            .map_or_else(recreate, |sql| Fix::together(&sql.join("\n")))
    };
    let detail = format!("`{}` is unique over ({}) across all tenants", index.name, index.terms.join(", "));
    Finding::new(Check::KeyWithoutTenant, relation.display(), detail, fix)
}

fn unleakproof(catalog: &Catalog, relation: &Examined, column: &Column, index: &Index) -> Finding {
    let Replacement { statements, step } = index.replacement(&catalog.indexes, &relation.quoted(), column);
    let fix = match (step, &statements[..]) {
        (None, [one]) => Fix::Sql(one.trim_end_matches(';').to_owned()),
        (None, all) => Fix::together(&all.join("\n")),
        (Some(step), []) => Fix::Step(step),
        (Some(step), all) => Fix::Step(format!("{} {step}", all.join(" "))),
    };
    let detail = format!(
        "`{}` over ({}) has operators or functions that are not leakproof: {}",
        index.name,
        index.terms.join(", "),
        index.unleakproof.join(", ")
    );
    Finding::new(Check::UnleakproofIndex, relation.display(), detail, fix)
}

fn foreign(
    catalog: &Catalog,
    key: &ForeignKey,
    (child, child_tenant): (&Examined, Option<&str>),
    (parent, parent_tenant): (&Examined, &str),
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
    let parent_side = Side { table: parent.ident.clone(), tenant: parent_tenant };
    match key.judge(&Side { table: child.ident.clone(), tenant: child_tenant }, &parent_side) {
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
            let needed: BTreeSet<&str> = needs.iter().map(String::as_str).collect();
            let mut of_parent = catalog.indexes.iter().filter(|index| index.table == parent.oid);
            let unique = if of_parent.any(|index| index.referenceable().as_ref() == Some(&needed)) {
                String::new()
            } else {
                keys::unique(&parent_side, &needs) + "\n"
            };
            let family = catalog.relations.family([child.oid, parent.oid]);
            let add = keys::checked(&family.map(|relation| relation.ident.clone()).collect(), &add);
            Some(finding(reason, Fix::together(&format!("{drop}\n{unique}{}", add.join("\n")))))
        }
    }
}
