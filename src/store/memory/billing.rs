//! [`BillingStore`] in memory, and reads of its rows for tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;

use super::rows::BillingRows;
use super::{MemoryStore, poisoned};
use crate::audit::AuditEvent;
use crate::billing::{BillingStore, BillingTx, Dispute, OutboxRow, Quarantined, Subscription, UsageError};
use crate::clock::Timestamp;
use crate::context::unknown_tenant;
use crate::error::{Error, ErrorKind, Result};
use crate::store::errors::{checkout_exists, stale_version, subscription_of_another_tenant};
use crate::tenant::{Tenant, TenantId, TenantStore};

/// The rows of billing, for tests.
impl MemoryStore {
    /// Returns every subscription, sorted by id.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if a writer panicked.
    pub fn billing_subscriptions(&self) -> Result<Vec<Subscription>> {
        Ok(self.billing.lock().map_err(poisoned)?.subscriptions.values().cloned().collect())
    }

    /// Returns every event in the quarantine.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if a writer panicked.
    pub fn billing_quarantine(&self) -> Result<Vec<Quarantined>> {
        Ok(self.billing.lock().map_err(poisoned)?.quarantine.values().cloned().collect())
    }

    /// Returns every notification that is not delivered yet, in the order in which they were added.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if a writer panicked.
    pub fn billing_outbox(&self) -> Result<Vec<OutboxRow>> {
        Ok(self.billing.lock().map_err(poisoned)?.outbox.clone())
    }

    /// Returns every audit event that billing recorded, oldest first.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if a writer panicked.
    pub fn billing_audit(&self) -> Result<Vec<AuditEvent>> {
        Ok(self.billing.lock().map_err(poisoned)?.audit.clone())
    }
}

#[async_trait]
impl BillingStore for MemoryStore {
    async fn begin(&self) -> Result<Box<dyn BillingTx + '_>> {
        let rows = self.billing.lock().map_err(poisoned)?.clone();
        Ok(Box::new(MemoryTx { store: self, rows, tenants: HashMap::new() }))
    }
}

/// A transaction on a copy of the rows. It takes no locks: its commit fails if another transaction committed first.
struct MemoryTx<'a> {
    store: &'a MemoryStore,
    rows: BillingRows,
    /// The tenants that this transaction wrote, each with the version that it read first.
    tenants: HashMap<TenantId, (u64, Arc<Tenant>)>,
}

impl MemoryTx<'_> {
    /// Removes the events that match, the oldest first.
    fn take(&mut self, matches: impl Fn(&Quarantined) -> bool) -> Vec<Quarantined> {
        let (taken, remaining): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.rows.quarantine).into_iter().partition(|(_, event)| matches(event));
        self.rows.quarantine = remaining;
        let mut taken: Vec<Quarantined> = taken.into_values().collect();
        taken.sort_by(|a, b| (a.created, &a.event).cmp(&(b.created, &b.event)));
        taken
    }
}

