//! Overrides of tenants' plans, each with its audit event in the same transaction.

use std::sync::Arc;

use uuid::Uuid;

use super::SqlStore;
use super::tenant_changes::event_of;
use crate::context::Actor;
use crate::error::Result;
use crate::plan::{Catalog, NewOverride};
use crate::scope::Backend;
use crate::tenant::{Tenant, TenantId};

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
    /// [`UnknownFeature`](crate::ErrorKind::UnknownFeature) or [`InvalidInput`](crate::ErrorKind::InvalidInput) if the override does not fit the catalog, has no
    /// reason or ends before it starts; [`TenantUnknown`](crate::ErrorKind::TenantUnknown); [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable).
    pub async fn add_override(
        &self,
        catalog: &Catalog,
        tenant: &TenantId,
        new: NewOverride,
        actor: &Actor,
    ) -> Result<Arc<Tenant>> {
        catalog.check_override(&new)?;
        let (id, now) = (new.id(), self.timing.now());
        self.change_tenant(tenant, |tenant| {
            let changed = tenant.with_override(new.clone(), &actor.to_string(), now)?;
            let text = serde_json::json!(changed.terms().overrides().last()).to_string();
            let event = event_of(&changed, actor, "plan.override.add")
                .target("override", id)
                .detail("override", text);
            Ok((changed, event.detail("feature", &new.feature)))
        })
        .await
    }

    /// Ends an override now, and records `plan.override.end`, in one transaction. The override stays in the list.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if the tenant has no such override or it has ended, [`InvalidInput`](crate::ErrorKind::InvalidInput) without
    /// a reason, [`TenantUnknown`](crate::ErrorKind::TenantUnknown), [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable).
    pub async fn end_override(
        &self,
        tenant: &TenantId,
        id: Uuid,
        reason: &str,
        actor: &Actor,
    ) -> Result<Arc<Tenant>> {
        let now = self.timing.now();
        self.change_tenant(tenant, |tenant| {
            let changed = tenant.with_override_ended(id, &actor.to_string(), reason, now)?;
            let event = event_of(&changed, actor, "plan.override.end")
                .target("override", id)
                .detail("reason", reason);
            Ok((changed, event))
        })
        .await
    }
}
