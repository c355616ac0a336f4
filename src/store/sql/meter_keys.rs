//! The idempotency keys of charges, on the table `tenancy_quota_keys`.

use super::query::{execute, fetch, text};
use crate::clock::Timestamp;
use crate::database::{Conn, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::quota::meter::{Charge, ChargeOutcome, LineCount, other_charge};
use crate::scope::Backend;

/// What is stored of a charge with an idempotency key.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeyResult {
    fingerprint: String,
    counts: Vec<LineCount>,
}

/// Writes the row of an idempotency key, which later charges with the same key wait for. Returns the outcome of the
/// earlier charge, if there was one.
pub(super) async fn claim_key<DB: Backend>(
    mut conn: Conn<'_, DB>,
    tenant: &str,
    key: &str,
    expires: Timestamp,
    charge: &Charge,
) -> Result<Option<ChargeOutcome>> {
    let sql = "INSERT INTO tenancy_quota_keys AS k (tenant_id, key, result, expires_us) VALUES ($1, $2, '', $3) \
               ON CONFLICT (tenant_id, key) DO UPDATE SET result = excluded.result, expires_us = excluded.expires_us \
               WHERE k.expires_us <= $4";
    let values = [
        Value::Text(tenant),
        Value::Text(key),
        Value::Int(expires.micros()),
        Value::Int(charge.now.micros()),
    ];
    if execute::<DB>(conn.reborrow(), sql, &values).await? == 1 {
        return Ok(None);
    }
    let sql = "SELECT result FROM tenancy_quota_keys WHERE tenant_id = $1 AND key = $2";
    let rows = fetch::<DB>(conn, sql, &[Value::Text(tenant), Value::Text(key)]).await?;
    let Some(row) = rows.first() else {
        return Err(Error::new(
            ErrorKind::Retryable,
            "the idempotency key was just deleted; repeat the charge",
        ));
    };
    let earlier: KeyResult = serde_json::from_str(&text::<DB>(row, 0)?).map_err(|e| {
        Error::new(ErrorKind::Database, "the stored result of an idempotency key is malformed").with_source(e)
    })?;
    if earlier.fingerprint != charge.fingerprint() {
        return Err(other_charge());
    }
    Ok(Some(ChargeOutcome::Repeated(earlier.counts)))
}

/// Stores the counts of a charge under the key that it claimed.
pub(super) async fn store_result<DB: Backend>(
    conn: Conn<'_, DB>,
    tenant: &str,
    key: &str,
    charge: &Charge,
    counts: &[LineCount],
) -> Result<()> {
    let sql = "UPDATE tenancy_quota_keys SET result = $3 WHERE tenant_id = $1 AND key = $2";
    let result = KeyResult { fingerprint: charge.fingerprint(), counts: counts.to_vec() };
    let result = serde_json::to_string(&result).expect("strings and numbers are always JSON");
    let values = [Value::Text(tenant), Value::Text(key), Value::Text(&result)];
    execute::<DB>(conn, sql, &values).await.map(|_| ())
}
