//! The statements on the meter events that are invalid.

use super::query::{execute, fetch, text, time};
use crate::billing::UsageError;
use crate::database::{Conn, Value};
use crate::error::Result;
use crate::scope::Backend;

pub(super) async fn add<DB: Backend>(conn: Conn<'_, DB>, error: &UsageError) -> Result<()> {
    let sql = "INSERT INTO tenancy_usage_errors (identifier, code, message, received_us) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (identifier) DO NOTHING";
    let values = [
        Value::Text(&error.identifier),
        Value::Text(&error.code),
        Value::Text(&error.message),
        Value::Int(error.received.micros()),
    ];
    execute::<DB>(conn, sql, &values).await.map(|_| ())
}

pub(super) async fn oldest<DB: Backend>(conn: Conn<'_, DB>, limit: u16) -> Result<Vec<UsageError>> {
    let sql = "SELECT identifier, code, message, received_us FROM tenancy_usage_errors \
               ORDER BY received_us, identifier LIMIT $1";
    let read = |row: &DB::Row| {
        Ok(UsageError {
            identifier: text::<DB>(row, 0)?,
            code: text::<DB>(row, 1)?,
            message: text::<DB>(row, 2)?,
            received: time::<DB>(row, 3)?,
        })
    };
    fetch::<DB>(conn, sql, &[Value::Int(limit.into())]).await?.iter().map(read).collect()
}

pub(super) async fn delete<DB: Backend>(conn: Conn<'_, DB>, identifier: &str) -> Result<()> {
    let sql = "DELETE FROM tenancy_usage_errors WHERE identifier = $1";
    execute::<DB>(conn, sql, &[Value::Text(identifier)]).await.map(|_| ())
}