#[async_trait]
impl BillingTx for MemoryTx<'_> {
    async fn record_once(&mut self, event: &str, account: Option<&str>, now: Timestamp) -> Result<bool> {
        let key = (account.map(str::to_owned), event.to_owned());
        let first = !self.rows.seen.contains_key(&key);
        self.rows.seen.entry(key).or_insert(now);
        Ok(first)
    }

    async fn forget_events(&mut self, before: Timestamp) -> Result<u64> {
        let known = self.rows.seen.len();
        self.rows.seen.retain(|_, received| *received >= before);
        self.rows.checkouts.retain(|_, (_, created, _)| *created >= before);
        self.rows.outbox.retain(|row| row.created >= before);
        self.rows.usage_errors.retain(|error| error.received >= before);
        Ok((known - self.rows.seen.len()) as u64)
    }

    async fn record_failure(&mut self, event: &str, account: Option<&str>, _: Timestamp) -> Result<u32> {
        let count = self.rows.failures.entry((account.map(str::to_owned), event.to_owned())).or_default();
        *count += 1;
        Ok(*count)
    }

    async fn advisory_lock(&mut self, _key: &str) -> Result<()> {
        Ok(())
    }

    async fn tenant_of_subscription(&mut self, subscription: &str) -> Result<Option<TenantId>> {
        Ok(self.rows.subscriptions.get(subscription).map(|stored| stored.tenant().clone()))
    }

    async fn tenant_of_customer(&mut self, customer: &str) -> Result<Option<TenantId>> {
        Ok(self.rows.customers.get(customer).map(|(tenant, _)| tenant.clone()))
    }

    async fn lock_tenant(&mut self, id: &TenantId) -> Result<Option<Tenant>> {
        if let Some((_, tenant)) = self.tenants.get(id) {
            return Ok(Some(Tenant::clone(tenant)));
        }
        Ok(self.store.by_id(id).await?.map(|tenant| Tenant::clone(&tenant)))
    }

    async fn subscriptions(&mut self, tenant: &TenantId) -> Result<Vec<Subscription>> {
        Ok(self.rows.subscriptions.values().filter(|stored| stored.tenant() == tenant).cloned().collect())
    }

    async fn unclear_subscriptions(&mut self, limit: u16) -> Result<Vec<Subscription>> {
        let unclear = self.rows.subscriptions.values().filter(|stored| stored.needs_refresh());
        let mut unclear: Vec<Subscription> = unclear.cloned().collect();
        unclear.sort_by_key(|stored| (stored.as_of().created, stored.id().to_owned()));
        unclear.truncate(limit.into());
        Ok(unclear)
    }

    async fn save_subscription(&mut self, subscription: &Subscription) -> Result<()> {
        let stored = self.rows.subscriptions.get(subscription.id());
        if stored.is_some_and(|stored| stored.tenant() != subscription.tenant()) {
            return Err(subscription_of_another_tenant());
        }
        self.rows.subscriptions.insert(subscription.id().to_owned(), subscription.clone());
        Ok(())
    }

    async fn link_customer(&mut self, customer: &str, tenant: &TenantId, now: Timestamp) -> Result<TenantId> {
        let linked = self.rows.customers.entry(customer.to_owned()).or_insert_with(|| (tenant.clone(), now));
        Ok(linked.0.clone())
    }

    async fn customers(&mut self, tenant: &TenantId) -> Result<Vec<String>> {
        let of_tenant = self.rows.customers.iter().filter(|(_, (linked, _))| linked == tenant);
        let mut customers: Vec<_> = of_tenant.map(|(id, (_, since))| (*since, id.clone())).collect();
        customers.sort_by(|a, b| b.cmp(a));
        Ok(customers.into_iter().map(|(_, id)| id).collect())
    }

    async fn save_checkout(&mut self, checkout: &str, tenant: &TenantId, now: Timestamp) -> Result<()> {
        if self.rows.checkouts.contains_key(checkout) {
            return Err(checkout_exists());
        }
        self.rows.checkouts.insert(checkout.to_owned(), (tenant.clone(), now, true));
        Ok(())
    }

    async fn tenant_of_checkout(&mut self, checkout: &str) -> Result<Option<TenantId>> {
        Ok(self.rows.checkouts.get(checkout).map(|(tenant, ..)| tenant.clone()))
    }

    async fn open_checkouts(&mut self, tenant: &TenantId) -> Result<Vec<String>> {
        let open = self.rows.checkouts.iter().filter(|(_, (of, _, open))| of == tenant && *open);
        Ok(open.map(|(id, _)| id.clone()).collect())
    }

    async fn close_checkout(&mut self, checkout: &str, _now: Timestamp) -> Result<()> {
        if let Some((.., open)) = self.rows.checkouts.get_mut(checkout) {
            *open = false;
        }
        Ok(())
    }

    async fn save_tenant(&mut self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        let stored = self.lock_tenant(tenant.id()).await?.ok_or_else(unknown_tenant)?;
        if stored.version() != tenant.version() {
            return Err(stale_version());
        }
        let next = Arc::new(tenant.next_version());
        let read_at = self.tenants.get(tenant.id()).map_or(stored.version(), |(read_at, _)| *read_at);
        self.tenants.insert(next.id().clone(), (read_at, next.clone()));
        Ok(next)
    }

    async fn record(&mut self, event: &AuditEvent) -> Result<()> {
        self.rows.audit.push(event.clone());
        Ok(())
    }

    async fn quarantine(&mut self, event: &Quarantined) -> Result<()> {
        self.rows.quarantine.insert((event.account.clone(), event.event.clone()), event.clone());
        Ok(())
    }

    async fn take_quarantined(
        &mut self,
        customer: Option<&str>,
        subscription: Option<&str>,
    ) -> Result<Vec<Quarantined>> {
        Ok(self.take(|event| {
            (customer.is_some() && event.customer.as_deref() == customer)
                || (subscription.is_some() && event.subscription.as_deref() == subscription)
        }))
    }

    async fn take_blocked(&mut self, tenant: &TenantId) -> Result<Vec<Quarantined>> {
        Ok(self.take(|event| event.tenant.as_ref() == Some(tenant)))
    }

    async fn take_event(&mut self, event: &str, account: Option<&str>) -> Result<Option<Quarantined>> {
        Ok(self.rows.quarantine.remove(&(account.map(str::to_owned), event.to_owned())))
    }

    async fn quarantined(&mut self, limit: u16) -> Result<Vec<Quarantined>> {
        let mut all: Vec<Quarantined> = self.rows.quarantine.values().cloned().collect();
        all.sort_by(|a, b| (a.received, &a.event).cmp(&(b.received, &b.event)));
        all.truncate(limit.into());
        Ok(all)
    }

    async fn add_notification(&mut self, row: &OutboxRow) -> Result<()> {
        self.rows.outbox.push(row.clone());
        Ok(())
    }

    async fn due_notification(&mut self, now: Timestamp) -> Result<Option<OutboxRow>> {
        let mut first = BTreeMap::<String, &OutboxRow>::new();
        for row in self.rows.outbox.iter().filter(|row| row.failed.is_none()) {
            first.entry(row.tenant.to_string()).or_insert(row);
        }
        let due = first.into_iter().filter(|(_, row)| row.due <= now);
        Ok(due.min_by(|(a, one), (b, other)| (one.due, a).cmp(&(other.due, b))).map(|(_, row)| row.clone()))
    }

    async fn notification(&mut self, id: &str) -> Result<Option<OutboxRow>> {
        Ok(self.rows.outbox.iter().find(|row| row.id == id).cloned())
    }

    async fn failed_notifications(&mut self, limit: u16) -> Result<Vec<OutboxRow>> {
        let mut failed: Vec<OutboxRow> =
            self.rows.outbox.iter().filter(|row| row.failed.is_some()).cloned().collect();
        failed.sort_by(|a, b| (a.failed, &a.id).cmp(&(b.failed, &b.id)));
        failed.truncate(limit.into());
        Ok(failed)
    }

    async fn update_notification(&mut self, row: &OutboxRow) -> Result<()> {
        if let Some(stored) = self.rows.outbox.iter_mut().find(|stored| stored.id == row.id) {
            stored.clone_from(row);
        }
        Ok(())
    }

    async fn delete_notification(&mut self, id: &str) -> Result<()> {
        self.rows.outbox.retain(|row| row.id != id);
        Ok(())
    }

    async fn disputes(&mut self, tenant: &TenantId) -> Result<Vec<Dispute>> {
        Ok(self.rows.disputes.values().filter(|dispute| dispute.tenant == *tenant).cloned().collect())
    }

    async fn save_dispute(&mut self, dispute: &Dispute) -> Result<()> {
        self.rows.disputes.insert(dispute.id.clone(), dispute.clone());
        Ok(())
    }

    async fn due_subscriptions(&mut self, now: Timestamp, limit: u16) -> Result<Vec<Subscription>> {
        let is_due = |stored: &&Subscription| stored.grace_ends().is_some_and(|end| end <= now);
        let mut due: Vec<Subscription> = self.rows.subscriptions.values().filter(is_due).cloned().collect();
        due.sort_by_key(|stored| (stored.grace_ends(), stored.id().to_owned()));
        due.truncate(limit.into());
        Ok(due)
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let mut rows = self.store.billing.lock().map_err(poisoned)?;
        let mut tenants = self.store.tenants.write().map_err(poisoned)?;
        let conflict = rows.generation != self.rows.generation
            || self
                .tenants
                .iter()
                .any(|(id, (read_at, _))| tenants.get(id).is_none_or(|stored| stored.version() != *read_at));
        if conflict {
            return Err(Error::new(
                ErrorKind::Retryable,
                "another transaction committed first; run this one again",
            ));
        }
        let written = self.tenants.into_values().map(|(_, tenant)| tenant);
        tenants.put_all(written, &self.store.timing)?;
        *rows = self.rows;
        rows.generation += 1;
        Ok(())
    }

    async fn add_usage_error(&mut self, error: &UsageError) -> Result<()> {
        if self.rows.usage_errors.iter().all(|stored| stored.identifier != error.identifier) {
            self.rows.usage_errors.push(error.clone());
        }
        Ok(())
    }

    async fn usage_errors(&mut self, limit: u16) -> Result<Vec<UsageError>> {
        let mut all = self.rows.usage_errors.clone();
        all.sort_by(|a, b| (a.received, &a.identifier).cmp(&(b.received, &b.identifier)));
        all.truncate(limit.into());
        Ok(all)
    }

    async fn delete_usage_error(&mut self, identifier: &str) -> Result<()> {
        self.rows.usage_errors.retain(|stored| stored.identifier != identifier);
        Ok(())
    }
}
