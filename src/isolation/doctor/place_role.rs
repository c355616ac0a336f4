//! Judges the roles of places: each may use its own place, and the application's role has to choose one.

use serde::Deserialize;
use sqlx::postgres::PgConnection;
use tenancy_sql::Schema;

use super::catalog::{self, Catalog};
use super::check::Check;
use super::report::{Finding, Fix};
use crate::isolation::catalog::is_place;
use crate::isolation::identifier::literal;
use crate::tenant::Placement;

/// Reports a role that has the privileges of the places' roles without choosing one.
pub(super) fn judge(catalog: &Catalog, found: &mut Vec<Finding>) {
    let server = &catalog.server;
    let login = server.roles.iter().find(|role| role.own && !is_place(&role.name));
    let Some(login) = login.filter(|_| !catalog.place_only && !catalog.superuser()) else { return };
    let inherited: Vec<&str> = server
        .roles
        .iter()
        .filter(|role| role.inherited && is_place(&role.name))
        .map(|role| &*role.name)
        .collect();
    let Some(first) = inherited.first() else { return };
    let fix = if server.version < 160_000 {
        Fix::Sql(format!("ALTER ROLE {} NOINHERIT", login.ident))
    } else {
        Fix::Step(format!(
            "as the role that granted them, run `GRANT .. TO {} WITH INHERIT FALSE, SET TRUE` for each",
            login.ident
        ))
    };
    let detail = format!(
        "it has the privileges of {} without choosing one: it reads every such place by name",
        count(inherited.len(), first)
    );
    found.push(Finding::new(Check::PlaceRole, login.name.clone(), detail, fix));
}

/// Roles that may use a place and are not its own.
#[derive(Deserialize)]
struct Others {
    roles: usize,
    first: Option<String>,
    /// Their grants on the schema.
    to: Vec<String>,
}

/// Reports other roles of the application that may use this place. The place has a role of its own.
pub(super) async fn run(
    conn: &mut PgConnection,
    catalog: &Catalog,
    schema: &Schema,
    placement: &Placement,
    found: &mut Vec<Finding>,
) -> sqlx::Result<()> {
    let (name, reached) = match placement {
        Placement::Shared => return Ok(()),
        Placement::Schema { name } => {
            (name, format!("has_schema_privilege(r.oid, {}, 'USAGE')", literal(name.as_str())))
        }
        Placement::Database { name } => {
            // CONNECT is no protection: the application's role has it in each.
            let tables: Vec<String> =
                catalog.tenants_of_any(schema).map(|(table, _)| table.oid.to_string()).collect();
            let reached = format!(
                "EXISTS (SELECT FROM pg_class c WHERE c.oid = ANY (ARRAY[{}]::oid[]) \
                 AND has_schema_privilege(r.oid, c.relnamespace, 'USAGE') \
                 AND (has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE') \
                     OR has_table_privilege(r.oid, c.oid, 'DELETE')))",
                tables.join(", ")
            );
            (name, reached)
        }
    };
    let sql = include_str!("catalog/place_role.sql")
        .replace("{PLACE}", &literal(name.as_str()))
        .replace("{REACHED}", &reached);
    let rows: Vec<Others> = catalog::rows(conn, &sql).await?;
    let Some(Others { roles: roles @ 1.., first: Some(first), to }) = rows.into_iter().next() else {
        return Ok(());
    };
    let fix = match placement {
        Placement::Schema { .. } if !to.is_empty() => {
            Fix::Sql(format!("REVOKE USAGE ON SCHEMA \"{name}\" FROM {}", to.join(", ")))
        }
        _ => Fix::Step(format!(
            "revoke what lets them use it: a membership in `{name}`, or a grant on its objects; only `{name}` needs one"
        )),
    };
    let detail = format!("{} may use it too", count(roles, &first));
    found.push(Finding::new(Check::PlaceRole, name.to_string(), detail, fix));
    Ok(())
}

fn count(roles: usize, first: &str) -> String {
    if roles == 1 { format!("the role `{first}`") } else { format!("{roles} roles, such as `{first}`,") }
}
