//! What a place on PostgreSQL has beside the rows of tenants: other tables, sequences, triggers and rules.

use serde::de::DeserializeOwned;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{AssertSqlSafe, Row};
use tenancy_sql::Schema;

use super::postgres_numbers::BASE_TYPE;
use super::table::DataTable;
use super::tenant_data::TenantData;
use crate::database::database_error;
use crate::error::Result;
use crate::isolation::catalog::{Extent, Ownership, RELATIONS, Relation, Relations, rows, search_path};
use crate::isolation::quoted;
use crate::tenant::Placement;

/// Matches a condition of a trigger that is false while rows are copied, as PostgreSQL prints it.
const UNLESS_COPIED: &str = r"^\(?\(?current_setting\(''app\.tenancy_copy''::text, true\) IS DISTINCT FROM ''on''::text\)?( AND |\)?$)";

/// What is outside of a schema and depends on it, such as a view: it would be dropped with the schema.
pub(super) async fn dependents(conn: &mut PgConnection, placement: &Placement) -> Result<Vec<String>> {
    match placement {
        Placement::Schema { name } => crate::placement::dependents(conn, name).await,
        Placement::Shared | Placement::Database { .. } => Ok(Vec::new()),
    }
}

/// Tables with rows and without a tenant column, and sequences that no column uses.
pub(super) async fn others(
    conn: &mut PgConnection,
    placement: &Placement,
    schema: &Schema,
) -> Result<Vec<String>> {
    let path = search_path(conn).await.map_err(|e| database_error(&e))?;
    let extent = match placement {
        Placement::Schema { name } => Extent::Schemas(vec![name.to_string()]),
        _ => Extent::WithoutPlaces,
    };
    let relations = Relations::<Relation>::new(all(conn, &extent.limit(RELATIONS)).await?, &path);
    let mut found = Vec::new();
    for relation in relations.values().filter(|one| one.is_table() && !one.partition && !one.is_own_table()) {
        match relations.ownership(relation, schema) {
            Ownership::Unknown(_) | Ownership::Shared { writable: true } => {}
            _ => continue,
        }
        let sql = format!("SELECT count(*) FROM (SELECT FROM {} LIMIT 1) AS one", relation.quoted());
        if Postgres::read_number(conn, sql).await.map_err(|e| database_error(&e))? > 0 {
            let name = if relation.visible { relation.name.clone() } else { relation.qualified() };
            found.push(format!("the table `{name}`"));
        }
    }
    let schemas = match placement {
        Placement::Schema { .. } => "n.nspname = ANY (current_schemas(false))",
        _ => {
            "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND n.nspname !~ '^t_[0-9a-f]{32}$'"
        }
    };
    // Those of columns are moved with their tables.
    let sql = format!(
        "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname::text ELSE n.nspname || '.' || c.relname END \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_sequences s ON s.schemaname = n.nspname AND s.sequencename = c.relname \
         WHERE c.relkind = 'S' AND s.last_value IS NOT NULL AND {schemas} \
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
             AND d.deptype IN ('a', 'i', 'e')) \
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid \
             AND d.classid = 'pg_attrdef'::regclass) ORDER BY 1"
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await.map_err(|e| database_error(&e))?;
    for row in rows {
        let name: String = row.try_get(0).map_err(|e| database_error(&e))?;
        found.push(format!("the sequence `{name}`"));
    }
    Ok(found)
}

/// Why rows cannot be moved to another database: large objects are not rows of any table.
pub(super) async fn uncopied(conn: &mut PgConnection, tables: &[DataTable]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let objects = "SELECT count(*) FROM (SELECT FROM pg_largeobject_metadata LIMIT 1) AS one".to_owned();
    if Postgres::read_number(conn, objects).await.map_err(|e| database_error(&e))? > 0 {
        found.push(
            "the database has large objects, which are not moved; store them as `bytea` in a table with the tenant column, \
             and remove them (`lo_unlink`)"
                .to_owned(),
        );
    }
    for table in tables {
        let sql = format!(
            "SELECT a.attname::text FROM pg_attribute a CROSS JOIN {BASE_TYPE} JOIN pg_type t ON t.oid = base.oid \
             WHERE a.attrelid = '{}'::regclass AND a.attnum > 0 AND NOT a.attisdropped \
             AND 'oid'::regtype IN (t.oid, t.typelem) ORDER BY a.attnum",
            table.ident.replace('\'', "''")
        );
        let rows =
            sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *conn).await.map_err(|e| database_error(&e))?;
        for row in rows {
            let column: String = row.try_get(0).map_err(|e| database_error(&e))?;
            found.push(format!(
                "`{}.{column}` has the type `oid`, the id of a large object or of another object that is not moved; store \
                 the object as `bytea`, or the number as `bigint`",
                table.name
            ));
        }
    }
    Ok(found)
}

