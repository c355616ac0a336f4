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
    for &(table, column) in tables.iter().filter(|(table, _)| !table.partition) {
        // A partitioned table is distributed with its partitions.
        let family: Vec<&Examined> = family(catalog, table);
        let mut reasons: Vec<String> = Vec::new();
        for one in &family {
            let of = if one.oid == table.oid { String::new() } else { format!(" of `{}`", one.display()) };
            for Obstacle { kind, name, .. } in obstacles.iter().filter(|found| found.oid == one.oid) {
                reasons.push(match &**kind {
                    "trigger" => {
                        format!("the trigger `{name}`{of}: Citus distributes no table with triggers")
                    }
                    _ => format!("the policy `{name}`{of} has a subquery"),
                });
            }
            let keys = catalog.foreign_keys.iter().filter(|key| key.child == one.oid);
            for key in keys {
                reasons.extend(overwrites_tenant(key, &column.name));
                let unknown = catalog.relations.get(key.parent).is_some_and(|parent| {
                    matches!(catalog.ownership(parent, schema), Ownership::Unknown(_) | Ownership::Operator)
                });
                if unknown {
                    reasons.push(format!(
                        "the foreign key `{}` references a table that is not declared shared",
                        key.name
                    ));
                }
            }
            if one.partition && one.kind == 'p' {
                reasons.push("its partitions are partitioned".to_owned());
            }
        }
        if catalog.relations.values().any(|one| !one.partition && one.parents.contains(&table.oid))
            || !table.parents.is_empty()
        {
            reasons.push("it inherits, or a table inherits from it".to_owned());
        }
        if column.generated {
            reasons.push(format!("its tenant column `{}` is generated", column.name));
        }
        if Some(&*column.declared) != common {
            reasons.push(format!(
                "its tenant column has the type `{}`, and most have `{}`: the rows of a tenant would not be on one node",
                column.declared,
                common.unwrap_or_default()
            ));
        }
        let new = |check, detail: String, fix| Finding::new(check, table.display(), detail, fix);
        if !reasons.is_empty() && !table.is_distributed() {
            let fix = if table.is_own_table() {
                "give the library's tables the type of your tenant columns: `SqlStore::tenant_id_type`, then `migrate`"
            } else {
                "change that before `create_distributed_table`; what a trigger did is done by the application"
            };
            report.findings.push(new(Check::CitusTable, reasons.join("; "), Fix::Step(fix.to_owned())));
        }
        if !table.is_distributed() && family.iter().any(|one| one.forced) {
            let detail = if table.is_known_to_citus() {
                "row-level security is forced, and the table is in the metadata of Citus: copied as its owner, it becomes empty \
                 without an error"
            } else {
                "row-level security is forced: Citus copies the rows as the owner, and sees none; a table that is in the \
                 metadata of Citus becomes empty without an error"
            };
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
    references(catalog, schema, &obstacles, report);
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
    let family = family(catalog, table);
    let all = |action: &'static str| {
        let forced = family.iter().filter(|one| one.forced);
        let lines = forced.map(|one| format!("ALTER TABLE {} {action} ROW LEVEL SECURITY;\n", one.ident));
        lines.collect::<Vec<_>>().concat()
    };
    format!(
        "{after}BEGIN;\nSET LOCAL citus.multi_shard_modify_mode = 'sequential';\n{}\
         SELECT create_distributed_table({}, {});\n{}COMMIT;",
        all("NO FORCE"),
        literal(&table.ident),
        literal(&column.name),
        all("FORCE"),
    )
}

/// A table and its partitions, which Citus distributes with it.
fn family<'a>(catalog: &'a Catalog, table: &'a Examined) -> Vec<&'a Examined> {
    let is_partition = |one: &&Examined| {
        one.partition && catalog.relations.above(one).iter().any(|above| above.oid == table.oid)
    };
    [table].into_iter().chain(catalog.relations.values().filter(is_partition)).collect()
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
    let open: Vec<_> = table.policies.iter().filter(|policy| policy.opens(&known)).collect();
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

/// The shared tables, which have to be replicated first.
fn references(catalog: &Catalog, schema: &Schema, obstacles: &[Obstacle], report: &mut Report) {
    let shared =
        catalog.relations.values().filter(|one| one.is_table() && !one.partition && !one.is_distributed());
    let shared = shared.filter(|one| matches!(catalog.ownership(one, schema), Ownership::Shared { .. }));
    let mut statements = Vec::new();
    for table in shared {
        let has = |wrong: bool, what: &'static str| wrong.then_some(what);
        let triggers = obstacles.iter().any(|one| one.oid == table.oid && one.kind == "trigger");
        let inherits = catalog.relations.values().any(|one| one.parents.contains(&table.oid));
        let reasons: Vec<&str> = [
            has(triggers, "it has a trigger"),
            has(table.kind == 'p', "it is partitioned"),
            has(
                inherits && table.kind != 'p' || !table.parents.is_empty(),
                "it inherits, or a table inherits from it",
            ),
            has(table.forced, "row-level security is forced"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if reasons.is_empty() {
            statements.push(format!("SELECT create_reference_table({});", literal(&table.ident)));
        } else {
            let fix = "change that before `create_reference_table`";
            report.findings.push(Finding::new(
                Check::CitusTable,
                table.display(),
                format!("a shared table: {}", reasons.join("; ")),
                Fix::Step(fix.to_owned()),
            ));
        }
    }
    if !statements.is_empty() {
        report.notes.push(format!(
            "before the tables of tenants, replicate the shared ones: SET citus.enable_local_reference_table_foreign_keys = \
             off; {}",
            statements.join(" ")
        ));
    }
}
