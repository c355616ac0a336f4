//! Tables: their tenant column, their row-level security, and what the role may do to them.

use tenancy_sql::Schema;

use super::catalog::{Catalog, Whose};
use super::check::Check;
use super::policy::{self, PolicyStatus};
use super::relation::{Column, Relation};
use super::report::{Finding, Fix};
use crate::isolation::policy::MissingTenant;

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    let unset = catalog.missing_tenant();
    for relation in catalog.relations.values().filter(|relation| relation.is_table() && relation.reachable())
    {
        match catalog.whose(relation, schema) {
            Whose::Operator => continue,
            // A superuser reaches also what is meant for nobody.
            Whose::Unknown(_) if catalog.superuser() => continue,
            Whose::Shared { writable } => {
                shared(catalog, relation, writable, found);
                parent(catalog, schema, relation, found);
            }
            Whose::Unknown(_) | Whose::Tenant(_) if relation.kind == 'f' => foreign(relation, found),
            Whose::Unknown(column) => missing(relation, column, found),
            Whose::Tenant(name) => {
                let Some(column) = relation.column(name) else { continue };
                tenant_column(relation, column, found);
                rows(relation, column, unset, found);
            }
        }
        if !catalog.superuser() {
            privileges(relation, found);
        }
    }
}

fn shared(catalog: &Catalog, relation: &Relation, writable: bool, found: &mut Vec<Finding>) {
    const WRITES: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];
    let may: Vec<_> = WRITES.into_iter().filter(|right| relation.privileges.contains(*right)).collect();
    if writable || may.is_empty() || relation.owned || catalog.superuser() {
        return;
    }
    let fix = if relation.granted(&WRITES) {
        Fix::Sql(relation.revoke(&WRITES))
    } else {
        Fix::Step("take the role out of pg_write_all_data".to_owned())
    };
    let detail = format!(
        "the role has {}; if all tenants shall write, name it under `shared_writable`",
        may.join(", ")
    );
    found.push(Finding::new(Check::SharedWritable, relation.display(), detail, fix));
}

/// A shared table whose children are tenants'.
fn parent(catalog: &Catalog, schema: &Schema, relation: &Relation, found: &mut Vec<Finding>) {
    let theirs = |(child, _): &(&Relation, &Column)| child.parents.contains(&relation.oid);
    let below: Vec<_> = catalog
        .tenants_of_any(schema)
        .filter(theirs)
        .map(|(child, _)| format!("`{}`", child.display()))
        .collect();
    if !below.is_empty() && !catalog.superuser() {
        found.push(Finding::new(
            Check::MissingTenantColumn,
            relation.display(),
            format!("who reads it reads the rows of {} too, past the policies there", below.join(", ")),
            Fix::Step("take the role's rights on it, or let its children inherit from nothing".to_owned()),
        ));
    }
}

fn foreign(relation: &Relation, found: &mut Vec<Finding>) {
    let rights: Vec<_> = relation.privileges.iter().map(String::as_str).collect();
    let detail = format!("the role has {}, and no policy can be set on it", rights.join(", "));
    let fix = if relation.granted(&rights) {
        Fix::Sql(relation.revoke(&rights))
    } else {
        Fix::Step("let another role own it, or declare it shared in tenancy.toml".to_owned())
    };
    found.push(Finding::new(Check::ForeignTable, relation.display(), detail, fix));
}

fn missing(relation: &Relation, column: &str, found: &mut Vec<Finding>) {
    let rights: Vec<_> = relation.privileges.iter().map(String::as_str).collect();
    found.push(Finding::new(
        Check::MissingTenantColumn,
        relation.display(),
        format!("it has no column `{column}`, and the role has {}", rights.join(", ")),
        Fix::Step(format!(
            "add `{column}`, and to every key by `tenancy policies --keys`, which checks the rows; or, if every tenant may read its \
             rows, name it under `shared` in tenancy.toml; or revoke the role's rights on it"
        )),
    ));
}

fn tenant_column(relation: &Relation, column: &Column, found: &mut Vec<Finding>) {
    if relation.partition {
        return;
    }
    // Without row-level security another type keeps ids apart as well, but a collation does not.
    if let Err(why) = column.kind()
        && (relation.rls || !column.deterministic)
    {
        let detail = format!("the tenant column `{}` {why}", column.name);
        let fix = "change the type of the column, and of the columns that refer to it; `tenancy policies` generates no \
                   policy before";
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
    if let Some(default) = column.default.as_deref().filter(|default| !policy::is_tenant(column, default)) {
        found.push(Finding::new(
            Check::DefaultedTenant,
            relation.display(),
            format!("`{}` has the default {default}", column.name),
            alter("DROP DEFAULT"),
        ));
    }
}

/// Row-level security: one finding at most, the worst.
fn rows(relation: &Relation, column: &Column, unset: MissingTenant, found: &mut Vec<Finding>) {
    let verdict = policy::judge(relation, column);
    let ident = &relation.ident;
    let written = |own: bool, after: &str| match policy::written(relation, column, unset, own) {
        Ok(sql) => Fix::together(&(sql + after)),
        Err(why) => Fix::Step(format!("its tenant column {why}; then run the doctor again")),
    };
    if !relation.rls {
        let enable = format!("ALTER TABLE {ident} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");
        let fix = match verdict {
            PolicyStatus::Floor => Fix::Sql(enable),
            _ => written(matches!(verdict, PolicyStatus::None), &format!("\n{enable};")),
        };
        let (check, detail) = match relation.parents.first() {
            Some(_) => (Check::ChildWithoutRls, "its parent's policies are not asked for it"),
            None => (Check::RlsOff, "no policy is asked for it"),
        };
        found.push(Finding::new(check, relation.display(), detail, fix));
        return;
    }
    if !relation.forced {
        let check = if relation.owned { Check::OwnerPastRls } else { Check::RlsNotForced };
        found.push(Finding::new(
            check,
            relation.display(),
            format!("its owner `{}` is not bound by its policies", relation.owner),
            Fix::Sql(format!("ALTER TABLE {ident} FORCE ROW LEVEL SECURITY")),
        ));
    }
    let (check, detail, own) = match verdict {
        PolicyStatus::Floor => {
            let altered = policy::altered(relation, column);
            if altered.is_empty() {
                return;
            }
            let detail = format!("not as `tenancy policies` writes it: `{}`", altered.join("`, `"));
            (Check::AlteredPolicy, detail, true)
        }
        PolicyStatus::Open(policies) => {
            let names: Vec<_> = policies.iter().map(|policy| format!("`{}`", policy.name)).collect();
            let detail = format!(
                "{} does not compare `{}` with app.tenant_id in a form that is known",
                names.join(" and "),
                column.name
            );
            (Check::OpenPolicy, detail, false)
        }
        PolicyStatus::NoFloor => {
            (Check::NoFloor, "all its policies compare with the tenant, and are permissive".to_owned(), false)
        }
        PolicyStatus::None => {
            let detail = "row-level security is on, and no permissive policy is for this role";
            (Check::NoPolicy, detail.to_owned(), true)
        }
    };
    found.push(Finding::new(check, relation.display(), detail, written(own, "")));
}

fn privileges(relation: &Relation, found: &mut Vec<Finding>) {
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
                format!("the role was given {}", rights.join(" or ")),
                Fix::Sql(relation.revoke(rights)),
            ));
        }
    }
}
