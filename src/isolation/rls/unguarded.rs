//! Tables and views that no generated policy guards, and whether the application reaches them.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use super::catalog::Catalog;
use super::error::unread;
use super::plan::PolicyChange;
use super::view::View;
use crate::error::Result;

pub(super) struct Unguarded {
    /// What the application reaches; without a role, everything.
    pub(super) reached: Vec<PolicyChange>,
    /// What it does not.
    pub(super) advice: Vec<PolicyChange>,
}

impl Unguarded {
    pub(super) async fn read(
        conn: &mut PgConnection,
        catalog: &Catalog,
        views: &[View],
        role: Option<&str>,
    ) -> Result<Self> {
        let all = steps(catalog, views, role.is_some());
        let reached = match role {
            Some(role) => reached(conn, role, &all).await?,
            None => all.iter().map(|(oid, _)| *oid).collect(),
        };
        let (reached, advice): (Vec<_>, Vec<_>) = all.into_iter().partition(|(oid, _)| reached.contains(oid));
        let steps = |found: Vec<(i64, PolicyChange)>| found.into_iter().map(|(_, step)| step).collect();
        Ok(Self { reached: steps(reached), advice: steps(advice) })
    }
}

/// Each with its number in the catalogue. Of tables in other schemas that have no tenant column only a role makes a case.
fn steps(catalog: &Catalog, views: &[View], with_role: bool) -> Vec<(i64, PolicyChange)> {
    let kept = views.iter().filter(|view| view.materialized).map(|view| {
        let reason =
            "it keeps rows of every tenant, and no policy can stand on it: let no application read it";
        (view.oid, PolicyChange::new(format!("materialized view {}", view.shown), reason, ""))
    });
    let foreign = catalog.foreign.iter().map(|table| {
        let reason = "it is a foreign table below a tenant's, and no policy can stand on it: let nobody read it by itself";
        (table.oid, PolicyChange::new(table.object(), reason, ""))
    });
    let open = catalog.open.iter().map(|(parent, child)| {
        let reason = format!(
            "it has no tenant, and who reads it reads the rows of `{child}`, past the policies there: let nobody read it"
        );
        (parent.oid, PolicyChange::new(format!("table {}", parent.shown), reason, ""))
    });
    let unknown = catalog.unknown.iter().filter(move |table| table.near || with_role).map(|table| {
        let reason = "it has no tenant column and is not declared as shared, so that no policy guards it: add the column, or \
                      name the table under `shared` in tenancy.toml, or revoke the rights on it";
        (table.oid, PolicyChange::new(format!("table {}", table.shown), reason, ""))
    });
    let far = catalog.far.iter().map(|table| {
        let reason = "its schema is outside of the search_path, so that no policy is written for it, and its row-level security \
                      is off or does not bind its owner: add the schema to the search_path of this connection";
        (table.oid, PolicyChange::new(format!("table {}", table.shown), reason, ""))
    });
    kept.chain(foreign).chain(open).chain(unknown).chain(far).collect()
}

async fn reached(
    conn: &mut PgConnection,
    role: &str,
    steps: &[(i64, PolicyChange)],
) -> Result<BTreeSet<i64>> {
    let oids: Vec<i64> = sqlx::query_scalar(
        "SELECT c.oid::int8 FROM pg_class c WHERE c.oid::int8 = ANY ($2) AND EXISTS (SELECT 1 FROM pg_roles r \
             WHERE pg_has_role($1::name, r.oid, 'MEMBER') \
                 AND (has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') \
                     OR has_table_privilege(r.oid, c.oid, 'DELETE, TRUNCATE, TRIGGER')))",
    )
    .bind(role)
    .bind(steps.iter().map(|(oid, _)| *oid).collect::<Vec<_>>())
    .fetch_all(conn)
    .await
    .map_err(unread)?;
    Ok(oids.into_iter().collect())
}
