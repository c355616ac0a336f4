//! Changes of a tenant by an operator, each with its audit event in the same transaction.

use std::sync::Arc;

use uuid::Uuid;

use super::SqlStore;
use super::query::record;
use super::tenants::{TENANT_BY_ID, insert_tenant, save_tenant, tenant_where};
use crate::audit::AuditEvent;
use crate::context::{Actor, unknown_tenant};
use crate::database::TxMode;
use crate::error::{Error, ErrorKind, Result};
use crate::scope::Backend;
use crate::tenant::{NewTenant, Slug, Suspension, Tenant, TenantId, checked_text};

/// How often a change is repeated when another writer changed the tenant meanwhile.
const ATTEMPTS: usize = 10;

impl<DB: Backend> SqlStore<DB> {
    /// Adds a tenant, and records `tenant.create`, in one transaction.
    ///
    /// # Errors
    /// As [`insert`](crate::tenant::TenantStore::insert).
    pub async fn create(&self, tenant: NewTenant, actor: &Actor) -> Result<Arc<Tenant>> {
        let own_tables = self.own_tables().await?;
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let tenant = insert_tenant::<DB>(&mut tx, tenant.into_tenant(), &self.timing).await?;
        record::<DB>(&mut tx, own_tables, &created_event(&tenant, actor)).await?;
        tx.commit().await?;
        Ok(tenant)
    }

    /// Changes the slug or the display name of a tenant, and records `tenant.rename` with the old and the new ones, in one
    /// transaction. The old slug stays [reserved](Self::slug_cooldown).
    ///
    /// # Errors
    /// As [`update`](crate::tenant::TenantStore::update); [`ErrorKind::InvalidInput`] without both.
    pub async fn rename(
        &self,
        tenant: &TenantId,
        slug: Option<Slug>,
        name: Option<&str>,
        actor: &Actor,
    ) -> Result<Arc<Tenant>> {
        if slug.is_none() && name.is_none() {
            return Err(Error::new(ErrorKind::InvalidInput, "a new slug or a new name is needed"));
        }
        self.change_tenant(tenant, |tenant| {
            let (mut changed, mut event) = (tenant.clone(), event_of(tenant, actor, "tenant.rename"));
            if let Some(slug) = &slug {
                event = event.detail("old_slug", tenant.slug()).detail("slug", slug);
                changed = changed.with_slug(slug.clone());
            }
            if let Some(name) = name {
                event = event.detail("old_name", tenant.name()).detail("name", name);
                changed = changed.with_name(name);
            }
            Ok((changed, event))
        })
        .await
    }

    /// Suspends a tenant, and records `tenant.suspend` with the reason and the message, in one transaction.
    ///
    /// Requests of the tenant are refused with status 403 and the message from then on. Behind a
    /// [`CachedStore`](crate::store::CachedStore), pass the returned tenant to its
    /// [`committed`](crate::tenant::TenantStore::committed).
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use tenancy::context::Actor;
    /// use tenancy::{store::SqlStore, tenant::{Suspension, Tenant}};
    ///
    /// async fn maintain(store: &SqlStore<sqlx::Sqlite>, acme: &Tenant) -> tenancy::Result<()> {
    ///     let moving = Suspension::new("moves, ticket 17")?.message("Please come back at 14:00 UTC.")?;
    ///     store.suspend(acme.id(), moving, &Actor::user("ada")).await?;
    ///     // Move it.
    ///     store.resume(acme.id(), "moved, ticket 17", &Actor::user("ada")).await?;
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Tenant::suspend`]; [`ErrorKind::TenantUnknown`]; [`ErrorKind::StoreUnavailable`].
    pub async fn suspend(
        &self,
        tenant: &TenantId,
        suspension: Suspension,
        actor: &Actor,
    ) -> Result<Arc<Tenant>> {
        let now = self.timing.now();
        self.change_tenant(tenant, |tenant| {
            let changed = tenant.suspend(suspension.clone(), now)?;
            let event = event_of(&changed, actor, "tenant.suspend").detail("reason", suspension.reason());
            let message = suspension.user_message();
            Ok((changed, message.into_iter().fold(event, |event, message| event.detail("message", message))))
        })
        .await
    }

    /// Returns a suspended tenant to the status that it had before, and records `tenant.resume`, in one transaction.
    ///
    /// # Errors
    /// As [`Tenant::resume`]; [`ErrorKind::InvalidInput`] without a reason; [`ErrorKind::TenantUnknown`];
    /// [`ErrorKind::StoreUnavailable`].
    pub async fn resume(&self, tenant: &TenantId, reason: &str, actor: &Actor) -> Result<Arc<Tenant>> {
        let reason = checked_text("reason", reason.to_owned())?;
        self.change_tenant(tenant, |tenant| {
            let changed = tenant.resume()?;
            let event = event_of(&changed, actor, "tenant.resume").detail("reason", &reason);
            Ok((changed, event))
        })
        .await
    }

    /// Changes a tenant as it is now, and records the event with it. `change` can be called several times.
    pub(super) async fn change_tenant(
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

/// The event of a new tenant.
pub(super) fn created_event(tenant: &Tenant, actor: &Actor) -> AuditEvent {
    event_of(tenant, actor, "tenant.create").detail("slug", tenant.slug())
}

pub(super) fn event_of(tenant: &Tenant, actor: &Actor, action: &str) -> AuditEvent {
    let plan = tenant.plan().to_owned();
    AuditEvent::with_actor(tenant.id().clone(), actor.clone(), Uuid::now_v7(), plan, action.to_owned())
}
