//! Judges functions that a statement runs without a call in its text, or under the name of another function.

use tenancy_sql::{Dialect, Schema, is_pure};

use super::catalog::Catalog;
use super::check::Check;
use super::objects::Implicit;
use super::report::{Finding, Fix};
use super::routine::Named;

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    for function in &catalog.implicit {
        let named = Named { schema: &function.schema, name: &function.name };
        let callers = function.callers(catalog, schema);
        if !callers.is_empty() && !named.declared(catalog, schema) {
            found.push(function.finding(named.display(catalog), &callers));
        }
    }
}

impl Implicit {
    fn callers(&self, catalog: &Catalog, schema: &Schema) -> Vec<String> {
        let mut callers = self.how.clone();
        if !catalog.search_path.contains(&self.schema) {
            return callers;
        }
        if self.named && is_pure(Dialect::Postgres, &self.name) {
            callers
                .push(format!("`{}(..)`, which statements may call as the server's own function", self.name));
        }
        if self.scalar && schema.has_field(&self.name) {
            callers
                .push(format!("`(..).{}` written like a field, which `composite_types` allows", self.name));
        }
        callers
    }

    fn finding(&self, name: String, callers: &[String]) -> Finding {
        let Self { signature, checked, to, .. } = self;
        let detail = format!(
            "it is called by {}; review it: if it reads no table and no setting, list it under `functions` in \
             tenancy.toml to keep it",
            callers.join("; ")
        );
        let fix = if *checked && !to.is_empty() {
            Fix::Sql(format!("REVOKE EXECUTE ON ROUTINE {signature} FROM {}", to.join(", ")))
        } else {
            Fix::Step(format!(
                "if it does, drop {signature} and the object that calls it: the server checks no privilege on it"
            ))
        };
        Finding::new(Check::ImplicitFunction, name, detail, fix)
    }
}
