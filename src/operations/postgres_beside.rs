//! What a place on PostgreSQL has beside the rows of tenants: other tables, sequences, triggers and rules.

use serde::de::DeserializeOwned;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{AssertSqlSafe, Row};
use tenancy_sql::Schema;

use super::table::DataTable;
use super::tenant_data::TenantData;
use crate::database::database_error;
use crate::error::Result;
use crate::isolation::catalog::{Extent, Ownership, RELATIONS, Relation, Relations, rows, search_path};
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
            found.push(format!("the table `{}`", relation.name));
        }
    }
    let sql = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        JOIN pg_sequences s ON s.schemaname = n.nspname AND s.sequencename = c.relname \
        WHERE c.relkind = 'S' AND s.last_value IS NOT NULL AND n.nspname = ANY (current_schemas(false)) \
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
            AND d.deptype IN ('a', 'i')) \
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid \
            AND d.classid = 'pg_attrdef'::regclass)";
    let rows = sqlx::raw_sql(sql).fetch_all(conn).await.map_err(|e| database_error(&e))?;
    for row in rows {
        let name: String = row.try_get(0).map_err(|e| database_error(&e))?;
        found.push(format!("the sequence `{name}`"));
    }
    Ok(found)
}

/// The triggers and rules that run when rows of these tables are written.
pub(super) async fn triggers(
    conn: &mut PgConnection,
    tables: &[DataTable],
    deletes: bool,
) -> Result<Vec<String>> {
    // Of `tgtype`, 4: on INSERT; 8: on DELETE; 16: on UPDATE. Of `ev_type`, 2: on UPDATE; 3: on INSERT; 4: on DELETE.
    let (events, types) = if deletes { (28, "'2', '3', '4'") } else { (20, "'2', '3'") };
    let mut found = Vec::new();
    for table in tables.iter().filter(|table| !table.own) {
        let sql = format!(
            "SELECT 'the trigger', tgname::text FROM pg_trigger WHERE tgrelid = '{0}'::regclass AND NOT tgisinternal \
             AND tgenabled <> 'D' AND tgtype & {events} <> 0 \
             AND coalesce(substring(pg_get_triggerdef(oid) FROM ' WHEN \\((.*)\\) EXECUTE ') !~ '{UNLESS_COPIED}', true) \
             UNION ALL SELECT 'the rule', rulename::text FROM pg_rewrite WHERE ev_class = '{0}'::regclass \
             AND ev_enabled <> 'D' AND ev_type IN ({types}) ORDER BY 1, 2",
            table.ident.replace('\'', "''")
        );
        let rows =
            sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *conn).await.map_err(|e| database_error(&e))?;
        for row in rows {
            let part = |at: usize| row.try_get::<String, _>(at).map_err(|e| database_error(&e));
            found.push(format!("{} `{}` of `{}`", part(0)?, part(1)?, table.name));
        }
    }
    Ok(found)
}

/// The rows of a query of the catalogue.
pub(super) async fn all<T: DeserializeOwned>(conn: &mut PgConnection, sql: &str) -> Result<Vec<T>> {
    rows(conn, &[], sql).await.map_err(|e| database_error(&e))
}
