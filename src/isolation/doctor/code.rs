//! Views, functions, and what else stands beside the tables.

use std::collections::BTreeSet;

use tenancy_sql::Schema;

use super::catalog::{Catalog, Other, Relation, Routine};
use super::check::Check;
use super::report::{Finding, Fix};

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    for view in catalog.relations.values().filter(|relation| !relation.is_table() && relation.reachable()) {
        views(catalog, schema, view, found);
    }
    for relation in catalog.relations.values().filter(|relation| relation.reachable()) {
        rules(relation, found);
    }
    let tenants: Vec<&Relation> = catalog.tenants(schema).map(|(relation, _)| relation).collect();
    let owners: BTreeSet<&str> = tenants.iter().map(|relation| relation.owner.as_str()).collect();
    let list = |relations: &[&Relation]| {
        relations.iter().map(|relation| format!("`{}`", relation.display())).collect::<Vec<_>>().join(", ")
    };
    for other in &catalog.others {
        match other {
            Other::Routine(routine) => routines(catalog, schema, routine, &owners, found),
            Other::DefaultGrant { owner, schema, to } => {
                let place = schema.as_ref().map_or_else(String::new, |schema| format!(" IN SCHEMA {schema}"));
                found.push(Finding::new(
                    Check::DefaultPrivileges,
                    to.clone(),
                    format!("each new table of {owner}{} is granted to {to}", place.to_lowercase()),
                    Fix::Sql(format!(
                        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner}{place} REVOKE ALL ON TABLES FROM {to}"
                    )),
                ));
            }
            Other::Publication { name, ident, all, tables, schemas } => {
                let sent: Vec<_> = tenants
                    .iter()
                    .copied()
                    .filter(|relation| *all || tables.contains(&relation.oid) || relation.in_schema(schemas))
                    .collect();
                if sent.is_empty() {
                    continue;
                }
                let named: Vec<_> = sent
                    .iter()
                    .filter(|relation| tables.contains(&relation.oid))
                    .map(|r| &*r.ident)
                    .collect();
                let fix = if named.len() == sent.len() {
                    Fix::Sql(format!("ALTER PUBLICATION {ident} DROP TABLE {}", named.join(", ")))
                } else {
                    Fix::Step(format!(
                        "publish the tables that are shared by name, or accept `{}`",
                        Check::Publication
                    ))
                };
                found.push(Finding::new(
                    Check::Publication,
                    name.clone(),
                    format!("it sends {}", list(&sent)),
                    fix,
                ));
            }
            Other::Sequence { name, tables } => {
                let fed: Vec<_> =
                    tenants.iter().copied().filter(|relation| tables.contains(&relation.oid)).collect();
                if !fed.is_empty() {
                    found.push(Finding::new(
                        Check::SharedSequence,
                        name.clone(),
                        format!("it numbers the rows of {} tables, among them {}", tables.len(), list(&fed)),
                        Fix::Step("give each table a sequence of its own, or random ids".to_owned()),
                    ));
                }
            }
        }
    }
}

fn views(catalog: &Catalog, schema: &Schema, view: &Relation, found: &mut Vec<Finding>) {
    let below = catalog.below(view.oid, schema);
    if below.is_empty() {
        return;
    }
    let below: Vec<_> = below.iter().map(|relation| format!("`{}`", relation.display())).collect();
    let below = below.join(", ");
    if view.kind == 'm' && catalog.superuser() {
        return;
    }
    if view.kind == 'm' {
        let rights: Vec<_> = view.privileges.iter().map(String::as_str).collect();
        let fix = if view.granted(&rights) {
            Fix::Sql(view.revoke(&rights))
        } else {
            Fix::Step(
                "let another role own it, and read it through a view that asks for the tenant".to_owned(),
            )
        };
        found.push(Finding::new(
            Check::MaterializedView,
            view.display(),
            format!("it holds rows of {below}"),
            fix,
        ));
    } else if !view.invoker {
        found.push(Finding::new(
            Check::OwnerView,
            view.display(),
            format!("it reads {below} as `{}`", view.owner),
            Fix::Sql(format!("ALTER VIEW {} SET (security_invoker = true)", view.ident)),
        ));
    }
}

fn rules(relation: &Relation, found: &mut Vec<Finding>) {
    if relation.rules.is_empty() {
        return;
    }
    let names: Vec<_> = relation.rules.iter().map(|name| format!("`{name}`")).collect();
    found.push(Finding::new(
        Check::Unexamined,
        relation.display(),
        format!("its rules {} act on other tables with the rights of `{}`", names.join(", "), relation.owner),
        Fix::Step("put a trigger in the place of each rule".to_owned()),
    ));
}

fn routines(
    catalog: &Catalog,
    schema: &Schema,
    routine: &Routine,
    owners: &BTreeSet<&str>,
    found: &mut Vec<Finding>,
) {
    let Routine { signature, owner, .. } = routine;
    let word = if routine.procedure { "PROCEDURE" } else { "FUNCTION" };
    let name = routine.display(catalog);
    let declared = routine.declared(catalog, schema);
    let privileged = routine.exempt || owners.contains(&**owner);
    if routine.definer && privileged && !routine.own && !declared && !catalog.superuser() {
        found.push(Finding::new(
            Check::DefinerFunction,
            name.clone(),
            format!("it runs as `{owner}`; once you have read it, name it under `functions` in tenancy.toml to keep it"),
            Fix::Sql(format!("ALTER {word} {signature} SECURITY INVOKER")),
        ));
    }
    if routine.leakproof {
        found.push(Finding::new(
            Check::LeakproofFunction,
            name.clone(),
            "it may be asked before any policy",
            Fix::Sql(format!("ALTER {word} {signature} NOT LEAKPROOF")),
        ));
    }
    let tables: Vec<_> = routine
        .frozen
        .iter()
        .filter_map(|oid| catalog.relations.get(oid))
        .map(|relation| format!("`{}`", relation.display()))
        .collect();
    if !tables.is_empty() {
        found.push(Finding::new(
            Check::FrozenTenant,
            name.clone(),
            format!("the policies of {} call it, and it reads the session", tables.join(", ")),
            Fix::Sql(format!("ALTER {word} {signature} STABLE")),
        ));
    }
}
