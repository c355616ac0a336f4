//! The statements on the outbox of billing.

use super::query::{execute, fetch, stored, text, time};
use crate::billing::OutboxRow;
use crate::clock::Timestamp;
use crate::database::{Conn, Value, database_error};
use crate::error::Result;
use crate::scope::Backend;
use crate::tenant::TenantId;

/// The columns that [`rows`] reads.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT o.id, o.tenant_id, o.event, o.kind, o.created_us, o.due_us, o.claims, o.failures, o.error, \
             o.failed_us FROM tenancy_billing_outbox o ",
            $rest
        )
    };
}

/// The row with this id.
pub(super) const BY_ID: &str = select!("WHERE o.id = $1");

/// The rows that were given up.
pub(super) const FAILED: &str = select!("WHERE o.failed_us IS NOT NULL ORDER BY o.failed_us, o.id LIMIT $1");

/// The first of the rows that are due at this time, each the first of its tenant that was not given up.
pub(super) const DUE: &str = select!(
    "WHERE o.failed_us IS NULL AND o.due_us <= $1 AND NOT EXISTS (\
     SELECT 1 FROM tenancy_billing_outbox earlier WHERE earlier.tenant_id = o.tenant_id \
     AND earlier.failed_us IS NULL AND earlier.seq < o.seq) \
     ORDER BY o.due_us, o.tenant_id LIMIT 1"
);

/// The rows that one of the queries above returns.
pub(super) async fn rows<DB: Backend>(
    conn: Conn<'_, DB>,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<Vec<OutboxRow>> {
    fetch::<DB>(conn, sql, values).await?.iter().map(read::<DB>).collect()
}

fn read<DB: Backend>(row: &DB::Row) -> Result<OutboxRow> {
    let optional = |column| DB::text(row, column).map_err(|e| database_error(&e));
    let count = |column| {
        let count = DB::int(row, column).map_err(|e| database_error(&e))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    };
    Ok(OutboxRow {
        id: text::<DB>(row, 0)?,
        tenant: stored(TenantId::parse(&text::<DB>(row, 1)?))?,
        event: optional(2)?,
        kind: text::<DB>(row, 3)?,
        created: time::<DB>(row, 4)?,
        due: time::<DB>(row, 5)?,
        claims: count(6)?,
        failures: count(7)?,
        error: optional(8)?,
        failed: DB::optional_int(row, 9).map_err(|e| database_error(&e))?.map(Timestamp::from_micros),
    })
}

/// Adds a row after all others of its tenant. The caller has locked the tenant.
pub(super) async fn add<DB: Backend>(conn: Conn<'_, DB>, row: &OutboxRow) -> Result<()> {
    let sql = "INSERT INTO tenancy_billing_outbox \
               (id, tenant_id, seq, event, kind, created_us, due_us, claims, failures, error, failed_us) \
               SELECT $1, $2, coalesce(max(seq), 0) + 1, $3, $4, $5, $6, $7, $8, $9, $10 \
               FROM tenancy_billing_outbox WHERE tenant_id = $2";
    let values = [
        Value::Text(&row.id),
        Value::Text(&row.tenant.to_string()),
        Value::OptionalText(row.event.as_deref()),
        Value::Text(&row.kind),
        Value::Int(row.created.micros()),
        Value::Int(row.due.micros()),
        Value::Int(row.claims.into()),
        Value::Int(row.failures.into()),
        Value::OptionalText(row.error.as_deref()),
        Value::OptionalInt(row.failed.map(Timestamp::micros)),
    ];
    execute::<DB>(conn, sql, &values).await.map(|_| ())
}

/// Writes when a row is due, its counts and its error.
pub(super) async fn update<DB: Backend>(conn: Conn<'_, DB>, row: &OutboxRow) -> Result<()> {
    let sql = "UPDATE tenancy_billing_outbox \
               SET due_us = $2, claims = $3, failures = $4, error = $5, failed_us = $6 WHERE id = $1";
    let values = [
        Value::Text(&row.id),
        Value::Int(row.due.micros()),
        Value::Int(row.claims.into()),
        Value::Int(row.failures.into()),
        Value::OptionalText(row.error.as_deref()),
        Value::OptionalInt(row.failed.map(Timestamp::micros)),
    ];
    execute::<DB>(conn, sql, &values).await.map(|_| ())
}
