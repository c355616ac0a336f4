//! Functions that a statement calls without looking like a call, or by the name of another function.

use tenancy_sql::{Dialect, Schema, is_pure};

use super::catalog::Catalog;
use super::check::Check;
use super::objects::Implicit;
use super::report::{Finding, Fix};
use super::routine::Named;

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    for function in &catalog.implicit {
        let named = Named { schema: &function.schema, name: &function.name };
        let ways = function.ways(catalog, schema);
        if !ways.is_empty() && !named.declared(catalog, schema) {
            found.push(function.finding(named.display(catalog), &ways));
        }
    }
}

impl Implicit {
    fn ways(&self, catalog: &Catalog, schema: &Schema) -> Vec<String> {
        let mut ways = self.how.clone();
        if !catalog.server.path.contains(&self.schema) {
            return ways;
        }
        if self.named && is_pure(Dialect::Postgres, &self.name) {
            ways.push(format!("`{}(..)`, which statements may call as the server's own function", self.name));
        }
        if self.scalar && schema.has_field(&self.name) {
            ways.push(format!("`(..).{}` written like a field, which `composite_types` allows", self.name));
        }
        ways
    }

    fn finding(&self, name: String, ways: &[String]) -> Finding {
        let Self { signature, checked, to, .. } = self;
        let detail = format!(
            "it is called by {}; read it: if it reads no table and no setting, name it under `functions` in tenancy.toml \
             to keep it",
            ways.join("; ")
        );
        let fix = if *checked && !to.is_empty() {
            Fix::Sql(format!("REVOKE EXECUTE ON ROUTINE {signature} FROM {}", to.join(", ")))
        } else {
            Fix::Step(format!(
                "if it does, drop {signature} and what calls it: no right keeps the role from it"
            ))
        };
        Finding::new(Check::ImplicitFunction, name, detail, fix)
    }
}
