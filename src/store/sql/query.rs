//! Runs statements on the crate's own tables, and reads columns of their rows.

use sqlx::SqlSafeStr;

use crate::audit::AuditEvent;
use crate::database::{
    Conn, OpenTransaction, OwnTables, Route, Value, arguments, database_error, insert_event,
};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::Backend;
use crate::store::invalidation::Invalidation;

pub(super) async fn execute<DB: Backend>(
    conn: Conn<'_, DB>,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<u64> {
    let arguments = arguments::<DB>(values)?;
    DB::execute(conn, sql.into_sql_str(), arguments).await.map_err(|e| database_error(&e))
}

/// Notifies the caches of other processes of a change, when the transaction commits. Only PostgreSQL can.
pub(super) async fn notify<DB: Backend>(conn: Conn<'_, DB>, change: &Invalidation) -> Result<()> {
    let Some(sql) = DB::NOTIFY else { return Ok(()) };
    execute::<DB>(conn, sql, &[Value::Text(&change.message())]).await.map(|_| ())
}

pub(super) async fn fetch<DB: Backend>(
    conn: Conn<'_, DB>,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<Vec<DB::Row>> {
    let arguments = arguments::<DB>(values)?;
    DB::fetch(conn, sql.into_sql_str(), arguments).await.map_err(|e| database_error(&e))
}

pub(super) fn text<DB: Backend>(row: &DB::Row, column: usize) -> Result<String> {
    DB::text(row, column).map_err(|e| database_error(&e))?.ok_or_else(|| {
        Error::new(ErrorKind::Database, "a column of a table of `tenancy` is unexpectedly NULL")
    })
}

/// Turns a parse error of a stored value into [`ErrorKind::Database`]: the caller did not cause it.
pub(super) fn stored<T>(parsed: Result<T>) -> Result<T> {
    parsed.map_err(|error| {
        Error::new(
            ErrorKind::Database,
            "a row of a table of `tenancy` is malformed; was it written by hand, or by a newer version?",
        )
        .with_source(error.to_string())
    })
}

/// Reads a time that is stored in microseconds.
#[cfg(any(feature = "api-keys", feature = "custom-domains", feature = "quota", feature = "stripe"))]
pub(super) fn time<DB: Backend>(row: &DB::Row, column: usize) -> Result<crate::clock::Timestamp> {
    DB::int(row, column).map(crate::clock::Timestamp::from_micros).map_err(|e| database_error(&e))
}

/// Writes an audit event in a transaction of the control plane. From here on the transaction is one of the event's
/// tenant.
pub(super) async fn record<DB: Backend>(
    tx: &mut OpenTransaction<DB>,
    own_tables: &OwnTables,
    event: &AuditEvent,
) -> Result<()> {
    DB::switch(tx.conn(), event.tenant(), &Route::default(), false).await.map_err(|e| database_error(&e))?;
    insert_event::<DB>(tx.conn(), &own_tables.bound(event.tenant()), event).await
}
