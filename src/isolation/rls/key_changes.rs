//! [`KeyChanges`]: tenant columns that may be null or have a default, and keys that lack the tenant column.

use std::collections::BTreeSet;

use super::catalog::Catalog;
use super::error::misconfigured;
use super::plan::PolicyChange;
use super::tables::{Tables, TenantTable};
use crate::error::Result;
use crate::isolation::catalog::{Index, Relation};
use crate::isolation::identifier::quoted;
use crate::isolation::keys::{self, KeyStatus, Side};

/// The changes to columns and keys.
pub(super) struct KeyChanges {
    /// In the order in which they must run.
    pub(super) keys: Vec<PolicyChange>,
    /// Keys that only a person can change.
    pub(super) advice: Vec<PolicyChange>,
}

impl KeyChanges {
    pub(super) fn new(catalog: &Catalog, tables: &Tables<'_>) -> Result<Self> {
        let mut keys = columns(catalog, tables);
        let mut advice = Vec::new();
        let (mut dropped, mut added, mut replaced) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut referred = Vec::new();
        for foreign in &catalog.foreign_keys {
            // A key from another table to a tenant table is handled with the unique key below.
            let (Some(child), Some(parent)) = (tables.tenant(foreign.child), tables.tenant(foreign.parent))
            else {
                continue;
            };
            let object = format!("foreign key {} of {}", foreign.name, child.relation.qualified());
            match foreign.judge(&side(child), &side(parent)) {
                KeyStatus::Right => {}
                KeyStatus::ByHand(reason) => advice.push(PolicyChange::new(object, reason, "")),
                KeyStatus::Wrong { reason, drop, add, needs } => {
                    replaced.insert(foreign.oid);
                    dropped.push(PolicyChange::new(object.clone(), reason, drop));
                    let family = catalog.relations.family([foreign.child, foreign.parent]);
                    let add = keys::checked(&family.map(Relation::quoted).collect(), &add);
                    let reason = "it is recreated with the tenant column";
                    added.push(PolicyChange::of_statements(object, reason, add));
                    referred.push((parent, needs));
                }
            }
        }
        keys.extend(dropped);
        let mut made: Vec<(i64, BTreeSet<&str>)> = Vec::new();
        for (index, table) in indexes(catalog, tables).filter(|(index, _)| index.unique) {
            let tenant = table.column.name.as_str();
            let columns = index.referenceable();
            if !index.lacks_tenant(tenant) {
                made.extend(columns.map(|columns| (index.table, columns)));
                continue;
            }
            let object = object(index, table);
            if keys::has_one_row_per_tenant(&catalog.indexes, index.table, tenant) {
                let reason = "each tenant has one row here, so it is unique across tenants: it reveals values of one tenant to another";
                advice.push(PolicyChange::new(object, reason, ""));
                continue;
            }
            if index.referenced_by.iter().any(|by| !replaced.contains(by)) {
                let reason = "it lacks the tenant column, and a foreign key references it that cannot have the tenant column: \
                              two tenants collide in it, and it reveals rows of one to the other";
                advice.push(PolicyChange::new(object, reason, ""));
                continue;
            }
            made.extend(columns.map(|mut columns| {
                columns.insert(tenant);
                (index.table, columns)
            }));
            let reason = "it lacks the tenant column: two tenants collide in it, and it reveals rows of one to the other";
            let sql = index.unique_with_tenant(&table.relation.quoted(), tenant).ok_or_else(|| {
                misconfigured(format!("the definition of the index `{}` has an unknown form", index.name))
            })?;
            keys.push(PolicyChange::of_statements(object, reason, sql));
        }
        for (parent, needs) in &referred {
            let needs_names: BTreeSet<&str> = needs.iter().map(String::as_str).collect();
            let oid = parent.relation.oid;
            if made.iter().any(|(table, columns)| *table == oid && *columns == needs_names) {
                continue;
            }
            keys.push(PolicyChange::new(
                parent.relation.object(),
                "foreign keys with the tenant column need a unique key to reference",
                keys::unique(&side(parent), needs),
            ));
            made.push((oid, needs_names));
        }
        keys.extend(added);
        advice.extend(exclusions(catalog, tables));
        Ok(Self { keys, advice })
    }
}

/// The indexes of tenant tables, each with its table. An index of a partition follows that of the partitioned table.
fn indexes<'a>(
    catalog: &'a Catalog,
    tables: &'a Tables<'a>,
) -> impl Iterator<Item = (&'a Index, &'a TenantTable<'a>)> {
    let own = catalog.indexes.iter().filter(|index| !index.inherited);
    own.filter_map(|index| Some((index, tables.tenant(index.table)?)))
}

fn columns(catalog: &Catalog, tables: &Tables<'_>) -> Vec<PolicyChange> {
    let mut changes = Vec::new();
    // A partition shares the column of its parent; a child has its own.
    for TenantTable { relation, column, .. } in
        tables.tenants.iter().filter(|table| !table.relation.partition)
    {
        let name = quoted(&column.name);
        let alter = |action: &str| format!("ALTER TABLE {} ALTER COLUMN {name} {action};", relation.quoted());
        if !column.tenant_not_null {
            let reason = "its tenant column may be null, and PostgreSQL does not check a foreign key with a null column";
            changes.push(PolicyChange::new(relation.object(), reason, alter("SET NOT NULL")));
        }
        if let Some(action) = keys::drop_default(&catalog.indexes, relation, column) {
            let reason =
                "its tenant column has a default or an identity, so that a missing tenant is not noticed";
            changes.push(PolicyChange::new(relation.object(), reason, alter(action)));
        }
    }
    changes
}

fn side<'a>(table: &TenantTable<'a>) -> Side<'a> {
    Side { table: table.relation.quoted(), tenant: &table.column.name }
}

fn object(index: &Index, table: &TenantTable<'_>) -> String {
    let kind = match (index.primary, index.constraint) {
        (true, _) => "primary key",
        (false, true) => "unique constraint",
        (false, false) => "unique index",
    };
    format!("{kind} {} of {}", index.name, table.relation.qualified())
}

/// Exclusion constraints that lack the tenant column.
fn exclusions(catalog: &Catalog, tables: &Tables<'_>) -> Vec<PolicyChange> {
    let mut changes = Vec::new();
    for (index, table) in indexes(catalog, tables).filter(|(index, _)| index.exclusion && !index.unique) {
        if index.lacks_tenant(&table.column.name) {
            let reason = "it lacks the tenant column: two tenants collide in it; recreate it with the tenant column `WITH =`, \
                          which the extension btree_gist supports";
            let object = format!("exclusion constraint {} of {}", index.name, table.relation.qualified());
            changes.push(PolicyChange::new(object, reason, ""));
        }
    }
    changes
}
