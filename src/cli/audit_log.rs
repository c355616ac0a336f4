//! [`AuditLog`]: the audit events of tenants, wherever they are stored.

use std::sync::Arc;

use uuid::Uuid;

use super::databases::Opened;
use crate::clock::Timestamp;
use crate::context::{Actor, TenantContext};
use crate::database::TxMode;
use crate::placement::Provision;
use crate::plan::{Catalog, Entitlements};
use crate::scope::{StoredEvent, Tx};
use crate::tenant::{Placement, Tenant};

/// How many events of a tenant are read at once.
const PAGE: u16 = 500;

/// The audit events of tenants: those of the data plane, beside the rows of the tenant, and those of the control plane,
/// such as a suspension, beside the list of tenants.
pub(crate) struct AuditLog<'a, DB: Provision> {
    opened: &'a Opened<DB>,
    /// Reading the log needs no feature of a plan, and so no plan catalog.
    entitlements: Arc<Entitlements>,
}

impl<'a, DB: Provision> AuditLog<'a, DB> {
    pub(crate) fn new(opened: &'a Opened<DB>) -> Self {
        let catalog = Catalog::from_toml("version = 1\n[plans.operator]").expect("a catalog of one plan");
        let entitlements = catalog.entitlements("operator").expect("the catalog has this plan");
        Self { opened, entitlements }
    }

    /// Up to `limit` of the newest events of a tenant that were recorded after this id, the oldest first.
    pub(crate) async fn newest(
        &self,
        tenant: &Arc<Tenant>,
        after: Uuid,
        limit: u16,
    ) -> crate::Result<Vec<StoredEvent>> {
        let mut events = self.in_place(tenant, async |tx| StoredEvent::newest(tx, None, limit).await).await?;
        if self.is_apart(tenant) {
            events.extend(self.opened.store.newest_audit_events(tenant.id(), limit).await?);
        }
        let mut events = in_order(events);
        events.retain(|event| event.id() > after);
        Ok(events.split_off(events.len().saturating_sub(limit.into())))
    }

    /// Visits the events of a tenant that were recorded after this id, the oldest first.
    pub(crate) async fn each(
        &self,
        tenant: &Arc<Tenant>,
        mut after: Uuid,
        mut visit: impl AsyncFnMut(&StoredEvent) -> crate::Result<()>,
    ) -> crate::Result<()> {
        loop {
            let own =
                self.in_place(tenant, async |tx| StoredEvent::oldest(tx, Some(after), PAGE).await).await?;
            let mut control = Vec::new();
            if self.is_apart(tenant) {
                control = self.opened.store.audit_events(tenant.id(), after, PAGE).await?;
            }
            // After the end of a full page there can be more events, which come before later ones of the other page.
            let full = [&own, &control].into_iter().filter(|page| page.len() == usize::from(PAGE));
            let end = full.filter_map(|page| page.last()).map(StoredEvent::id).min();
            for event in in_order([own, control].concat()) {
                if end.is_none_or(|end| event.id() <= end) {
                    visit(&event).await?;
                }
            }
            match end {
                Some(end) => after = end,
                None => return Ok(()),
            }
        }
    }

    async fn in_place(
        &self,
        tenant: &Arc<Tenant>,
        read: impl AsyncFnOnce(&mut Tx<'_, DB>) -> crate::Result<Vec<StoredEvent>>,
    ) -> crate::Result<Vec<StoredEvent>> {
        let actor = Actor::system("tenancy audit");
        let ctx = TenantContext::for_operator(tenant.clone(), actor, self.entitlements.clone());
        let mut tx = self.opened.db.begin_unlimited(&ctx, TxMode::Snapshot).await?;
        let events = read(&mut tx).await?;
        tx.rollback().await?;
        Ok(events)
    }

    /// Whether the events of the control plane are in another table than those of the tenant's place.
    fn is_apart(&self, tenant: &Tenant) -> bool {
        !self.opened.is_one_database || matches!(tenant.placement(), Placement::Database { .. })
    }
}

/// Sorts events by their ids, and removes those that were read twice.
pub(crate) fn in_order(mut events: Vec<StoredEvent>) -> Vec<StoredEvent> {
    events.sort_by_key(StoredEvent::id);
    events.dedup_by_key(|event| event.id());
    events
}

/// An id before those of all events that are created at this time or later.
pub(crate) fn id_at(time: Timestamp) -> Uuid {
    // The first 48 bits of a UUID of version 7 are the milliseconds since the Unix epoch.
    let millis = u64::try_from(time.micros().div_euclid(1000)).unwrap_or(0) & ((1 << 48) - 1);
    Uuid::from_u128(u128::from(millis) << 80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    #[test]
    fn an_id_of_a_time_is_before_those_of_later_events() {
        let now = SystemClock.now();
        let event = Uuid::now_v7();
        assert!(id_at(now) < event && id_at(now).to_string() < event.to_string());
        let later = id_at(Timestamp::from_micros(now.micros() + 60_000_000));
        assert!(event < later && event.to_string() < later.to_string());
        assert_eq!(id_at(Timestamp::from_micros(-5)), Uuid::nil());
    }
}
