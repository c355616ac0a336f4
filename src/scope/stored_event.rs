//! [`StoredEvent`]: reads a tenant's audit events from the database.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::session::{Backend, Statement, TenantExecutor};
use crate::clock::Timestamp;
use crate::database::{Value, database_error};
use crate::error::{Error, ErrorKind, Result};

/// An audit event as it is stored in the database, byte for byte.
///
/// ```
/// use tenancy::scope::{Scope, StoredEvent};
///
/// async fn latest(scope: &Scope<'_, sqlx::Sqlite>) -> tenancy::Result<Vec<StoredEvent>> {
///     StoredEvent::newest(scope, None, 50).await
/// }
/// ```
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct StoredEvent {
    json: Box<RawValue>,
    #[serde(skip)]
    id: Uuid,
    #[serde(skip)]
    occurred: Timestamp,
}

impl StoredEvent {
    /// The event's id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// When the event happened.
    pub fn occurred(&self) -> Timestamp {
        self.occurred
    }

    /// The event as JSON.
    pub fn json(&self) -> &str {
        self.json.get()
    }

    /// The tenant's newest events, newest first. For the next page, pass the id of the last event as `before`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] unless `limit` is 1 to 1,000, [`ErrorKind::StoreUnavailable`].
    pub async fn newest<S: TenantExecutor>(scope: S, before: Option<Uuid>, limit: u16) -> Result<Vec<Self>> {
        let before = before.unwrap_or(Uuid::max()).to_string();
        let sql = "SELECT id, occurred_us, event FROM @tenancy_audit_events \
                   WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
        Self::page(scope, sql, &before, limit).await
    }

    /// The tenant's events after an id, oldest first. For the next page, pass the id of the last event as `after`.
    ///
    /// An id is a UUID of version 7, so ids are in the order in which events were created. A transaction that takes long
    /// commits its event after younger ones.
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    pub async fn oldest<S: TenantExecutor>(scope: S, after: Option<Uuid>, limit: u16) -> Result<Vec<Self>> {
        let after = after.unwrap_or(Uuid::nil()).to_string();
        let sql = "SELECT id, occurred_us, event FROM @tenancy_audit_events \
                   WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3";
        Self::page(scope, sql, &after, limit).await
    }

    async fn page<S: TenantExecutor>(scope: S, sql: &'static str, id: &str, limit: u16) -> Result<Vec<Self>> {
        if !(1..=1000).contains(&limit) {
            return Err(Error::new(ErrorKind::InvalidInput, "a page has 1 to 1000 events"));
        }
        let values = [Value::Text(id), Value::Int(limit.into())];
        let statement = Statement::internal_table(&scope.bound_internal(), sql, &values)?;
        let rows = scope.fetch(statement).await?;
        rows.iter().map(Self::read::<S::Database>).collect()
    }

    pub(crate) fn read<DB: Backend>(row: &DB::Row) -> Result<Self> {
        let unreadable =
            || Error::new(ErrorKind::Database, "an audit event in the database cannot be parsed");
        let id = DB::text(row, 0).map_err(|e| database_error(&e))?.ok_or_else(unreadable)?;
        let occurred = DB::int(row, 1).map_err(|e| database_error(&e))?;
        let bytes = DB::bytes(row, 2).map_err(|e| database_error(&e))?;
        Ok(Self {
            json: String::from_utf8(bytes)
                .ok()
                .and_then(|s| RawValue::from_string(s).ok())
                .ok_or_else(unreadable)?,
            id: Uuid::parse_str(&id).map_err(|_| unreadable())?,
            occurred: Timestamp::from_micros(occurred),
        })
    }
}
