//! The library's own tables of tenants on PostgreSQL: reads and changes the type of their tenant columns.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use tenancy_sql::TenantType;

use super::error::database_error;
use super::own_tables::{OWN_GRANTS, OwnTables};
use crate::error::{Error, ErrorKind, Result};

const READ: &str = "SELECT c.relnamespace::regnamespace::text, format_type(a.atttypid, NULL), c.relname::text \
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' \
    WHERE c.oid IN (TABLES) ORDER BY c.relname";

/// A table, with the type of its tenant column.
struct Found {
    schema: String,
    tenant_type: String,
    table: String,
}

/// Reads the schema of the tables and the type of their tenant column.
pub(super) async fn read(conn: &mut PgConnection) -> Result<OwnTables> {
    let tables = columns(conn).await?;
    let Some(first) = tables.first() else { return Ok(OwnTables::default()) };
    let known = [TenantType::Uuid, TenantType::BigInt, TenantType::Text];
    let tenant_type = known.into_iter().find(|known| known.as_str() == first.tenant_type);
    match tenant_type.filter(|_| tables.iter().all(|other| other.tenant_type == first.tenant_type)) {
        Some(tenant_type) => Ok(OwnTables { schema: Some(first.schema.as_str().into()), tenant_type }),
        None => Err(Error::new(
            ErrorKind::Misconfigured,
            "the columns `tenant_id` of the library's tables of tenants need one type: `uuid`, `bigint` or `text`; run `SqlStore::migrate` with `SqlStore::tenant_id_type`",
        )),
    }
}

async fn columns(conn: &mut PgConnection) -> Result<Vec<Found>> {
    let tables = OWN_GRANTS.map(|(table, _)| format!("to_regclass('{table}')"));
    let sql = READ.replace("TABLES", &tables.join(", "));
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await.map_err(|e| database_error(&e))?;
    let found = rows.iter().map(|row| {
        Ok(Found { schema: row.try_get(0)?, tenant_type: row.try_get(1)?, table: row.try_get(2)? })
    });
    found.collect::<sqlx::Result<_>>().map_err(|e| database_error(&e))
}

/// The tables whose tenant column has another type.
async fn other_type(conn: &mut PgConnection, wanted: TenantType) -> Result<Vec<String>> {
    let tables = columns(conn).await?.into_iter();
    Ok(tables.filter(|found| found.tenant_type != wanted.as_str()).map(|found| found.table).collect())
}

/// Changes the type of the tenant columns that have another one. Each statement is one message, for Citus.
pub(super) async fn set_type(conn: &mut PgConnection, wanted: TenantType) -> Result<()> {
    if other_type(conn, wanted).await?.is_empty() {
        return Ok(());
    }
    let mut tx = conn.begin().await.map_err(|e| database_error(&e))?;
    let changed = change(&mut tx, wanted).await;
    match changed {
        Ok(()) => tx.commit().await.map_err(|e| database_error(&e)),
        Err(error) => {
            let _ = tx.rollback().await;
            Err(error)
        }
    }
}

async fn change(conn: &mut PgConnection, wanted: TenantType) -> Result<()> {
    let tables = other_type(conn, wanted).await?;
    if tables.is_empty() {
        return Ok(());
    }
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "));
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *conn).await.map_err(|e| database_error(&e))?;
    // Another process may have changed it meanwhile.
    for table in other_type(conn, wanted).await? {
        for statement in statements(&table, wanted) {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *conn).await.map_err(|e| {
                Error::new(
                    ErrorKind::Misconfigured,
                    format!(
                        "the tenant column of `{table}` cannot get the type `{}`: every id in it must have that form, and \
                         the table must not be distributed yet",
                        wanted.as_str()
                    ),
                )
                .with_source(e)
            })?;
        }
    }
    Ok(())
}

/// The statements that change the type. A policy and a check that read a column prevent it, so they are created anew.
fn statements(table: &str, wanted: TenantType) -> Vec<String> {
    let name = wanted.as_str();
    let setting = "nullif(current_setting('app.tenant_id', true), '')";
    let own = match wanted {
        TenantType::Text => format!("tenant_id = {setting}"),
        _ => format!("tenant_id = {setting}::{name}"),
    };
    let floor = ("tenancy_floor", format!("AS RESTRICTIVE USING ({own})"));
    let policies = if table == "tenancy_audit_events" {
        vec![
            floor,
            ("tenancy_read", format!("FOR SELECT USING ({own})")),
            ("tenancy_add", format!("FOR INSERT WITH CHECK ({own})")),
            // As in `migrations/postgres/0012_erasure.sql`.
            (
                "tenancy_erase",
                format!(
                    "FOR DELETE TO CURRENT_USER USING ({own} AND current_setting('app.tenancy_move', true) = 'on')"
                ),
            ),
        ]
    } else {
        vec![floor, ("tenancy_own", format!("USING ({own})"))]
    };
    let check = format!("{table}_tenant_id_check");
    let mut statements: Vec<String> =
        policies.iter().map(|(policy, _)| format!("DROP POLICY IF EXISTS {policy} ON {table}")).collect();
    statements.push(format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {check}"));
    statements.push(format!(
        "ALTER TABLE {table} ALTER COLUMN tenant_id TYPE {name} USING tenant_id::text::{name}"
    ));
    if wanted == TenantType::Text {
        statements.push(format!("ALTER TABLE {table} ADD CONSTRAINT {check} CHECK (tenant_id <> '')"));
    }
    statements
        .extend(policies.iter().map(|(policy, rule)| format!("CREATE POLICY {policy} ON {table} {rule}")));
    statements
}
