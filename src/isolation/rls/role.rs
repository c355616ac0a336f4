//! Compares the privileges of the application's role with those that it needs.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use super::error::{misconfigured, read_error};
use super::plan::PolicyChange;
use super::tables::Tables;
use crate::database::own_grants;
use crate::error::Result;
use crate::isolation::catalog::Relation;
use crate::isolation::identifier::quoted;

const ALL: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
const READ: [&str; 1] = ["SELECT"];

pub(super) async fn changes(
    conn: &mut PgConnection,
    tables: &Tables<'_>,
    views: &[&Relation],
    role: &str,
) -> Result<Vec<PolicyChange>> {
    let oid = bound_role(conn, tables, role).await?;
    let mut wanted: Vec<RoleGrants<'_>> = Vec::new();
    // The application reads and writes a partition through its parent. An extension decides who may use its tables; the
    // doctor reports a grant on one.
    let is_granted = |relation: &Relation| !relation.partition && !relation.member;
    for table in tables.tenants.iter().filter(|table| !table.relation.partition) {
        let required: &[_] = if is_granted(table.relation) { &ALL } else { &[] };
        wanted.push(RoleGrants { relation: table.relation, kind: "table", required, allowed: &ALL });
    }
    for table in &tables.shared {
        let allowed: &[_] = if table.writable { &ALL } else { &READ };
        let required = if is_granted(table.relation) { allowed } else { &[] };
        wanted.push(RoleGrants { relation: table.relation, kind: "table", required, allowed });
    }
    for table in &tables.own {
        let required = own_grants(&table.name).unwrap_or_default();
        wanted.push(RoleGrants { relation: table, kind: "table", required, allowed: &ALL });
    }
    // As for tables, only those that a name without a schema finds.
    for view in views.iter().filter(|view| view.kind == 'v' && view.in_search_path) {
        wanted.push(RoleGrants { relation: view, kind: "view", required: &READ, allowed: &ALL });
    }
    let mut changes = schemas(conn, &wanted, oid, role).await?;
    changes.extend(rights(conn, &wanted, oid, role).await?);
    changes.extend(sequences(conn, &wanted, oid, role).await?);
    changes.extend(defaults(conn, &wanted, oid, role).await?);
    Ok(changes)
}

/// The privileges on one table or view: those that the role needs, and those that it may have.
struct RoleGrants<'a> {
    relation: &'a Relation,
    kind: &'static str,
    required: &'a [&'static str],
    allowed: &'a [&'static str],
}

/// The oid of the role, or an error if policies would not apply to it.
async fn bound_role(conn: &mut PgConnection, tables: &Tables<'_>, role: &str) -> Result<i64> {
    let oid: Option<i64> = sqlx::query_scalar("SELECT oid::int8 FROM pg_roles WHERE rolname = $1")
        .bind(role)
        .fetch_optional(&mut *conn)
        .await
        .map_err(read_error)?;
    let Some(oid) = oid else {
        return Err(misconfigured(format!(
            "there is no role `{role}`; create it: CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS",
            quoted(role)
        )));
    };
    let exempt: Option<String> = sqlx::query_scalar(
        "SELECT rolname::text FROM pg_roles WHERE (rolsuper OR rolbypassrls) AND pg_has_role($1::int8::oid, oid, 'MEMBER') \
         ORDER BY oid::int8 <> $1 LIMIT 1",
    )
    .bind(oid)
    .fetch_optional(&mut *conn)
    .await
    .map_err(read_error)?;
    if let Some(exempt) = exempt {
        return Err(misconfigured(format!(
            "row-level security does not apply to the role `{role}`: `{exempt}` is a superuser or has BYPASSRLS; let the \
             application log in as a role that is neither, and not a member of one"
        )));
    }
    let owned: Option<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c \
         WHERE c.oid::int8 = ANY ($2) AND pg_has_role($1::int8::oid, c.relowner, 'MEMBER') ORDER BY 1 LIMIT 1",
    )
    .bind(oid)
    .bind(tables.oids())
    .fetch_optional(conn)
    .await
    .map_err(read_error)?;
    match owned {
        Some(table) => Err(misconfigured(format!(
            "the role `{role}` owns `{table}`, or is a member of its owner, and could disable row-level security; let \
             another role own the tables"
        ))),
        None => Ok(oid),
    }
}

