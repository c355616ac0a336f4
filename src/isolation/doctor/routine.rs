//! Judges functions and procedures: the rights and the tenant they run with, and when PostgreSQL calls them.

use tenancy_sql::Schema;

use super::catalog::Catalog;
use super::check::Check;
use super::objects::Routine;
use super::report::{Finding, Fix};
use crate::isolation::catalog::is_place;

/// The name of a function, as `functions` in `tenancy.toml` lists it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) schema: &'a str,
    pub(super) name: &'a str,
}

impl Named<'_> {
    /// The shortest name by which a statement finds it.
    pub(super) fn display(self, catalog: &Catalog) -> String {
        if catalog.search_path.iter().any(|near| near == self.schema) {
            self.name.to_owned()
        } else {
            self.qualified()
        }
    }

    pub(super) fn declared(self, catalog: &Catalog, schema: &Schema) -> bool {
        // In the schema of a tenant, a function is declared by its name alone.
        let names = [self.display(catalog), self.qualified()];
        names.iter().any(|name| schema.allows_function(name))
            || ((is_place(self.schema) || catalog.default_path.iter().any(|one| one == self.schema))
                && schema.allows_function(self.name))
    }

    fn qualified(self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    for routine in &catalog.routines {
        routine.judge(catalog, schema, found);
    }
}

impl Routine {
    fn judge(&self, catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
        let Self { signature, owner, .. } = self;
        let word = if self.procedure { "PROCEDURE" } else { "FUNCTION" };
        let named = Named { schema: &self.schema, name: &self.name };
        let name = named.display(catalog);
        let alter = |what: &str| Fix::Sql(format!("ALTER {word} {signature} {what}"));
        if self.definer && !self.own && !named.declared(catalog, schema) && !catalog.superuser() {
            // An extension may need the function unchanged.
            let fix = match &self.extension {
                None => alter("SECURITY INVOKER"),
                Some(_) => Fix::Sql(format!("REVOKE EXECUTE ON {word} {signature} FROM PUBLIC")),
            };
            let of = self
                .extension
                .as_ref()
                .map_or_else(String::new, |name| format!(", of the extension `{name}`"));
            found.push(Finding::new(
                Check::DefinerFunction,
                name.clone(),
                format!(
                    "it runs as `{owner}`{of}; review it, and list it under `functions` in tenancy.toml to keep it"
                ),
                fix,
            ));
        }
        if let Some(language) =
            self.language.as_ref().filter(|_| !named.declared(catalog, schema) && !catalog.superuser())
        {
            let fix = if self.to.is_empty() {
                Fix::Step(format!("drop the trigger or the aggregate that calls {signature}"))
            } else {
                Fix::Sql(format!("REVOKE EXECUTE ON ROUTINE {signature} FROM {}", self.to.join(", ")))
            };
            found.push(Finding::new(
                Check::SystemPrivilege,
                name.clone(),
                format!(
                    "it is written in `{language}`, which has the rights of the server process; review it, and list it under \
                     `functions` in tenancy.toml to keep it"
                ),
                fix,
            ));
        }
        if self.leakproof {
            found.push(Finding::new(
                Check::LeakproofFunction,
                name.clone(),
                "PostgreSQL may call it before any policy, on rows of every tenant",
                alter("NOT LEAKPROOF"),
            ));
        }
        if let Some(setting) = &self.sets_tenant {
            found.push(Finding::new(
                Check::SettingDefault,
                name.clone(),
                "its SET clause has app.tenant_id: it reads and writes as that tenant for every caller",
                alter(&format!("RESET {setting}")),
            ));
        }
        let tables: Vec<_> = self
            .frozen
            .iter()
            .filter_map(|oid| catalog.relations.get(*oid))
            .map(|relation| format!("`{}`", relation.display()))
            .collect();
        // The tables in schemas of tenants are not read with the shared tables.
        let others = self.frozen.len() - tables.len();
        let tables = match tables.as_slice() {
            [] if catalog.without_places && others > 0 => format!("{others} tables in schemas of tenants"),
            tables => tables.join(", "),
        };
        if !tables.is_empty() {
            found.push(Finding::new(
                Check::FrozenTenant,
                name.clone(),
                format!("the policies of {tables} call it, and it reads the session state"),
                alter("STABLE"),
            ));
        }
    }
}