/// The triggers and rules that run when rows of these tables are written.
pub(super) async fn triggers(
    conn: &mut PgConnection,
    tables: &[DataTable],
    deletes: bool,
) -> Result<Vec<String>> {
    // Of `tgtype`, 1: for each row; 4: on INSERT; 8: on DELETE; 16: on UPDATE. Of `ev_type`, 2: on UPDATE; 3: on INSERT; 4: on
    // DELETE.
    let (events, types) = if deletes { (28, "'2', '3', '4'") } else { (20, "'2', '3'") };
    let mut found = Vec::new();
    for table in tables.iter().filter(|table| !table.own) {
        // A row of a partitioned table runs the triggers of its partition. One of the table is on each partition too.
        let sql = format!(
            "SELECT 'the trigger', tgname::text, CASE WHEN bool_or(tgrelid = own.oid) THEN '' \
                 ELSE min(tgrelid::regclass::text) END \
             FROM (SELECT '{0}'::regclass::oid) AS own (oid) JOIN pg_trigger t ON t.tgrelid = own.oid OR (t.tgtype & 1 <> 0 \
                 AND t.tgrelid IN (SELECT relid FROM pg_partition_tree(own.oid::regclass))) \
             WHERE NOT tgisinternal AND tgenabled <> 'D' AND tgtype & {events} <> 0 \
             AND coalesce(substring(pg_get_triggerdef(t.oid) FROM ' WHEN \\((.*)\\) EXECUTE ') !~ '{UNLESS_COPIED}', true) \
             GROUP BY tgname \
             UNION ALL SELECT 'the rule', rulename::text, '' FROM pg_rewrite WHERE ev_class = '{0}'::regclass \
             AND ev_enabled <> 'D' AND ev_type IN ({types}) ORDER BY 1, 2",
            table.ident.replace('\'', "''")
        );
        let rows =
            sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *conn).await.map_err(|e| database_error(&e))?;
        for row in rows {
            let part = |at: usize| row.try_get::<String, _>(at).map_err(|e| database_error(&e));
            let (kind, name, partition) = (part(0)?, part(1)?, part(2)?);
            let of = if partition.is_empty() { &table.name } else { &partition };
            found.push(format!("{kind} `{name}` of `{of}`"));
        }
    }
    Ok(found)
}

/// The rows of a query of the catalogue.
pub(super) async fn all<T: DeserializeOwned>(conn: &mut PgConnection, sql: &str) -> Result<Vec<T>> {
    rows(conn, &[], sql).await.map_err(|e| database_error(&e))
}

/// The schemas of tenants whose names the library did not choose. The catalogue alone does not tell them from shared ones.
pub(super) async fn named_places(conn: &mut PgConnection, own_schema: &[String]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (table, columns) in [("tenancy_tenants", "placement"), ("tenancy_moves", "source, target")] {
        let Some(ident) = own_schema.first().map(|schema| format!("{}.{table}", quoted(schema))) else {
            continue;
        };
        let readable = "SELECT coalesce(has_table_privilege(to_regclass($1), 'SELECT'), false)";
        let readable = sqlx::query_scalar(readable).bind(&ident).fetch_one(&mut *conn).await;
        // The control plane can be in another database.
        if !readable.map_err(|e| database_error(&e))? {
            continue;
        }
        let sql = format!(
            "SELECT DISTINCT place.value::json ->> 'name' FROM {ident} AS t CROSS JOIN unnest(ARRAY[{columns}]) AS place (value) \
             WHERE place.value::json ->> 'kind' = 'schema'"
        );
        let names = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_all(&mut *conn).await;
        found.extend(names.map_err(|e| database_error(&e))?);
    }
    Ok(found)
}
