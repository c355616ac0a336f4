//! What Citus would not distribute, judged before it is tried. Tried on Citus 13.2.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::postgres::PgConnection;
use tenancy_sql::Schema;

use super::catalog::{Catalog, rows};
use super::check::Check;
use super::examined::Examined;
use super::report::{Finding, Fix, Report};
use crate::isolation::catalog::{Action, Column, ForeignKey, Ownership};
use crate::isolation::comparison::forms;
use crate::isolation::identifier::{literal, quoted};
use crate::isolation::own_tables::AUDIT_EVENTS;
use crate::isolation::policy::COMMANDS;

/// A trigger of a table, or a policy with a subquery.
#[derive(Deserialize)]
struct Obstacle {
    oid: i64,
    kind: String,
    name: String,
}

/// Adds the findings about tables that Citus does not distribute yet.
pub(super) async fn judge(
    conn: &mut PgConnection,
    catalog: &Catalog,
    schema: &Schema,
    report: &mut Report,
) -> sqlx::Result<()> {
    let obstacles: Vec<Obstacle> = rows(conn, include_str!("catalog/citus.sql")).await?;
    let tables: Vec<(&Examined, &Column)> =
        catalog.tenants_of_any(schema).filter(|(one, _)| one.kind != 'f').collect();
    let common = common_type(&tables);
    for &(table, column) in &tables {
        let mut reasons: Vec<String> = Vec::new();
        for Obstacle { kind, name, .. } in obstacles.iter().filter(|one| one.oid == table.oid) {
            reasons.push(match &**kind {
                "trigger" => format!("its trigger `{name}`: Citus distributes no table with triggers"),
                _ => format!("its policy `{name}` has a subquery"),
            });
        }
        if catalog.relations.values().any(|one| !one.partition && one.parents.contains(&table.oid))
            || (!table.partition && !table.parents.is_empty())
        {
            reasons.push("it inherits, or a table inherits from it".to_owned());
        }
        if column.generated {
            reasons.push(format!("its tenant column `{}` is generated", column.name));
        }
        if !table.partition && Some(&*column.declared) != common {
            reasons.push(format!(
                "its tenant column has the type `{}`, and most have `{}`: the rows of a tenant would not be on one node",
                column.declared,
                common.unwrap_or_default()
            ));
        }
        let keys = catalog.foreign_keys.iter().filter(|key| key.child == table.oid);
        reasons.extend(keys.filter_map(|key| overwrites_tenant(key, &column.name)));
        let new = |check, detail: String, fix| Finding::new(check, table.display(), detail, fix);
        if !reasons.is_empty() && !table.is_distributed() {
            let fix = if table.is_own_table() {
                "give the library's tables the type of your tenant columns: `SqlStore::tenant_id_type`, then `migrate`"
            } else {
                "change that before `create_distributed_table`; what a trigger did is done by the application"
            };
            report.findings.push(new(Check::CitusTable, reasons.join("; "), Fix::Step(fix.to_owned())));
        }
        if !table.is_distributed() && !table.partition && table.forced {
            let detail = "row-level security is forced: Citus copies the rows as the owner, and sees none; a table that is in \
                          the metadata of Citus already loses them without an error";
            report.findings.push(new(
                Check::CitusRows,
                detail.to_owned(),
                Fix::Sql(distribute(catalog, (table, column), &tables)),
            ));
        }
        if table.name == AUDIT_EVENTS && !table.is_distributed() {
            audit(table, &mut report.findings);
        }
        if !table.is_distributed() && !table.is_own_table() {
            open_on_shards(table, column, &mut report.findings);
        }
    }
    references(catalog, schema, report);
    Ok(())
}

/// The type of most tenant columns.
fn common_type<'a>(tables: &[(&Examined, &'a Column)]) -> Option<&'a str> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for (_, column) in tables.iter().filter(|(table, _)| !table.is_own_table()) {
        *counts.entry(&column.declared).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name)
}

