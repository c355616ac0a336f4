//! The library's own tables of tenants on PostgreSQL: reads and changes the type of their tenant column.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use tenancy_sql::TenantType;

use super::error::database_error;
use super::own_tables::OwnTables;
use crate::error::{Error, ErrorKind, Result};

const READ: &str = "SELECT c.relnamespace::regnamespace::text, format_type(a.atttypid, NULL) \
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' \
    WHERE c.oid IN (to_regclass('tenancy_gauges'), to_regclass('tenancy_audit_events'))";

/// Reads the schema of the tables and the type of their tenant column.
pub(super) async fn read(conn: &mut PgConnection) -> Result<OwnTables> {
    let rows = columns(conn).await?;
    let Some((schema, name)) = rows.first() else { return Ok(OwnTables::default()) };
    let known = [TenantType::Uuid, TenantType::BigInt, TenantType::Text];
    let tenant_type = known.into_iter().find(|known| known.as_str() == name);
    match tenant_type.filter(|_| rows.iter().all(|(_, other)| other == name)) {
        Some(tenant_type) => Ok(OwnTables { schema: Some(schema.as_str().into()), tenant_type }),
        None => Err(Error::new(
            ErrorKind::Misconfigured,
            "the columns `tenant_id` of `tenancy_gauges` and `tenancy_audit_events` need one type: `uuid`, `bigint` or \
             `text`; run `SqlStore::migrate` with `SqlStore::tenant_id_type`",
        )),
    }
}

/// The schema of each table, and the type of its tenant column.
async fn columns(conn: &mut PgConnection) -> Result<Vec<(String, String)>> {
    let rows = sqlx::raw_sql(READ).fetch_all(conn).await.map_err(|e| database_error(&e))?;
    let texts = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    texts.collect::<sqlx::Result<_>>().map_err(|e| database_error(&e))
}

async fn has_type(conn: &mut PgConnection, wanted: TenantType) -> Result<bool> {
    Ok(columns(conn).await?.iter().all(|(_, name)| name == wanted.as_str()))
}

/// Changes the type of the tenant column, if it is another one. Each statement is one message, for Citus.
pub(super) async fn set_type(conn: &mut PgConnection, wanted: TenantType) -> Result<()> {
    if has_type(conn, wanted).await? {
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
    let lock = "LOCK TABLE tenancy_gauges, tenancy_audit_events IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut *conn).await.map_err(|e| database_error(&e))?;
    // Another process may have changed it meanwhile.
    if has_type(conn, wanted).await? {
        return Ok(());
    }
    for statement in statements(wanted) {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *conn).await.map_err(|e| {
            Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the tenant columns of `tenancy_gauges` and `tenancy_audit_events` cannot get the type `{}`: every id in them \
                     must have that form, and the tables must not be distributed yet",
                    wanted.as_str()
                ),
            )
            .with_source(e)
        })?;
    }
    Ok(())
}

/// The statements that change the type. A policy and a check that read a column prevent it, so they are created anew.
fn statements(wanted: TenantType) -> Vec<String> {
    let name = wanted.as_str();
    let setting = "nullif(current_setting('app.tenant_id', true), '')";
    let own = match wanted {
        TenantType::Text => format!("tenant_id = {setting}"),
        _ => format!("tenant_id = {setting}::{name}"),
    };
    let policies: [(&str, &[(&str, String)]); 2] = [
        (
            "tenancy_gauges",
            &[
                ("tenancy_floor", format!("AS RESTRICTIVE USING ({own})")),
                ("tenancy_own", format!("USING ({own})")),
            ],
        ),
        (
            "tenancy_audit_events",
            &[
                ("tenancy_floor", format!("AS RESTRICTIVE USING ({own})")),
                ("tenancy_read", format!("FOR SELECT USING ({own})")),
                ("tenancy_add", format!("FOR INSERT WITH CHECK ({own})")),
            ],
        ),
    ];
    let mut statements = Vec::new();
    for (table, policies) in policies {
        let check = format!("{table}_tenant_id_check");
        statements
            .extend(policies.iter().map(|(policy, _)| format!("DROP POLICY IF EXISTS {policy} ON {table}")));
        statements.push(format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {check}"));
        statements.push(format!(
            "ALTER TABLE {table} ALTER COLUMN tenant_id TYPE {name} USING tenant_id::text::{name}"
        ));
        if wanted == TenantType::Text {
            statements.push(format!("ALTER TABLE {table} ADD CONSTRAINT {check} CHECK (tenant_id <> '')"));
        }
        statements.extend(
            policies.iter().map(|(policy, rule)| format!("CREATE POLICY {policy} ON {table} {rule}")),
        );
    }
    statements
}
