//! Judges tables: their tenant column, their row-level security, and the privileges of the role.

use tenancy_sql::Schema;

use super::catalog::Catalog;
use super::check::Check;
use super::citus;
use super::examined::Examined;
use super::policy::{self, PolicyStatus};
use super::report::{Finding, Fix};
use crate::database::own_grants;
use crate::isolation::catalog::{Column, Ownership, Policy, Shard};
use crate::isolation::comparison::{Kind, MissingTenant};
use crate::isolation::identifier::quoted;
use crate::isolation::keys;
use crate::isolation::own_tables::AUDIT_EVENTS;

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    missing_grants(catalog, found);
    let missing_tenant = catalog.missing_tenant();
    for relation in catalog.relations.values().filter(|relation| relation.is_table() && relation.reachable())
    {
        match catalog.ownership(relation, schema) {
            Ownership::Operator => continue,
            // A superuser can reach every table, so this would report tables that the application never uses.
            Ownership::Unknown(_) if catalog.superuser() => continue,
            Ownership::Shared { writable } => {
                shared(catalog, relation, writable, found);
                parent(catalog, schema, relation, found);
            }
            Ownership::Unknown(_) | Ownership::Tenant(_) if relation.kind == 'f' => foreign(relation, found),
            Ownership::Unknown(column) => missing(relation, column, found),
            Ownership::Tenant(column) => {
                tenant_column(catalog, relation, column, found);
                rows(relation, column, missing_tenant, found);
                if relation.has_shards() && relation.name == AUDIT_EVENTS {
                    citus::audit(relation, found);
                }
            }
        }
        if !catalog.superuser() {
            privileges(relation, found);
        }
    }
}

/// Reports the tables of this crate on which the role lacks what a transaction of a tenant needs. A grant would open a
/// table whose row-level security was disabled.
fn missing_grants(catalog: &Catalog, found: &mut Vec<Finding>) {
    let role = quoted(&catalog.server.role);
    for relation in
        catalog.relations.values().filter(|one| one.is_table() && one.visible && one.rls && !one.outside)
    {
        let needed = own_grants(&relation.name).unwrap_or_default();
        let missing: Vec<&str> =
            needed.iter().copied().filter(|right| !relation.usable.contains(*right)).collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            let fix = Fix::Sql(format!("GRANT {missing} ON {} TO {role}", relation.ident));
            let detail = format!("the role lacks {missing}");
            found.push(Finding::new(Check::MissingGrant, relation.display(), detail, fix));
        }
    }
}

fn shared(catalog: &Catalog, relation: &Examined, writable: bool, found: &mut Vec<Finding>) {
    const WRITES: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];
    let may: Vec<_> = WRITES.into_iter().filter(|right| relation.privileges.contains(*right)).collect();
    if writable || may.is_empty() || relation.owned || catalog.superuser() {
        return;
    }
    let fix = if relation.granted(&WRITES) {
        Fix::Sql(relation.revoke(&WRITES))
    } else {
        Fix::Step("revoke pg_write_all_data from the role".to_owned())
    };
    let detail = format!(
        "the role has {}; if every tenant may write, list it under `shared_writable`",
        may.join(", ")
    );
    found.push(Finding::new(Check::SharedWritable, relation.display(), detail, fix));
}

/// Reports a shared table whose children are tenant tables.
fn parent(catalog: &Catalog, schema: &Schema, relation: &Examined, found: &mut Vec<Finding>) {
    let is_child = |(child, _): &(&Examined, &Column)| child.parents.contains(&relation.oid);
    let children: Vec<_> = catalog
        .tenants_of_any(schema)
        .filter(is_child)
        .map(|(child, _)| format!("`{}`", child.display()))
        .collect();
    if !children.is_empty() && !catalog.superuser() {
        found.push(Finding::new(
            Check::MissingTenantColumn,
            relation.display(),
            format!("a query on it also reads the rows of {}, without their policies", children.join(", ")),
            Fix::Step(
                "revoke the role's privileges on it, or remove the inheritance of its children".to_owned(),
            ),
        ));
    }
}

fn foreign(relation: &Examined, found: &mut Vec<Finding>) {
    let rights: Vec<_> = relation.privileges.iter().map(String::as_str).collect();
    let detail = format!("the role has {}, and a foreign table can have no policy", rights.join(", "));
    let fix = if relation.granted(&rights) {
        Fix::Sql(relation.revoke(&rights))
    } else {
        Fix::Step("let another role own it, or declare it shared in tenancy.toml".to_owned())
    };
    found.push(Finding::new(Check::ForeignTable, relation.display(), detail, fix));
}

fn missing(relation: &Examined, column: &str, found: &mut Vec<Finding>) {
    let rights: Vec<_> = relation.privileges.iter().map(String::as_str).collect();
    found.push(Finding::new(
        Check::MissingTenantColumn,
        relation.display(),
        format!("it has no column `{column}`, and the role has {}", rights.join(", ")),
        Fix::Step(format!(
            "add `{column}`, and add it to every key with `tenancy policies --keys`, which checks the rows; or, if every \
             tenant may read its rows, list it under `shared` in tenancy.toml; or revoke the role's privileges on it"
        )),
    ));
}

