//! Reads the audit events of a tenant in the database of the store, for the command line.

use uuid::Uuid;

use super::SqlStore;
use super::query::fetch;
use crate::database::{Route, TxMode, Value, database_error};
use crate::error::Result;
use crate::scope::{Backend, StoredEvent};
use crate::tenant::TenantId;

impl<DB: Backend> SqlStore<DB> {
    /// Up to `limit` events of a tenant after this id, the oldest first.
    pub(crate) async fn audit_events(
        &self,
        tenant: &TenantId,
        after: Uuid,
        limit: u16,
    ) -> Result<Vec<StoredEvent>> {
        let sql = "SELECT id, occurred_us, event FROM tenancy_audit_events \
                   WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3";
        self.events(sql, tenant, after, limit).await
    }

    /// The newest events of a tenant, the newest first.
    pub(crate) async fn newest_audit_events(
        &self,
        tenant: &TenantId,
        limit: u16,
    ) -> Result<Vec<StoredEvent>> {
        let sql = "SELECT id, occurred_us, event FROM tenancy_audit_events \
                   WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
        self.events(sql, tenant, Uuid::max(), limit).await
    }

    async fn events(
        &self,
        sql: &'static str,
        tenant: &TenantId,
        id: Uuid,
        limit: u16,
    ) -> Result<Vec<StoredEvent>> {
        let own_tables = self.own_tables().await?;
        let mut tx = self.begin_tx(TxMode::Read).await?;
        // From here on the transaction is one of the tenant.
        DB::switch(tx.conn(), tenant, &Route::default(), false).await.map_err(|e| database_error(&e))?;
        let (tenant, id) = (own_tables.bound(tenant), id.to_string());
        let values = [Value::Tenant(&tenant), Value::Text(&id), Value::Int(limit.into())];
        let rows = fetch::<DB>(tx.conn(), sql, &values).await?;
        tx.rollback().await?;
        rows.iter().map(StoredEvent::read::<DB>).collect()
    }
}
