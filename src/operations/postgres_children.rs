//! Tables on PostgreSQL without the tenant column whose foreign keys refer to tables with rows of tenants.

use serde::Deserialize;
use sqlx::postgres::PgConnection;

use super::postgres_beside::all;
use super::table::{ChildTable, DataTable};
use crate::error::Result;
use crate::isolation::catalog::Relation;
use crate::isolation::quoted;

#[derive(Deserialize)]
struct ChildKey {
    parent: i64,
    name: String,
    schema: String,
    columns: Vec<(String, String)>,
    hidden: bool,
}

/// Adds them to the tables, which have these relations. In any schema: the schema of another tenant can have one.
///
/// `owned` are all relations with rows of tenants in the schemas that were read, also partitions.
pub(super) async fn add(
    conn: &mut PgConnection,
    tables: &mut [DataTable],
    relations: &[&Relation],
    owned: &[i64],
) -> Result<()> {
    let owned: Vec<String> = owned.iter().map(ToString::to_string).collect();
    if owned.is_empty() {
        return Ok(());
    }
    // A key can refer to a partition alone.
    let sql = format!(
        "SELECT coalesce(pg_partition_root(k.confrelid), k.confrelid)::oid::bigint AS parent, c.relname AS name, \
             n.nspname AS schema, row_security_active(c.oid) OR NOT has_table_privilege(c.oid, 'SELECT') \
                 OR NOT has_schema_privilege(n.oid, 'USAGE') AS hidden, \
             (SELECT json_agg(json_build_array(a.attname, b.attname)) FROM unnest(k.conkey, k.confkey) u(own, theirs) \
                 JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.own \
                 JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.theirs) AS columns \
         FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid IN ({0}) AND k.conrelid NOT IN ({0}) \
         ORDER BY n.nspname, c.relname, k.conname",
        owned.join(", ")
    );
    for key in all::<ChildKey>(conn, &sql).await? {
        let Some(at) = relations.iter().position(|one| one.oid == key.parent) else { continue };
        let columns = key.columns.iter().map(|(own, parent)| (quoted(own), quoted(parent)));
        let is_beside = key.schema == relations[at].schema;
        tables[at].children.push(ChildTable {
            name: if is_beside { key.name.clone() } else { format!("{}.{}", key.schema, key.name) },
            ident: format!("{}.{}", quoted(&key.schema), quoted(&key.name)),
            columns: columns.collect(),
            hidden: key.hidden,
        });
    }
    Ok(())
}
