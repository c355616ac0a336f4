//! The records of moves, and the switch of a tenant from one placement to another.

use std::sync::Arc;

use super::SqlStore;
use super::query::{execute, fetch, record, text};
use super::tenant_changes::event_of;
use super::tenants::{TENANT_BY_ID, placement_text, save_tenant, tenant_where};
use crate::context::{Actor, unknown_tenant};
use crate::database::{TxMode, Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::Backend;
use crate::tenant::{Placement, Tenant, TenantId};

/// A move that is not finished, as it is recorded.
#[derive(Debug, Clone)]
pub(crate) struct MoveRecord {
    pub(crate) tenant: TenantId,
    pub(crate) source: Placement,
    pub(crate) target: Placement,
    pub(crate) step: String,
    pub(crate) started_us: i64,
    pub(crate) changed_us: i64,
    pub(crate) error: Option<String>,
}

const MOVES: &str = "SELECT tenant_id, source, target, step, started_us, changed_us, error FROM tenancy_moves ORDER BY tenant_id";

impl<DB: Backend> SqlStore<DB> {
    /// The moves that are not finished.
    pub(crate) async fn move_records(&self) -> Result<Vec<MoveRecord>> {
        let mut reader = self.reader().await?;
        let rows = fetch::<DB>(reader.conn(), MOVES, &[]).await?;
        let malformed =
            |e| Error::new(ErrorKind::Database, "the record of a move is malformed").with_source(e);
        let int = |row: &DB::Row, column| DB::int(row, column).map_err(|e| database_error(&e));
        let record = |row: &DB::Row| {
            Ok(MoveRecord {
                tenant: TenantId::parse(&text::<DB>(row, 0)?)?,
                source: serde_json::from_str(&text::<DB>(row, 1)?).map_err(malformed)?,
                target: serde_json::from_str(&text::<DB>(row, 2)?).map_err(malformed)?,
                step: text::<DB>(row, 3)?,
                started_us: int(row, 4)?,
                changed_us: int(row, 5)?,
                error: DB::text(row, 6).map_err(|e| database_error(&e))?,
            })
        };
        rows.iter().map(record).collect()
    }

    /// Records a move that begins.
    pub(crate) async fn begin_move(&self, tenant: &Tenant, target: &Placement, step: &str) -> Result<()> {
        let now = self.timing.now().micros();
        let mut tx = self.begin_tx(TxMode::Write).await?;
        execute::<DB>(
            tx.conn(),
            "INSERT INTO tenancy_moves (tenant_id, source, target, step, started_us, changed_us) VALUES ($1, $2, $3, $4, $5, $5)",
            &[
                Value::Text(&tenant.id().to_string()),
                Value::Text(&placement_text(tenant.placement())),
                Value::Text(&placement_text(target)),
                Value::Text(step),
                Value::Int(now),
            ],
        )
        .await?;
        tx.commit().await
    }

    /// Records the step that begins. Fails unless the move is still at `from`: another process went on with it.
    pub(crate) async fn record_move_step(&self, record: &MoveRecord, from: &str, step: &str) -> Result<()> {
        let now = self.timing.now().micros();
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let sql = "UPDATE tenancy_moves SET step = $4, changed_us = $5, error = NULL \
            WHERE tenant_id = $1 AND started_us = $2 AND step = $3";
        let id = record.tenant.to_string();
        let values = [
            Value::Text(&id),
            Value::Int(record.started_us),
            Value::Text(from),
            Value::Text(step),
            Value::Int(now),
        ];
        if execute::<DB>(tx.conn(), sql, &values).await? != 1 {
            return Err(went_on());
        }
        tx.commit().await
    }

    /// Records why a move stopped. Its step stays.
    pub(crate) async fn record_move_error(&self, record: &MoveRecord, error: &str) -> Result<()> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let sql = "UPDATE tenancy_moves SET error = $3 WHERE tenant_id = $1 AND started_us = $2";
        let id = record.tenant.to_string();
        let values = [Value::Text(&id), Value::Int(record.started_us), Value::Text(error)];
        execute::<DB>(tx.conn(), sql, &values).await?;
        tx.commit().await
    }

    /// Gives the tenant its new placement, records `tenant.move` and the step that follows, in one transaction.
    pub(crate) async fn switch_placement(
        &self,
        record_of: &MoveRecord,
        from: &str,
        step: &str,
        actor: &Actor,
    ) -> Result<Arc<Tenant>> {
        let own_tables = self.own_tables().await?;
        let (id, target) = (record_of.tenant.to_string(), &record_of.target);
        loop {
            let now = self.timing.now().micros();
            let mut tx = self.begin_tx(TxMode::Write).await?;
            let before =
                tenant_where::<DB>(tx.conn(), TENANT_BY_ID, &id).await?.ok_or_else(unknown_tenant)?;
            match save_tenant::<DB>(&mut tx, &before.with_placement(target.clone()), &self.timing).await {
                // Another writer changed the tenant, such as billing.
                Err(error) if error.kind() == ErrorKind::StaleVersion => {}
                Err(error) => return Err(error),
                Ok(saved) => {
                    let sql = "UPDATE tenancy_moves SET step = $4, changed_us = $5, error = NULL \
                        WHERE tenant_id = $1 AND started_us = $2 AND step = $3";
                    let values = [
                        Value::Text(&id),
                        Value::Int(record_of.started_us),
                        Value::Text(from),
                        Value::Text(step),
                        Value::Int(now),
                    ];
                    if execute::<DB>(tx.conn(), sql, &values).await? != 1 {
                        return Err(went_on());
                    }
                    let event = event_of(&saved, actor, "tenant.move")
                        .detail("from", before.placement())
                        .detail("to", target);
                    record::<DB>(&mut tx, own_tables, &event).await?;
                    tx.commit().await?;
                    return Ok(saved);
                }
            }
        }
    }

    /// Forgets a move that is finished.
    pub(crate) async fn end_move(&self, record: &MoveRecord) -> Result<()> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let sql = "DELETE FROM tenancy_moves WHERE tenant_id = $1 AND started_us = $2";
        let values = [Value::Text(&record.tenant.to_string()), Value::Int(record.started_us)];
        execute::<DB>(tx.conn(), sql, &values).await?;
        tx.commit().await
    }
}

/// Another process went on with a move, or changed the placement of the tenant.
pub(crate) fn went_on() -> Error {
    Error::new(
        ErrorKind::Retryable,
        "another process went on with this move, or changed the placement of the tenant; look at the tenant, and repeat this",
    )
}
