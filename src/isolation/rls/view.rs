//! Views over tenant tables, and the changes that make them read with the rights of their reader.

use super::catalog::Catalog;
use super::plan::PolicyChange;
use super::tables::Tables;
use crate::isolation::catalog::Relation;

/// The views that read tenant tables, directly or through other views, without those of extensions.
pub(super) fn views<'a>(catalog: &'a Catalog, tables: &Tables<'_>) -> Vec<&'a Relation> {
    let reads_tenant =
        |view: &&Relation| catalog.reads.of(view.oid).into_iter().any(|oid| tables.tenant(oid).is_some());
    let views = catalog.relations.values().filter(|one| !one.is_table() && !one.member);
    let mut views: Vec<&Relation> = views.filter(reads_tenant).collect();
    views.sort_by_key(|view| (&view.schema, &view.name));
    views
}

pub(super) fn changes(views: &[&Relation]) -> Vec<PolicyChange> {
    let owners = views.iter().filter(|view| view.kind == 'v' && !view.invoker);
    owners
        .map(|view| {
            let sql = format!("ALTER VIEW {} SET (security_invoker = true);", view.quoted());
            PolicyChange::new(
                format!("view {}", view.qualified()),
                "it reads with the rights of its owner",
                sql,
            )
        })
        .collect()
}
