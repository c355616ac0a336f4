//! Indexes that PostgreSQL cannot use under row-level security.

use super::catalog::Catalog;
use super::plan::PolicyChange;
use super::tables::{Tables, TenantTable};
use crate::isolation::catalog::Index;
use crate::isolation::keys::Replacement;

/// Lists the indexes that serve no query under a policy, each with what replaces it.
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
    let Replacement { statements, step } =
        index.replacement(&catalog.indexes, &table.relation.quoted(), table.column);
    let reason = format!(
        "row-level security prevents its use, because these are not leakproof: {}; PostgreSQL filters the rows of the tenant \
         one by one{}",
        index.unleakproof.join(", "),
        step.map_or_else(String::new, |step| format!("; {step}"))
    );
    let object = format!("index {} of {}", index.name, table.relation.qualified());
    PolicyChange::of_statements(object, reason, statements)
}
