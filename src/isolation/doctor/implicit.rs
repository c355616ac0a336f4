//! Functions that a statement calls without looking like a call.

use serde::Deserialize;
use tenancy_sql::Schema;

use super::catalog::Catalog;
use super::check::Check;
use super::report::{Finding, Fix};
use super::routine::Named;

#[derive(Debug, Deserialize)]
pub(super) struct Implicit {
    schema: String,
    name: String,
    signature: String,
    /// By what it is called.
    how: Vec<String>,
    /// The server looks at EXECUTE before it calls the function.
    checked: bool,
    /// Who of the role's roles, and of everybody, may execute it.
    to: Vec<String>,
}

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    for function in &catalog.implicit {
        let named = Named { schema: &function.schema, name: &function.name };
        if !named.declared(catalog, schema) {
            found.push(function.finding(named.display(catalog)));
        }
    }
}

impl Implicit {
    fn finding(&self, name: String) -> Finding {
        let Self { signature, how, checked, to, .. } = self;
        let detail = format!(
            "it is called by {}; read it: if it reads no table and no setting, name it under `functions` in tenancy.toml \
             to keep it",
            how.join("; ")
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
