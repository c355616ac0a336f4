//! The tenants, and the slugs that are in use or reserved.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::context::unknown_tenant;
use crate::error::Result;
use crate::store::errors::{stale_version, tenant_exists};
use crate::store::timing::Timing;
use crate::tenant::{Slug, Tenant, TenantId, TenantStatus};

#[derive(Debug, Default)]
pub(crate) struct TenantRows {
    by_id: HashMap<TenantId, Arc<Tenant>>,
    slugs: HashMap<Slug, SlugRow>,
}

/// A slug that is in use or reserved.
#[derive(Debug)]
struct SlugRow {
    tenant: TenantId,
    /// The end of the cool-down; `None` while the slug is in use.
    until: Option<Timestamp>,
}

impl TenantRows {
    pub(crate) fn get(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.by_id.get(id).cloned()
    }

    pub(crate) fn by_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        let tenant = self.get(&self.slugs.get(slug)?.tenant)?;
        (tenant.slug() == slug).then_some(tenant)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.by_id.values()
    }

    pub(crate) fn insert(&mut self, tenant: Arc<Tenant>, timing: &Timing) -> Result<()> {
        if self.by_id.contains_key(tenant.id()) {
            return Err(tenant_exists());
        }
        self.put_all([tenant], timing)
    }

    pub(crate) fn update(&mut self, tenant: &Tenant, timing: &Timing) -> Result<Arc<Tenant>> {
        let stored = self.by_id.get(tenant.id()).ok_or_else(unknown_tenant)?;
        if stored.version() != tenant.version() {
            return Err(stale_version());
        }
        let next = Arc::new(tenant.next_version());
        self.put_all([next.clone()], timing)?;
        Ok(next)
    }

    /// Writes all tenants or none.
    pub(crate) fn put_all(
        &mut self,
        tenants: impl IntoIterator<Item = Arc<Tenant>>,
        timing: &Timing,
    ) -> Result<()> {
        let tenants: Vec<_> = tenants.into_iter().collect();
        if !tenants.iter().all(|tenant| self.slug_is_free_for(tenant, timing.now())) {
            return Err(tenant_exists());
        }
        for tenant in tenants {
            let until = timing.now().after(timing.slug_cooldown);
            if let Some(old) = self.by_id.get(tenant.id())
                && old.slug() != tenant.slug()
            {
                let reserved = SlugRow { tenant: tenant.id().clone(), until: Some(until) };
                self.slugs.insert(old.slug().clone(), reserved);
            }
            let deleting = tenant.status() == TenantStatus::Deleting;
            let current = SlugRow { tenant: tenant.id().clone(), until: deleting.then_some(until) };
            self.slugs.insert(tenant.slug().clone(), current);
            self.by_id.insert(tenant.id().clone(), tenant);
        }
        Ok(())
    }

    fn slug_is_free_for(&self, tenant: &Tenant, now: Timestamp) -> bool {
        let Some(row) = self.slugs.get(tenant.slug()) else { return true };
        let in_use = self.get(&row.tenant).is_some_and(|current| current.slug() == tenant.slug());
        &row.tenant == tenant.id() || (!in_use && row.until.is_some_and(|until| until <= now))
    }
}
