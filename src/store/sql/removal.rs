//! Removes a tenant with the rows that the control plane has of it, and keeps the record of its deletion.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SqlStore;
use super::query::{execute, fetch, notify, record, text};
use super::tenant_changes::event_of;
use crate::audit::AuditEvent;
use crate::context::Actor;
use crate::database::{Route, TxMode, Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::Backend;
use crate::store::invalidation::Invalidation;
use crate::tenant::{Tenant, TenantId, TenantStatus};

/// The tables of the control plane with rows of one tenant, each after the tables that refer to it. The last statement
/// removes the tenant.
const ROWS: [(&str, &str); 13] = [
    ("tenancy_domain_claims", "DELETE FROM tenancy_domain_claims WHERE tenant_id = $1"),
    ("tenancy_api_keys", "DELETE FROM tenancy_api_keys WHERE tenant_id = $1"),
    ("tenancy_checkouts", "DELETE FROM tenancy_checkouts WHERE tenant_id = $1"),
    ("tenancy_subscriptions", "DELETE FROM tenancy_subscriptions WHERE tenant_id = $1"),
    ("tenancy_customers", "DELETE FROM tenancy_customers WHERE tenant_id = $1"),
    ("tenancy_billing_quarantine", "DELETE FROM tenancy_billing_quarantine WHERE tenant_id = $1"),
    ("tenancy_billing_outbox", "DELETE FROM tenancy_billing_outbox WHERE tenant_id = $1"),
    ("tenancy_billing_disputes", "DELETE FROM tenancy_billing_disputes WHERE tenant_id = $1"),
    ("tenancy_quota_holds", "DELETE FROM tenancy_quota_holds WHERE tenant_id = $1"),
    ("tenancy_quota_counters", "DELETE FROM tenancy_quota_counters WHERE tenant_id = $1"),
    ("tenancy_quota_keys", "DELETE FROM tenancy_quota_keys WHERE tenant_id = $1"),
    ("tenancy_provisioning", "DELETE FROM tenancy_provisioning WHERE tenant_id = $1"),
    ("tenancy_tenant_migrations", "DELETE FROM tenancy_tenant_migrations WHERE tenant_id = $1"),
];

/// The tables with rows of tenants that are used in transactions of a tenant: the name, what deletes the rows, and what
/// counts them.
const OWN_ROWS: [(&str, &str, &str); 5] = [
    (
        "tenancy_audit_events",
        "DELETE FROM tenancy_audit_events WHERE tenant_id = $1",
        "SELECT count(*) FROM tenancy_audit_events WHERE tenant_id = $1",
    ),
    (
        "tenancy_gauge_resources",
        "DELETE FROM tenancy_gauge_resources WHERE tenant_id = $1",
        "SELECT count(*) FROM tenancy_gauge_resources WHERE tenant_id = $1",
    ),
    (
        "tenancy_gauges",
        "DELETE FROM tenancy_gauges WHERE tenant_id = $1",
        "SELECT count(*) FROM tenancy_gauges WHERE tenant_id = $1",
    ),
    (
        "tenancy_usage",
        "DELETE FROM tenancy_usage WHERE tenant_id = $1",
        "SELECT count(*) FROM tenancy_usage WHERE tenant_id = $1",
    ),
    (
        "tenancy_usage_batches",
        "DELETE FROM tenancy_usage_batches WHERE tenant_id = $1",
        "SELECT count(*) FROM tenancy_usage_batches WHERE tenant_id = $1",
    ),
];

impl<DB: Backend> SqlStore<DB> {
    /// Closes a tenant for good, and records `tenant.delete`.
    pub(crate) async fn set_deleting(&self, tenant: &TenantId, actor: &Actor) -> Result<Arc<Tenant>> {
        self.change_tenant(tenant, |tenant| {
            let changed = tenant.with_status(TenantStatus::Deleting)?;
            let event = event_of(&changed, actor, "tenant.delete").detail("slug", tenant.slug());
            Ok((changed, event))
        })
        .await
    }

    /// The time, in microseconds since 1970.
    pub(crate) fn now_us(&self) -> i64 {
        self.timing.now().micros()
    }

    /// Records that a tenant was created from a bundle. The event does not name the tenant of the bundle.
    pub(crate) async fn record_import(&self, tenant: &Tenant, rows: u64, actor: &Actor) -> Result<()> {
        let event = event_of(tenant, actor, "tenant.import").detail("rows", rows);
        self.record_operation(&event).await
    }

    /// Records that the rows of a tenant are about to be restored, or that they were: how many are added, changed and
    /// removed.
    pub(crate) async fn record_restore(
        &self,
        tenant: &Tenant,
        action: &str,
        counts: [u64; 3],
        actor: &Actor,
    ) -> Result<()> {
        let [added, changed, removed] = counts.map(|count| count.to_string());
        let event = event_of(tenant, actor, action)
            .detail("added", added)
            .detail("changed", changed)
            .detail("removed", removed);
        self.record_operation(&event).await
    }

    async fn record_operation(&self, event: &AuditEvent) -> Result<()> {
        let own_tables = self.own_tables().await?;
        let mut tx = self.begin_tx(TxMode::Write).await?;
        record::<DB>(&mut tx, own_tables, event).await?;
        tx.commit().await
    }

    /// The record of a deletion, and whether it has ended.
    pub(crate) async fn deletion(&self, tenant: &TenantId) -> Result<Option<(String, bool)>> {
        let mut reader = self.reader().await?;
        let sql = "SELECT record, ended_us FROM tenancy_deletions WHERE tenant_id = $1";
        let rows = fetch::<DB>(reader.conn(), sql, &[Value::Text(&tenant.to_string())]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let ended = DB::optional_int(row, 1).map_err(|e| database_error(&e))?;
        Ok(Some((text::<DB>(row, 0)?, ended.is_some())))
    }

    /// Writes the record of a deletion that runs.
    pub(crate) async fn record_deletion(&self, tenant: &TenantId, record: &str) -> Result<()> {
        let now = self.timing.now().micros();
        let mut tx = self.begin_tx(TxMode::Write).await?;
        execute::<DB>(
            tx.conn(),
            "INSERT INTO tenancy_deletions (tenant_id, record, started_us) VALUES ($1, $2, $3) \
             ON CONFLICT (tenant_id) DO UPDATE SET record = excluded.record, ended_us = NULL",
            &[Value::Text(&tenant.to_string()), Value::Text(record), Value::Int(now)],
        )
        .await?;
        tx.commit().await
    }

    /// Removes a tenant with its rows in the control plane.
    ///
    /// `record` is passed how many rows each table had, and returns the record of the deletion, which ends in the same
    /// transaction. With `own`, the rows of the library's tables of tenants are removed too,
    /// except for those of the tables on hold. The slug and the domains stay reserved for their cool-downs then; without a record they are free.
    pub(crate) async fn remove_tenant<T>(
        &self,
        tenant: &TenantId,
        own: Option<&BTreeMap<String, String>>,
        record: impl FnOnce(&[(&'static str, u64)]) -> (T, Option<String>),
    ) -> Result<T> {
        let id = tenant.to_string();
        let now = self.timing.now();
        let own = match own {
            Some(holds) => Some((holds, self.own_tables().await?)),
            None => None,
        };
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let mut removed = Vec::new();
        for (table, sql) in ROWS {
            removed.push((table, execute::<DB>(tx.conn(), sql, &[Value::Text(&id)]).await?));
        }
        #[cfg(feature = "custom-domains")]
        {
            let until = now.after(self.timing.domain_cooldown).micros();
            let reserve =
                "UPDATE tenancy_domains SET until_us = $2 WHERE tenant_id = $1 AND until_us IS NULL";
            execute::<DB>(tx.conn(), reserve, &[Value::Text(&id), Value::Int(until)]).await?;
        }
        let sql = "DELETE FROM tenancy_tenants WHERE id = $1";
        removed.push(("tenancy_tenants", execute::<DB>(tx.conn(), sql, &[Value::Text(&id)]).await?));
        notify::<DB>(tx.conn(), &Invalidation::Tenant(tenant.clone())).await?;
        if let Some((holds, own_tables)) = own {
            // From here on the transaction is one of the tenant.
            let switched = DB::switch(tx.conn(), tenant, &Route::default(), false).await;
            switched.map_err(|e| database_error(&e))?;
            if DB::HAS_RLS {
                // The policy of the audit log allows deletes to the owner only with this setting.
                fetch::<DB>(tx.conn(), "SELECT set_config('app.tenancy_move', 'on', true)", &[]).await?;
            }
            for (table, sql, left) in OWN_ROWS.into_iter().filter(|(table, ..)| !holds.contains_key(*table)) {
                let bound = own_tables.bound(tenant);
                removed.push((table, execute::<DB>(tx.conn(), sql, &[Value::Tenant(&bound)]).await?));
                // Row-level security hides rows from a role that may not delete them, without an error.
                let rows = fetch::<DB>(tx.conn(), left, &[Value::Tenant(&bound)]).await?;
                let rows =
                    rows.first().map_or(Ok(0), |row| DB::int(row, 0)).map_err(|e| database_error(&e))?;
                if rows > 0 {
                    return Err(Error::new(
                        ErrorKind::Misconfigured,
                        format!(
                            "the role of the control plane may not delete rows of `{table}`, of which {rows} are left; only \
                             the owner of the table may: delete the tenant with a `SqlStore` that connects as the owner"
                        ),
                    ));
                }
            }
        }
        removed.retain(|(_, rows)| *rows > 0);
        let (result, record) = record(&removed);
        if let Some(record) = record {
            // While the deletion runs, audit events can be deleted.
            let ended = "UPDATE tenancy_deletions SET record = $2, ended_us = $3 WHERE tenant_id = $1";
            let values = [Value::Text(&id), Value::Text(&record), Value::Int(now.micros())];
            execute::<DB>(tx.conn(), ended, &values).await?;
        } else {
            let free = "DELETE FROM tenancy_slugs WHERE tenant_id = $1";
            execute::<DB>(tx.conn(), free, &[Value::Text(&id)]).await?;
        }
        tx.commit().await?;
        Ok(result)
    }
}
