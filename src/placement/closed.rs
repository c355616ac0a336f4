//! Creates a tenant whose rows come from a bundle: it is provisioned without a seed, and opened at the end.

use std::sync::Arc;

use super::places::Provision;
use super::provisioner::Provisioner;
use super::steps::{BEGUN, IMPORT, Step};
use crate::error::Result;
use crate::tenant::{NewTenant, Tenant, TenantStatus};

impl<DB: Provision> Provisioner<DB> {
    /// Inserts a tenant, and creates its place, without rows. The tenant stays closed.
    pub(crate) async fn create_closed(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        let tenant = tenant.status(TenantStatus::Provisioning);
        // Recorded before the tenant exists, so that nobody opens it without its rows.
        let id = tenant.clone().into_tenant().id().clone();
        self.store.record_step(&id, IMPORT, Some(BEGUN)).await?;
        let tenant = self.store.insert_in_ready_place(tenant, Step::Create.name()).await?;
        self.run(tenant, Step::Protect).await
    }

    /// Opens a tenant of [`create_closed`](Self::create_closed), whose rows are written.
    pub(crate) async fn open_closed(&self, tenant: &Arc<Tenant>) -> Result<Arc<Tenant>> {
        self.store.record_step(tenant.id(), Step::Seed.name(), None).await?;
        self.store.record_step(tenant.id(), IMPORT, None).await?;
        self.run(tenant.clone(), Step::Open).await
    }
}
