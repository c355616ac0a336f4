//! Tables and views without a generated policy, and whether the application's role can reach them.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use super::error::read_error;
use super::plan::PolicyChange;
use super::tables::Tables;
use crate::error::Result;
use crate::isolation::catalog::Relation;

pub(super) struct Unguarded {
    /// Those that the role can reach; without a role, all of them.
    pub(super) reached: Vec<PolicyChange>,
    /// Those that the role cannot reach.
    pub(super) advice: Vec<PolicyChange>,
}

impl Unguarded {
    pub(super) async fn read(
        conn: &mut PgConnection,
        tables: &Tables<'_>,
        views: &[&Relation],
        role: Option<&str>,
    ) -> Result<Self> {
        let all = changes(tables, views, role.is_some());
        let reached = match role {
            Some(role) => reached(conn, role, &all).await?,
            None => all.iter().map(|(oid, _)| *oid).collect(),
        };
        let (reached, advice): (Vec<_>, Vec<_>) = all.into_iter().partition(|(oid, _)| reached.contains(oid));
        let changes = |found: Vec<(i64, PolicyChange)>| found.into_iter().map(|(_, change)| change).collect();
        Ok(Self { reached: changes(reached), advice: changes(advice) })
    }
}

/// All of them, each with its oid. A table outside of the search path without a tenant column counts only with a
/// role.
fn changes(tables: &Tables<'_>, views: &[&Relation], with_role: bool) -> Vec<(i64, PolicyChange)> {
    let kept = views.iter().filter(|view| view.kind == 'm').map(|view| {
        let reason = "it contains rows of every tenant, and cannot have a policy: let no application read it";
        (view.oid, PolicyChange::new(format!("materialized view {}", view.qualified()), reason, ""))
    });
    let foreign = tables.foreign.iter().map(|table| {
        let reason = "it is a foreign table and a child of a tenant table, and cannot have a policy: let no role read it directly";
        (table.oid, PolicyChange::new(table.object(), reason, ""))
    });
    let open = tables.open.iter().map(|(parent, child)| {
        let reason = format!(
            "it has no tenant column, and a query on it reads the rows of `{}` without their policies: let no role read it",
            child.qualified()
        );
        (parent.oid, PolicyChange::new(parent.object(), reason, ""))
    });
    let unknown = tables.unknown.iter().filter(move |table| table.in_search_path || with_role).map(|table| {
        let reason = "it has no tenant column and is not declared shared, so it has no policy: add the column, list the table \
                      under `shared` in tenancy.toml, or revoke the privileges on it";
        (table.oid, PolicyChange::new(table.object(), reason, ""))
    });
    let outside_search_path = tables.outside_search_path.iter().map(|table| {
        let reason = "its schema is outside of the search_path, so no policy is generated for it, and its row-level security \
                      is off or not forced: add the schema to the search_path of this connection";
        (table.oid, PolicyChange::new(table.object(), reason, ""))
    });
    kept.chain(foreign).chain(open).chain(unknown).chain(outside_search_path).collect()
}

async fn reached(
    conn: &mut PgConnection,
    role: &str,
    changes: &[(i64, PolicyChange)],
) -> Result<BTreeSet<i64>> {
    let oids: Vec<i64> = sqlx::query_scalar(
        "SELECT c.oid::int8 FROM pg_class c WHERE c.oid::int8 = ANY ($2) AND EXISTS (SELECT 1 FROM pg_roles r \
             WHERE pg_has_role($1::name, r.oid, 'MEMBER') \
                 AND (has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') \
                     OR has_table_privilege(r.oid, c.oid, 'DELETE, TRUNCATE, TRIGGER')))",
    )
    .bind(role)
    .bind(changes.iter().map(|(oid, _)| *oid).collect::<Vec<_>>())
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    Ok(oids.into_iter().collect())
}
