//! Writes an audit event into the library's own table. `scope::StoredEvent` reads it back.

use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::bind::arguments;
use super::conn::Conn;
use super::driver::Driver;
use super::error::database_error;
use super::tenant_id::BoundTenant;
use super::value::Value;
use crate::audit::AuditEvent;
use crate::error::Result;

/// Inserts an event on a connection that is inside a transaction of the event's tenant. A second insert of the same
/// event has no effect.
///
/// `tenant` is the event's tenant with the type of the tenant column.
pub(crate) async fn insert_event<DB: Driver>(
    conn: Conn<'_, DB>,
    tenant: &BoundTenant,
    event: &AuditEvent,
) -> Result<()> {
    debug_assert_eq!(&tenant.id, event.tenant());
    let arguments = arguments::<DB>(&[
        Value::Tenant(tenant),
        Value::Text(&event.id().to_string()),
        Value::Int(event.occurred().micros()),
        Value::Text(event.action()),
        Value::Bytes(&event.bytes()),
    ])?;
    let sql = conn.route.own_table(
        "INSERT INTO @tenancy_audit_events (tenant_id, id, occurred_us, action, event) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant_id, id) DO NOTHING",
    );
    DB::execute(conn, AssertSqlSafe(sql).into_sql_str(), arguments)
        .await
        .map(|_| ())
        .map_err(|e| database_error(&e))
}
