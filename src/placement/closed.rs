//! Places for tenants whose rows come from elsewhere: from a bundle, or from another place.

use std::sync::Arc;

use super::places::{Provision, Worker, taken};
use super::provisioner::Provisioner;
use super::steps::{BEGUN, IMPORT, Step};
use crate::error::Result;
use crate::tenant::{NewTenant, Placement, Tenant, TenantId, TenantStatus};

impl<DB: Provision> Provisioner<DB> {
    /// Inserts a tenant that nobody opens without its rows.
    pub(crate) async fn insert_closed(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        let tenant = tenant.status(TenantStatus::Provisioning);
        self.store.insert_in_ready_place(tenant, Step::Create.name(), Some((IMPORT, BEGUN)), None).await
    }

    /// Creates the place of a tenant of [`insert_closed`](Self::insert_closed), without rows. The tenant stays closed.
    pub(crate) async fn prepare_closed(&self, tenant: Arc<Tenant>) -> Result<Arc<Tenant>> {
        self.run(tenant, Step::Protect).await
    }

    /// Opens a tenant of [`insert_closed`](Self::insert_closed), whose rows are written.
    pub(crate) async fn open_closed(&self, tenant: &Arc<Tenant>) -> Result<Arc<Tenant>> {
        self.store.record_step(tenant.id(), Step::Seed.name(), None).await?;
        self.store.record_step(tenant.id(), IMPORT, None).await?;
        self.run(tenant.clone(), Step::Open).await
    }

    /// Fails if a place exists that no move of this deployment has begun.
    pub(crate) async fn check_new_place(&self, placement: &Placement) -> Result<()> {
        if DB::place_exists(&self.places, placement).await? { Err(taken()) } else { Ok(()) }
    }

    /// Locks a place of a tenant. A place that is `new` is created and migrated.
    pub(crate) async fn lock_place(&self, placement: &Placement, new: bool) -> Result<Worker<DB>> {
        if new {
            DB::create_place(&self.places, placement, self.template.as_ref()).await?;
        }
        let mut worker = Worker::new();
        DB::enter(&self.places, &mut worker, placement).await?;
        if new {
            self.migrate(worker.conn(), placement).await?;
        }
        Ok(worker)
    }

    /// Writes the policies and grants of a locked place, and records its migrations.
    pub(crate) async fn protect_place(
        &self,
        worker: &mut Worker<DB>,
        placement: &Placement,
        tenant: &TenantId,
    ) -> Result<()> {
        self.protect(worker.conn(), placement).await?;
        self.record_applied(&tenant.to_string()).await
    }
}