fn tenant_column(catalog: &Catalog, relation: &Examined, column: &Column, found: &mut Vec<Finding>) {
    if relation.partition {
        return;
    }
    // Without row-level security any type distinguishes ids, but a non-deterministic collation does not.
    if let Err(why) = Kind::of(column)
        && (relation.rls || !column.deterministic)
    {
        let detail = format!("the tenant column `{}` {why}", column.name);
        let fix = "change the type of the column, and of the columns that reference it; until then `tenancy policies` generates \
                   no policy";
        found.push(Finding::new(Check::TenantType, relation.display(), detail, Fix::Step(fix.to_owned())));
    }
    let alter =
        |what: &str| Fix::Sql(format!("ALTER TABLE {} ALTER COLUMN {} {what}", relation.ident, column.ident));
    if !column.tenant_not_null {
        found.push(Finding::new(
            Check::NullableTenant,
            relation.display(),
            format!("`{}` may be null", column.name),
            alter("SET NOT NULL"),
        ));
    }
    if let Some(action) = keys::drop_default(&catalog.indexes, relation, column) {
        let detail = match &column.default {
            Some(default) => format!("`{}` has the default {default}", column.name),
            None => format!("`{}` is an identity column", column.name),
        };
        found.push(Finding::new(Check::DefaultedTenant, relation.display(), detail, alter(action)));
    }
}

/// Judges row-level security. FORCE may add a finding; of the policies only the worst problem is reported.
fn rows(relation: &Examined, column: &Column, missing_tenant: MissingTenant, found: &mut Vec<Finding>) {
    let shards: Vec<_> = relation.differing_shards().map(Shard::display).collect();
    if !shards.is_empty() {
        found.push(Finding::new(
            Check::ShardPolicy,
            relation.display(),
            format!("other policies, or another state of row-level security: {}", shards.join(", ")),
            Fix::Step(
                "repair the shard with `run_command_on_shards`; or, in one transaction with NO FORCE and FORCE ROW LEVEL SECURITY \
                 around it, `undistribute_table` and distribute it again: under FORCE its owner copies no row"
                    .to_owned(),
            ),
        ));
    }
    let status = policy::judge(relation, column);
    let ident = &relation.ident;
    let written =
        |permissive: bool, after: &str| match policy::written(relation, column, missing_tenant, permissive) {
            Ok(sql) => Fix::together(&(sql + after)),
            Err(why) => Fix::Step(format!("the tenant column {why}; then run the doctor again")),
        };
    if !relation.rls {
        let enable = format!("ALTER TABLE {ident} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");
        let fix = match status {
            PolicyStatus::Floor => Fix::Sql(enable),
            _ => written(matches!(status, PolicyStatus::None), &format!("\n{enable};")),
        };
        let (check, detail) = match relation.parents.first() {
            Some(_) => (Check::ChildWithoutRls, "the policies of its parent do not apply to it"),
            None => (Check::RlsOff, "no policy applies to it"),
        };
        found.push(Finding::new(check, relation.display(), detail, fix));
        return;
    }
    if !relation.forced {
        let check = if relation.owned { Check::OwnerPastRls } else { Check::RlsNotForced };
        found.push(Finding::new(
            check,
            relation.display(),
            format!("its policies do not apply to its owner `{}`", relation.owner),
            Fix::Sql(format!("ALTER TABLE {ident} FORCE ROW LEVEL SECURITY")),
        ));
    }
    let (check, detail, permissive) = match status {
        PolicyStatus::Floor => {
            let altered = policy::altered(relation, column);
            if altered.is_empty() {
                return;
            }
            let detail = format!("different from what `tenancy policies` writes: `{}`", altered.join("`, `"));
            (Check::AlteredPolicy, detail, true)
        }
        PolicyStatus::Open(policies) => {
            let names: Vec<_> = policies.iter().map(|policy| format!("`{}`", policy.name)).collect();
            let detail = format!(
                "{} does not compare `{}` with app.tenant_id in a known form",
                names.join(" and "),
                column.name
            );
            let by_hand: Vec<_> = policies.iter().filter(|policy| !policy.is_generated()).collect();
            if relation.has_shards() && !by_hand.is_empty() {
                let detail =
                    detail + ", and Citus creates a restrictive policy as a permissive one on each shard";
                let drop = |policy: &&&Policy| format!("DROP POLICY {} ON {ident}", quoted(&policy.name));
                let fix = Fix::Sql(by_hand.iter().map(drop).collect::<Vec<_>>().join(";\n"));
                found.push(Finding::new(Check::OpenPolicy, relation.display(), detail, fix));
                return;
            }
            (Check::OpenPolicy, detail, relation.has_shards())
        }
        PolicyStatus::NoFloor => (
            Check::NoFloor,
            "its policies compare with the tenant, but all of these are permissive".to_owned(),
            false,
        ),
        PolicyStatus::None => {
            let detail = "row-level security is on, and no permissive policy applies to this role";
            (Check::NoPolicy, detail.to_owned(), true)
        }
    };
    found.push(Finding::new(check, relation.display(), detail, written(permissive, "")));
}

fn privileges(relation: &Examined, found: &mut Vec<Finding>) {
    if relation.owned {
        return;
    }
    for (check, rights) in
        [(Check::TruncatePrivilege, &["TRUNCATE"][..]), (Check::SparePrivilege, &["REFERENCES", "TRIGGER"])]
    {
        if relation.granted(rights) {
            found.push(Finding::new(
                check,
                relation.display(),
                format!("the role was granted {}", rights.join(" or ")),
                Fix::Sql(relation.revoke(rights)),
            ));
        }
    }
}
