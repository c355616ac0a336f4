//! Judges views, rules, event triggers, default privileges, publications and shared sequences.

use tenancy_sql::Schema;

use super::catalog::{Catalog, Other};
use super::check::Check;
use super::examined::Examined;
use super::report::{Finding, Fix};
use super::routine::Named;
use crate::isolation::catalog::is_place;

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    for view in catalog.relations.values().filter(|relation| !relation.is_table() && relation.reachable()) {
        views(catalog, schema, view, found);
    }
    for relation in catalog.relations.values().filter(|relation| relation.reachable()) {
        rules(relation, found);
    }
    let tenants: Vec<&Examined> = catalog.tenants(schema).map(|(relation, _)| relation).collect();
    let list = |relations: &[&Examined]| {
        relations.iter().map(|relation| format!("`{}`", relation.display())).collect::<Vec<_>>().join(", ")
    };
    for other in catalog.others.iter() {
        match other {
            // The whole database has these.
            Other::EventTrigger { .. } | Other::Remote { .. } if catalog.place_only => {}
            // Those in the schema of a tenant are reported with that schema.
            Other::DefaultGrant { schema, .. } if !granted_here(catalog, schema.as_deref()) => {}
            Other::EventTrigger { name, ident, schema: of, function } => {
                let function = Named { schema: of, name: function };
                if !function.declared(catalog, schema) && !catalog.superuser() {
                    found.push(Finding::new(
                        Check::EventTrigger,
                        name.clone(),
                        format!(
                            "it runs `{}` in statements of every role; review that function, and list it under \
                             `functions` in tenancy.toml to keep it",
                            function.display(catalog)
                        ),
                        Fix::Sql(format!("ALTER EVENT TRIGGER {ident} DISABLE")),
                    ));
                }
            }
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
            Other::Remote { extension, functions, to } => {
                if !catalog.superuser() {
                    found.push(remote(extension, functions, &to.join(", ")));
                }
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
                        "publish only shared tables, each by name, or accept `{}`",
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
                        Fix::Step("use a sequence of its own for each table, or random ids".to_owned()),
                    ));
                }
            }
        }
    }
}

fn granted_here(catalog: &Catalog, schema: Option<&str>) -> bool {
    match schema {
        Some(schema) if catalog.place_only => catalog.search_path.iter().any(|near| near == schema),
        Some(schema) => !(catalog.without_places && is_place(schema)),
        None => !catalog.place_only,
    }
}

fn remote(extension: &str, functions: &[String], to: &str) -> Finding {
    Finding::new(
        Check::RemoteFunction,
        extension,
        format!(
            "{to} may execute {} of its functions, which log in to another database, or to this one again, with a password \
             that the caller knows",
            functions.len()
        ),
        Fix::Sql(format!("REVOKE EXECUTE ON FUNCTION {} FROM {to}", functions.join(", "))),
    )
}

fn views(catalog: &Catalog, schema: &Schema, view: &Examined, found: &mut Vec<Finding>) {
    let mut read: Vec<String> =
        catalog.tables_read_by(view.oid, schema).iter().map(|one| format!("`{}`", one.display())).collect();
    // The views of an extension may read tables of the server.
    let restricted = view.restricted.iter().filter(|_| !view.member);
    read.extend(restricted.map(|name| format!("`{name}`")));
    if view.kind == 'm' && !view.member {
        // The owner's refresh ran these functions with the owner's rights.
        let calls = catalog.relations_read_by(view.oid).into_iter().flat_map(|one| &one.calls);
        let unknown =
            calls.map(|(schema, name)| Named { schema, name }).filter(|one| !one.declared(catalog, schema));
        read.extend(unknown.map(|one| format!("`{}()`", one.display(catalog))));
    }
    if read.is_empty() || (view.kind == 'm' && catalog.superuser()) {
        return;
    }
    let read = read.join(", ");
    if view.kind == 'm' {
        let rights: Vec<_> = view.privileges.iter().map(String::as_str).collect();
        let fix = if view.granted(&rights) {
            Fix::Sql(view.revoke(&rights))
        } else {
            Fix::Step(
                "let another role own it, and let the application read it through a view that compares with the tenant"
                    .to_owned(),
            )
        };
        found.push(Finding::new(
            Check::MaterializedView,
            view.display(),
            format!("it contains rows of {read}"),
            fix,
        ));
    } else if !view.invoker {
        found.push(Finding::new(
            Check::OwnerView,
            view.display(),
            format!("it reads {read} as `{}`", view.owner),
            Fix::Sql(format!("ALTER VIEW {} SET (security_invoker = true)", view.ident)),
        ));
    }
}

fn rules(relation: &Examined, found: &mut Vec<Finding>) {
    if relation.rules.is_empty() {
        return;
    }
    let names: Vec<_> = relation.rules.iter().map(|name| format!("`{name}`")).collect();
    found.push(Finding::new(
        Check::Unexamined,
        relation.display(),
        format!("its rules {} act on other tables with the rights of `{}`", names.join(", "), relation.owner),
        Fix::Step("replace each rule with a trigger".to_owned()),
    ));
}
