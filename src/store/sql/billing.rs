//! [`BillingStore`] on SQL.

use std::sync::Arc;

use async_trait::async_trait;

use super::SqlStore;
use super::outbox;
use super::query::{execute, fetch, record, stored, text, time};
use super::tenants::{TENANT_BY_ID, save_tenant, tenant_where};
use super::usage_errors;
use crate::audit::AuditEvent;
use crate::billing::{BillingStore, BillingTx, Dispute, OutboxRow, Quarantined, Subscription, UsageError};
use crate::clock::Timestamp;
use crate::database::{OpenTransaction, OwnTables, TxMode, Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::Backend;
use crate::store::errors::{checkout_exists, subscription_of_another_tenant};
use crate::store::timing::Timing;
use crate::tenant::{Tenant, TenantId};

#[async_trait]
impl<DB: Backend> BillingStore for SqlStore<DB> {
    async fn begin(&self) -> Result<Box<dyn BillingTx + '_>> {
        let own_tables = self.own_tables().await?;
        Ok(Box::new(SqlTx { tx: self.begin_tx(TxMode::Write).await?, own_tables, timing: &self.timing }))
    }
}

struct SqlTx<'a, DB: Backend> {
    tx: OpenTransaction<DB>,
    own_tables: &'a OwnTables,
    timing: &'a Timing,
}