async fn schemas(
    conn: &mut PgConnection,
    wanted: &[RoleGrants<'_>],
    oid: i64,
    role: &str,
) -> Result<Vec<PolicyChange>> {
    let names: BTreeSet<&str> = wanted.iter().map(|wanted| &*wanted.relation.schema).collect();
    let closed: Vec<String> = sqlx::query_scalar(
        "SELECT nspname::text FROM pg_namespace \
         WHERE nspname = ANY ($2) AND NOT has_schema_privilege($1::int8::oid, oid, 'USAGE') ORDER BY 1",
    )
    .bind(oid)
    .bind(names.into_iter().collect::<Vec<_>>())
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    let change = |schema: String| {
        let sql = format!("GRANT USAGE ON SCHEMA {} TO {};", quoted(&schema), quoted(role));
        PolicyChange::new(format!("schema {schema}"), format!("`{role}` lacks USAGE"), sql)
    };
    Ok(closed.into_iter().map(change).collect())
}

async fn rights(
    conn: &mut PgConnection,
    wanted: &[RoleGrants<'_>],
    oid: i64,
    role: &str,
) -> Result<Vec<PolicyChange>> {
    type Row = (i64, Vec<String>, Vec<String>, Vec<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT c.oid::int8, \
             ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p \
                 WHERE has_table_privilege($1::int8::oid, c.oid, p)), \
             ARRAY(SELECT a.privilege_type FROM aclexplode(c.relacl) a WHERE a.grantee::int8 = $1), \
             ARRAY(SELECT a.privilege_type FROM aclexplode(c.relacl) a WHERE a.grantee = 0) \
         FROM pg_class c WHERE c.oid::int8 = ANY ($2)",
    )
    .bind(oid)
    .bind(wanted.iter().map(|wanted| wanted.relation.oid).collect::<Vec<_>>())
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    let mut changes = Vec::new();
    for RoleGrants { relation, kind, required, allowed } in wanted {
        let Some((_, held, own, public)) = rows.iter().find(|(row, ..)| *row == relation.oid) else {
            continue;
        };
        let (name, object) = (relation.quoted(), format!("{kind} {}", relation.qualified()));
        let missing: Vec<_> =
            required.iter().filter(|right| !held.iter().any(|held| held == *right)).copied().collect();
        if !missing.is_empty() {
            let rights = missing.join(", ");
            let sql = format!("GRANT {rights} ON {name} TO {};", quoted(role));
            changes.push(PolicyChange::new(object.clone(), format!("`{role}` lacks {rights}"), sql));
        }
        for (rights, to, who) in [(own, quoted(role), role), (public, "PUBLIC".to_owned(), "PUBLIC")] {
            let more: BTreeSet<&str> =
                rights.iter().map(String::as_str).filter(|right| !allowed.contains(right)).collect();
            if !more.is_empty() {
                let rights = more.into_iter().collect::<Vec<_>>().join(", ");
                let sql = format!("REVOKE {rights} ON {name} FROM {to};");
                changes.push(PolicyChange::new(object.clone(), format!("`{who}` has {rights}"), sql));
            }
        }
    }
    Ok(changes)
}

/// Grants the sequences of column defaults. An identity column needs no privilege.
async fn sequences(
    conn: &mut PgConnection,
    wanted: &[RoleGrants<'_>],
    oid: i64,
    role: &str,
) -> Result<Vec<PolicyChange>> {
    let written = wanted.iter().filter(|wanted| wanted.required.contains(&"INSERT"));
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT DISTINCT n.nspname::text, s.relname::text FROM pg_attrdef f \
         JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass \
         JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace \
         WHERE f.adrelid::int8 = ANY ($2) \
             AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege($1::int8::oid, s.oid, 'USAGE') END \
         ORDER BY 1, 2",
    )
    .bind(oid)
    .bind(written.map(|wanted| wanted.relation.oid).collect::<Vec<_>>())
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    let change = |(schema, name): (String, String)| {
        let sql =
            format!("GRANT USAGE ON SEQUENCE {}.{} TO {};", quoted(&schema), quoted(&name), quoted(role));
        PolicyChange::new(format!("sequence {schema}.{name}"), format!("`{role}` lacks USAGE"), sql)
    };
    Ok(rows.into_iter().map(change).collect())
}

/// Revokes default privileges on future tables, which have no policy yet.
async fn defaults(
    conn: &mut PgConnection,
    wanted: &[RoleGrants<'_>],
    oid: i64,
    role: &str,
) -> Result<Vec<PolicyChange>> {
    let names: BTreeSet<&str> = wanted.iter().map(|wanted| &*wanted.relation.schema).collect();
    let rows: Vec<(String, Option<String>, bool)> = sqlx::query_as(
        "SELECT DISTINCT pg_get_userbyid(d.defaclrole)::text, n.nspname::text, a.grantee = 0 \
         FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a \
         WHERE d.defaclobjtype = 'r' AND a.grantee::int8 IN (0, $1) AND (n.oid IS NULL OR n.nspname = ANY ($2)) \
         ORDER BY 1, 2, 3",
    )
    .bind(oid)
    .bind(names.into_iter().collect::<Vec<_>>())
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    let change = |(owner, schema, public): (String, Option<String>, bool)| {
        let (to, who) = if public { ("PUBLIC".to_owned(), "PUBLIC") } else { (quoted(role), role) };
        let within =
            schema.as_ref().map_or_else(String::new, |schema| format!(" IN SCHEMA {}", quoted(schema)));
        let sql = format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {}{within} REVOKE ALL ON TABLES FROM {to};",
            quoted(&owner)
        );
        let object =
            schema.map_or_else(|| "new tables".to_owned(), |schema| format!("new tables in {schema}"));
        PolicyChange::new(
            object,
            format!("`{who}` gets privileges on the tables that `{owner}` creates, which have no policy yet"),
            sql,
        )
    };
    Ok(rows.into_iter().map(change).collect())
}