/// Citus rejects a foreign key with the tenant column whose actions could overwrite it, whatever columns they name.
fn overwrites_tenant(key: &ForeignKey, tenant: &str) -> Option<String> {
    let has_tenant = key.columns.iter().any(|(child, _)| child == tenant);
    let action = match (key.on_delete, key.on_update) {
        (delete, _) if delete.sets() => format!("ON DELETE {}", delete.as_sql()),
        (_, update) if update.sets() || update == Action::Cascade => format!("ON UPDATE {}", update.as_sql()),
        _ => return None,
    };
    has_tenant.then(|| format!("its foreign key `{}` is {action}", key.name))
}

/// The statements that distribute a table without losing its rows, after the tables that it references.
fn distribute(
    catalog: &Catalog,
    (table, column): (&Examined, &Column),
    tables: &[(&Examined, &Column)],
) -> String {
    let references = |one: &Examined| {
        let mut keys = catalog.foreign_keys.iter().filter(|key| key.child == table.oid);
        one.oid != table.oid && !one.is_distributed() && keys.any(|key| key.parent == one.oid)
    };
    let first: Vec<String> =
        tables.iter().filter(|(one, _)| references(one)).map(|(one, _)| one.display()).collect();
    let after = if first.is_empty() { String::new() } else { format!("-- after {}\n", first.join(", ")) };
    format!(
        "{after}BEGIN;\nALTER TABLE {0} NO FORCE ROW LEVEL SECURITY;\nSELECT create_distributed_table({1}, {2});\n\
         ALTER TABLE {0} FORCE ROW LEVEL SECURITY;\nCOMMIT;",
        table.ident,
        literal(&table.ident),
        literal(&column.name)
    )
}

/// On plain PostgreSQL no policy allows a change of an audit event. On a shard the restrictive policy is permissive.
pub(super) fn audit(table: &Examined, found: &mut Vec<Finding>) {
    const CHANGES: [&str; 2] = ["UPDATE", "DELETE"];
    if table.granted(&CHANGES) {
        found.push(Finding::new(
            Check::AuditPrivilege,
            table.display(),
            "on Citus its restrictive policy permits a tenant to change and delete its own events",
            Fix::Sql(table.revoke(&CHANGES)),
        ));
    }
}

/// Policies that a restrictive policy holds back now, and that open the table on the shards of Citus.
fn open_on_shards(table: &Examined, column: &Column, found: &mut Vec<Finding>) {
    let known = forms(column);
    let open: Vec<_> = table
        .policies
        .iter()
        .filter(|policy| !policy.is_generated())
        .filter(|policy| {
            COMMANDS.iter().any(|(command, _)| policy.is_for(*command) && !policy.compares(&known, *command))
        })
        .collect();
    if open.is_empty()
        || found.iter().any(|one| one.check() == Check::OpenPolicy && one.object() == table.display())
    {
        return;
    }
    let names: Vec<_> = open.iter().map(|policy| format!("`{}`", policy.name)).collect();
    let dropped: Vec<_> = open
        .iter()
        .map(|policy| format!("DROP POLICY {} ON {}", quoted(&policy.name), table.ident))
        .collect();
    let detail = format!(
        "{}: on each shard Citus creates a restrictive policy as a permissive one, and every policy has to compare `{}` with \
         app.tenant_id",
        names.join(", "),
        column.name
    );
    found.push(Finding::new(Check::OpenPolicy, table.display(), detail, Fix::Sql(dropped.join(";\n"))));
}

/// The shared tables that have to be replicated first.
fn references(catalog: &Catalog, schema: &Schema, report: &mut Report) {
    let shared =
        catalog.relations.values().filter(|one| one.is_table() && !one.partition && !one.is_distributed());
    let shared = shared.filter(|one| matches!(catalog.ownership(one, schema), Ownership::Shared { .. }));
    let statements: Vec<String> =
        shared.map(|one| format!("SELECT create_reference_table({});", literal(&one.ident))).collect();
    if !statements.is_empty() {
        report.notes.push(format!(
            "before the tables of tenants, replicate the shared ones: {}",
            statements.join(" ")
        ));
    }
}