impl<DB: Backend> SqlTx<'_, DB> {
    async fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64> {
        execute::<DB>(self.tx.conn(), sql, values).await
    }

    async fn fetch(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<DB::Row>> {
        fetch::<DB>(self.tx.conn(), sql, values).await
    }

    /// Runs a statement that deletes events of the quarantine and returns them, the oldest first.
    async fn take(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Quarantined>> {
        let rows = self.fetch(sql, values).await?;
        let mut taken = rows.iter().map(read_quarantined::<DB>).collect::<Result<Vec<_>>>()?;
        taken.sort_by(|a, b| (a.created, &a.event).cmp(&(b.created, &b.event)));
        Ok(taken)
    }

    /// Returns the first column of a query about a tenant.
    async fn ids(&mut self, sql: &'static str, tenant: &TenantId) -> Result<Vec<String>> {
        let rows = self.fetch(sql, &[Value::Text(&tenant.to_string())]).await?;
        rows.iter().map(|row| text::<DB>(row, 0)).collect()
    }

    /// Returns the tenant id in the first column of a query's first row.
    async fn tenant_id(&mut self, sql: &'static str, key: &str) -> Result<Option<TenantId>> {
        let rows = self.fetch(sql, &[Value::Text(key)]).await?;
        rows.first().map(|row| stored(TenantId::parse(&text::<DB>(row, 0)?))).transpose()
    }
}

#[async_trait]
impl<DB: Backend> BillingTx for SqlTx<'_, DB> {
    async fn record_once(&mut self, event: &str, account: Option<&str>, now: Timestamp) -> Result<bool> {
        let inserted = self
            .execute(
                "INSERT INTO tenancy_billing_events (account, event, received_us) VALUES ($1, $2, $3) \
                 ON CONFLICT (account, event) DO NOTHING",
                &[Value::Text(account.unwrap_or("")), Value::Text(event), Value::Int(now.micros())],
            )
            .await?;
        Ok(inserted == 1)
    }

    async fn forget_events(&mut self, before: Timestamp) -> Result<u64> {
        let before = [Value::Int(before.micros())];
        self.execute("DELETE FROM tenancy_billing_outbox WHERE created_us < $1", &before).await?;
        self.execute("DELETE FROM tenancy_billing_failures WHERE failed_us < $1", &before).await?;
        self.execute("DELETE FROM tenancy_checkouts WHERE created_us < $1", &before).await?;
        self.execute("DELETE FROM tenancy_usage_errors WHERE received_us < $1", &before).await?;
        self.execute("DELETE FROM tenancy_billing_events WHERE received_us < $1", &before).await
    }

    async fn record_failure(&mut self, event: &str, account: Option<&str>, now: Timestamp) -> Result<u32> {
        let rows = self
            .fetch(
                "INSERT INTO tenancy_billing_failures AS f (account, event, failures, failed_us) VALUES ($1, $2, 1, $3) \
                 ON CONFLICT (account, event) DO UPDATE SET failures = f.failures + 1, failed_us = excluded.failed_us \
                 RETURNING failures",
                &[Value::Text(account.unwrap_or("")), Value::Text(event), Value::Int(now.micros())],
            )
            .await?;
        let count = rows.first().map_or(Ok(1), |row| DB::int(row, 0)).map_err(|e| database_error(&e))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    async fn advisory_lock(&mut self, key: &str) -> Result<()> {
        DB::advisory_lock(self.tx.conn(), &format!("tenancy.billing:{key}"))
            .await
            .map_err(|e| database_error(&e))
    }

    async fn tenant_of_subscription(&mut self, subscription: &str) -> Result<Option<TenantId>> {
        self.tenant_id("SELECT tenant_id FROM tenancy_subscriptions WHERE id = $1", subscription).await
    }

    async fn tenant_of_customer(&mut self, customer: &str) -> Result<Option<TenantId>> {
        self.tenant_id("SELECT tenant_id FROM tenancy_customers WHERE id = $1", customer).await
    }

    async fn lock_tenant(&mut self, id: &TenantId) -> Result<Option<Tenant>> {
        let id = id.to_string();
        DB::advisory_lock(self.tx.conn(), &format!("tenancy.tenant:{id}"))
            .await
            .map_err(|e| database_error(&e))?;
        tenant_where::<DB>(self.tx.conn(), TENANT_BY_ID, &id).await
    }

    async fn subscriptions(&mut self, tenant: &TenantId) -> Result<Vec<Subscription>> {
        let rows = self
            .fetch(
                "SELECT facts FROM tenancy_subscriptions WHERE tenant_id = $1 ORDER BY id",
                &[Value::Text(&tenant.to_string())],
            )
            .await?;
        rows.iter().map(|row| Subscription::from_json(tenant.clone(), &text::<DB>(row, 0)?)).collect()
    }

    async fn unclear_subscriptions(&mut self, limit: u16) -> Result<Vec<Subscription>> {
        let sql = "SELECT tenant_id, facts FROM tenancy_subscriptions WHERE unclear_us IS NOT NULL \
                   ORDER BY unclear_us, id LIMIT $1";
        let rows = self.fetch(sql, &[Value::Int(limit.into())]).await?;
        rows.iter().map(read_subscription::<DB>).collect()
    }

    async fn save_subscription(&mut self, subscription: &Subscription) -> Result<()> {
        let written = self
            .execute(
                "INSERT INTO tenancy_subscriptions (id, tenant_id, customer, status, facts, unclear_us, due_us) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE \
                 SET customer = excluded.customer, status = excluded.status, facts = excluded.facts, \
                 unclear_us = excluded.unclear_us, due_us = excluded.due_us \
                 WHERE tenancy_subscriptions.tenant_id = excluded.tenant_id",
                &[
                    Value::Text(subscription.id()),
                    Value::Text(&subscription.tenant().to_string()),
                    Value::Text(subscription.customer()),
                    Value::Text(subscription.status().as_str()),
                    Value::Text(&subscription.to_json()),
                    Value::OptionalInt(
                        subscription.needs_refresh().then(|| subscription.as_of().created.micros()),
                    ),
                    Value::OptionalInt(subscription.grace_ends().map(Timestamp::micros)),
                ],
            )
            .await?;
        if written == 1 {
            return Ok(());
        }
        Err(subscription_of_another_tenant())
    }

    async fn link_customer(&mut self, customer: &str, tenant: &TenantId, now: Timestamp) -> Result<TenantId> {
        self.execute(
            "INSERT INTO tenancy_customers (id, tenant_id, linked_us) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
            &[Value::Text(customer), Value::Text(&tenant.to_string()), Value::Int(now.micros())],
        )
        .await?;
        let linked = self.tenant_of_customer(customer).await?;
        linked.ok_or_else(|| {
            Error::new(ErrorKind::Database, "the link of a customer was deleted while it was created")
        })
    }

    async fn customers(&mut self, tenant: &TenantId) -> Result<Vec<String>> {
        let sql = "SELECT id FROM tenancy_customers WHERE tenant_id = $1 ORDER BY linked_us DESC, id DESC";
        self.ids(sql, tenant).await
    }

    async fn save_checkout(&mut self, checkout: &str, tenant: &TenantId, now: Timestamp) -> Result<()> {
        let inserted = self
            .execute(
                "INSERT INTO tenancy_checkouts (id, tenant_id, created_us) VALUES ($1, $2, $3) \
                 ON CONFLICT (id) DO NOTHING",
                &[Value::Text(checkout), Value::Text(&tenant.to_string()), Value::Int(now.micros())],
            )
            .await?;
        if inserted == 1 { Ok(()) } else { Err(checkout_exists()) }
    }

    async fn tenant_of_checkout(&mut self, checkout: &str) -> Result<Option<TenantId>> {
        self.tenant_id("SELECT tenant_id FROM tenancy_checkouts WHERE id = $1", checkout).await
    }

    async fn open_checkouts(&mut self, tenant: &TenantId) -> Result<Vec<String>> {
        let sql = "SELECT id FROM tenancy_checkouts WHERE tenant_id = $1 AND closed_us IS NULL ORDER BY id";
        self.ids(sql, tenant).await
    }

    async fn close_checkout(&mut self, checkout: &str, now: Timestamp) -> Result<()> {
        let sql = "UPDATE tenancy_checkouts SET closed_us = $2 WHERE id = $1 AND closed_us IS NULL";
        self.execute(sql, &[Value::Text(checkout), Value::Int(now.micros())]).await.map(drop)
    }

    async fn save_tenant(&mut self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        save_tenant::<DB>(&mut self.tx, tenant, self.timing).await
    }

    async fn record(&mut self, event: &AuditEvent) -> Result<()> {
        record::<DB>(&mut self.tx, self.own_tables, event).await
    }

    async fn quarantine(&mut self, event: &Quarantined) -> Result<()> {
        self.execute(
            "INSERT INTO tenancy_billing_quarantine \
             (account, event, customer, subscription, reason, created_us, received_us, raw, tenant_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (account, event) DO UPDATE \
             SET customer = excluded.customer, subscription = excluded.subscription, reason = excluded.reason, \
             created_us = excluded.created_us, received_us = excluded.received_us, raw = excluded.raw, \
             tenant_id = excluded.tenant_id",
            &[
                Value::Text(event.account.as_deref().unwrap_or("")),
                Value::Text(&event.event),
                Value::OptionalText(event.customer.as_deref()),
                Value::OptionalText(event.subscription.as_deref()),
                Value::Text(&event.reason),
                Value::Int(event.created.micros()),
                Value::Int(event.received.micros()),
                Value::Bytes(&event.raw),
                Value::OptionalText(event.tenant.as_ref().map(ToString::to_string).as_deref()),
            ],
        )
        .await
        .map(|_| ())
    }

    async fn take_quarantined(
        &mut self,
        customer: Option<&str>,
        subscription: Option<&str>,
    ) -> Result<Vec<Quarantined>> {
        self.take(
            "DELETE FROM tenancy_billing_quarantine WHERE customer = $1 OR subscription = $2 \
             RETURNING account, event, customer, subscription, reason, created_us, received_us, raw, tenant_id",
            &[Value::OptionalText(customer), Value::OptionalText(subscription)],
        )
        .await
    }

    async fn take_blocked(&mut self, tenant: &TenantId) -> Result<Vec<Quarantined>> {
        self.take(
            "DELETE FROM tenancy_billing_quarantine WHERE tenant_id = $1 \
             RETURNING account, event, customer, subscription, reason, created_us, received_us, raw, tenant_id",
            &[Value::Text(&tenant.to_string())],
        )
        .await
    }

    async fn take_event(&mut self, event: &str, account: Option<&str>) -> Result<Option<Quarantined>> {
        let mut taken = self
            .take(
                "DELETE FROM tenancy_billing_quarantine WHERE event = $1 AND account = $2 \
                 RETURNING account, event, customer, subscription, reason, created_us, received_us, raw, tenant_id",
                &[Value::Text(event), Value::Text(account.unwrap_or(""))],
            )
            .await?;
        Ok(taken.pop())
    }

    async fn quarantined(&mut self, limit: u16) -> Result<Vec<Quarantined>> {
        let sql = "SELECT account, event, customer, subscription, reason, created_us, received_us, raw, tenant_id \
                   FROM tenancy_billing_quarantine ORDER BY received_us, event LIMIT $1";
        let rows = self.fetch(sql, &[Value::Int(limit.into())]).await?;
        rows.iter().map(read_quarantined::<DB>).collect()
    }

    async fn add_notification(&mut self, row: &OutboxRow) -> Result<()> {
        outbox::add::<DB>(self.tx.conn(), row).await
    }

    async fn due_notification(&mut self, now: Timestamp) -> Result<Option<OutboxRow>> {
        Ok(outbox::rows::<DB>(self.tx.conn(), outbox::DUE, &[Value::Int(now.micros())]).await?.pop())
    }

    async fn notification(&mut self, id: &str) -> Result<Option<OutboxRow>> {
        Ok(outbox::rows::<DB>(self.tx.conn(), outbox::BY_ID, &[Value::Text(id)]).await?.pop())
    }

    async fn failed_notifications(&mut self, limit: u16) -> Result<Vec<OutboxRow>> {
        outbox::rows::<DB>(self.tx.conn(), outbox::FAILED, &[Value::Int(limit.into())]).await
    }

    async fn update_notification(&mut self, row: &OutboxRow) -> Result<()> {
        outbox::update::<DB>(self.tx.conn(), row).await
    }

    async fn delete_notification(&mut self, id: &str) -> Result<()> {
        let sql = "DELETE FROM tenancy_billing_outbox WHERE id = $1";
        self.execute(sql, &[Value::Text(id)]).await.map(|_| ())
    }

    async fn disputes(&mut self, tenant: &TenantId) -> Result<Vec<Dispute>> {
        let sql =
            "SELECT id, status, created_us FROM tenancy_billing_disputes WHERE tenant_id = $1 ORDER BY id";
        let rows = self.fetch(sql, &[Value::Text(&tenant.to_string())]).await?;
        let dispute = |row: &DB::Row| {
            let (id, status) = (text::<DB>(row, 0)?, text::<DB>(row, 1)?);
            Ok(Dispute { id, tenant: tenant.clone(), status, created: time::<DB>(row, 2)? })
        };
        rows.iter().map(dispute).collect()
    }

    async fn save_dispute(&mut self, dispute: &Dispute) -> Result<()> {
        let sql = "INSERT INTO tenancy_billing_disputes (id, tenant_id, status, created_us) \
                   VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET tenant_id = excluded.tenant_id, \
                   status = excluded.status, created_us = excluded.created_us";
        let values = [
            Value::Text(&dispute.id),
            Value::Text(&dispute.tenant.to_string()),
            Value::Text(&dispute.status),
            Value::Int(dispute.created.micros()),
        ];
        self.execute(sql, &values).await.map(|_| ())
    }

    async fn due_subscriptions(&mut self, now: Timestamp, limit: u16) -> Result<Vec<Subscription>> {
        let sql = "SELECT tenant_id, facts FROM tenancy_subscriptions WHERE due_us <= $1 \
                   ORDER BY due_us, id LIMIT $2";
        let rows = self.fetch(sql, &[Value::Int(now.micros()), Value::Int(limit.into())]).await?;
        rows.iter().map(read_subscription::<DB>).collect()
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.tx.commit().await
    }

    async fn add_usage_error(&mut self, error: &UsageError) -> Result<()> {
        usage_errors::add::<DB>(self.tx.conn(), error).await
    }

    async fn usage_errors(&mut self, limit: u16) -> Result<Vec<UsageError>> {
        usage_errors::oldest::<DB>(self.tx.conn(), limit).await
    }

    async fn delete_usage_error(&mut self, identifier: &str) -> Result<()> {
        usage_errors::delete::<DB>(self.tx.conn(), identifier).await
    }
}

/// Reads the columns `tenant_id` and `facts`.
fn read_subscription<DB: Backend>(row: &DB::Row) -> Result<Subscription> {
    Subscription::from_json(stored(TenantId::parse(&text::<DB>(row, 0)?))?, &text::<DB>(row, 1)?)
}

fn read_quarantined<DB: Backend>(row: &DB::Row) -> Result<Quarantined> {
    let optional = |column| DB::text(row, column).map_err(|e| database_error(&e));
    Ok(Quarantined {
        account: optional(0)?.filter(|account| !account.is_empty()),
        event: text::<DB>(row, 1)?,
        customer: optional(2)?,
        subscription: optional(3)?,
        reason: text::<DB>(row, 4)?,
        created: time::<DB>(row, 5)?,
        received: time::<DB>(row, 6)?,
        raw: DB::bytes(row, 7).map_err(|e| database_error(&e))?,
        tenant: optional(8)?.map(|id| stored(TenantId::parse(&id))).transpose()?,
    })
}
