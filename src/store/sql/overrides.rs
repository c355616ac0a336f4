//! Overrides of tenants' plans, each with its audit event in the same transaction.

use std::sync::Arc;

use uuid::Uuid;

use super::SqlStore;
use super::query::record;
use super::tenants::{TENANT_BY_ID, save_tenant, tenant_where};
use crate::audit::AuditEvent;
use crate::context::{Actor, unknown_tenant};
use crate::database::TxMode;
use crate::error::{ErrorKind, Result};
use crate::plan::{Catalog, NewOverride};
use crate::scope::Backend;
use crate::tenant::{Tenant, TenantId};

/// How often a change is repeated when another writer changed the tenant meanwhile.
const ATTEMPTS: usize = 10;

impl<DB: Backend> SqlStore<DB> {
    /// Adds an override to a tenant's plan, and its audit event `plan.override.add`, in one transaction.
    ///
    /// Overrides are never removed: [`end_override`](Self::end_override) ends one. Behind a
    /// [`CachedStore`](crate::store::CachedStore), pass the returned tenant to its
    /// [`committed`](crate::tenant::TenantStore::committed).
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use tenancy::context::Actor;
    /// use tenancy::plan::{Catalog, NewOverride};
    /// use tenancy::{store::SqlStore, tenant::Tenant};
    ///
    /// async fn extend(store: &SqlStore<sqlx::Sqlite>, catalog: &Catalog, acme: &Tenant) -> tenancy::Result<()> {
    ///     let more = NewOverride::add("projects", 10, "contract 17");
    ///     store.add_override(catalog, acme.id(), more, &Actor::user("ada")).await?;
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] or [`ErrorKind::InvalidInput`] if the override does not fit the catalog, has no
    /// reason or ends before it starts; [`ErrorKind::TenantUnknown`]; [`ErrorKind::StoreUnavailable`].
    pub async fn add_override(
        &self,
        catalog: &Catalog,
        tenant: &TenantId,
        new: NewOverride,
        actor: &Actor,
    ) -> Result<Arc<Tenant>> {
        catalog.check_override(&new)?;
        let (id, now) = (new.id(), self.timing.now());
        self.change_terms(tenant, |tenant| {
            let changed = tenant.with_override(new.clone(), &actor.to_string(), now)?;
            let text = serde_json::json!(changed.terms().overrides().last()).to_string();
            let event = event_of(&changed, actor, "plan.override.add", id).detail("override", text);
            Ok((changed, event.detail("feature", &new.feature)))
        })
        .await
    }

    /// Ends an override now, and records `plan.override.end`, in one transaction. The override stays in the list.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the tenant has no such override or it has ended, [`ErrorKind::InvalidInput`] without
    /// a reason, [`ErrorKind::TenantUnknown`], [`ErrorKind::StoreUnavailable`].
    pub async fn end_override(
        &self,
        tenant: &TenantId,
        id: Uuid,
        reason: &str,
        actor: &Actor,
    ) -> Result<Arc<Tenant>> {
        let now = self.timing.now();
        self.change_terms(tenant, |tenant| {
            let changed = tenant.with_override_ended(id, &actor.to_string(), reason, now)?;
            let event = event_of(&changed, actor, "plan.override.end", id).detail("reason", reason);
            Ok((changed, event))
        })
        .await
    }

    async fn change_terms(
        &self,
        id: &TenantId,
        change: impl Fn(&Tenant) -> Result<(Tenant, AuditEvent)>,
    ) -> Result<Arc<Tenant>> {
        let own_tables = self.own_tables().await?;
        let mut attempt = 1;
        loop {
            let mut tx = self.begin_tx(TxMode::Write).await?;
            let tenant = tenant_where::<DB>(tx.conn(), TENANT_BY_ID, &id.to_string()).await?;
            let (changed, event) = change(&tenant.ok_or_else(unknown_tenant)?)?;
            match save_tenant::<DB>(&mut tx, &changed, &self.timing).await {
                Err(error) if error.kind() == ErrorKind::StaleVersion && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
                Ok(saved) => {
                    record::<DB>(&mut tx, own_tables, &event).await?;
                    tx.commit().await?;
                    return Ok(saved);
                }
            }
        }
    }
}

fn event_of(tenant: &Tenant, actor: &Actor, action: &str, id: Uuid) -> AuditEvent {
    let plan = tenant.plan().to_owned();
    AuditEvent::with_actor(tenant.id().clone(), actor.clone(), Uuid::now_v7(), plan, action.to_owned())
        .target("override", id)
}
