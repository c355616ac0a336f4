//! What a place on PostgreSQL has beside the rows of tenants: other tables, sequences and triggers.

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

/// The triggers that run when rows of these tables are written.
pub(super) async fn triggers(conn: &mut PgConnection, tables: &[DataTable]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for table in tables.iter().filter(|table| !table.own) {
        // 4: on INSERT; 16: on UPDATE.
        let sql = format!(
            "SELECT tgname::text FROM pg_trigger WHERE tgrelid = '{}'::regclass AND NOT tgisinternal AND tgenabled <> 'D' \
             AND tgtype & 20 <> 0 ORDER BY tgname",
            table.ident.replace('\'', "''")
        );
        let rows =
            sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *conn).await.map_err(|e| database_error(&e))?;
        for row in rows {
            let name: String = row.try_get(0).map_err(|e| database_error(&e))?;
            found.push(format!("`{name}` of `{}`", table.name));
        }
    }
    Ok(found)
}

/// The rows of a query of the catalogue.
pub(super) async fn all<T: DeserializeOwned>(conn: &mut PgConnection, sql: &str) -> Result<Vec<T>> {
    rows(conn, &[], sql).await.map_err(|e| database_error(&e))
}
