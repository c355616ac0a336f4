//! Indexes that PostgreSQL cannot use under row-level security.

use super::catalog::Catalog;
use super::plan::PolicyChange;
use super::tables::{Tables, TenantTable};
use crate::isolation::catalog::Index;
use crate::isolation::identifier::quoted;

/// Lists the indexes that serve no query under a policy, each with an index that does.
pub(super) fn advice(catalog: &Catalog, tables: &Tables<'_>) -> Vec<PolicyChange> {
    let mut advice = Vec::new();
    for index in catalog.indexes.iter().filter(|index| !index.inherited) {
        if let Some(table) = tables.tenant(index.table)
            && index.is_out_of_use(&table.column.name)
        {
            advice.push(change(catalog, index, table));
        }
    }
    advice
}

fn change(catalog: &Catalog, index: &Index, table: &TenantTable<'_>) -> PolicyChange {
    let (name, tenant) = (table.relation.quoted(), &table.column.name);
    let reason = format!(
        "row-level security prevents its use, because these are not leakproof: {}; PostgreSQL filters the rows of the tenant \
         one by one",
        index.unleakproof.join(", ")
    );
    let finds_tenant = |other: &Index| {
        other.table == index.table
            && other.method == "btree"
            && other.valid
            && other.predicate.is_none()
            && other.starts_with(tenant)
    };
    let sql = match index.body_with_tenant(tenant) {
        // With the tenant column in front it finds the tenant's rows, in the order of the other columns.
        Some(body) if index.method == "btree" => format!("CREATE INDEX ON {name}{body};"),
        _ if catalog.indexes.iter().any(finds_tenant) => String::new(),
        _ => format!("CREATE INDEX ON {name} ({});", quoted(tenant)),
    };
    let object = format!("index {} of {}", index.name, table.relation.qualified());
    PolicyChange::new(object, reason, sql)
}
