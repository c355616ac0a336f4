use std::collections::HashMap;
use std::sync::Arc;

use super::super::{Terms, stale, taken};
use crate::clock::Timestamp;
use crate::context::unknown_tenant;
use crate::error::Result;
use crate::tenant::{Slug, Tenant, TenantId, TenantStatus};

/// The tenants, and whose each slug is or was.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    by_id: HashMap<TenantId, Arc<Tenant>>,
    slugs: HashMap<Slug, Held>,
}

#[derive(Debug)]
struct Held {
    by: TenantId,
    /// Nobody else's until then; `None` while it is in use.
    until: Option<Timestamp>,
}

impl Tenants {
    pub(super) fn get(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.by_id.get(id).cloned()
    }

    pub(super) fn by_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        let tenant = self.get(&self.slugs.get(slug)?.by)?;
        (tenant.slug() == slug).then_some(tenant)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.by_id.values()
    }

    pub(super) fn insert(&mut self, tenant: Arc<Tenant>, terms: &Terms) -> Result<()> {
        if self.by_id.contains_key(tenant.id()) {
            return Err(taken());
        }
        self.put_all([tenant], terms)
    }

    pub(super) fn update(&mut self, tenant: &Tenant, terms: &Terms) -> Result<Arc<Tenant>> {
        let stored = self.by_id.get(tenant.id()).ok_or_else(unknown_tenant)?;
        if stored.version() != tenant.version() {
            return Err(stale());
        }
        let next = Arc::new(tenant.next_version());
        self.put_all([next.clone()], terms)?;
        Ok(next)
    }

    /// Writes all of these, or none.
    pub(super) fn put_all(
        &mut self,
        tenants: impl IntoIterator<Item = Arc<Tenant>>,
        terms: &Terms,
    ) -> Result<()> {
        let tenants: Vec<_> = tenants.into_iter().collect();
        if !tenants.iter().all(|tenant| self.may_have(tenant, terms.now())) {
            return Err(taken());
        }
        for tenant in tenants {
            let until = terms.now().after(terms.slug_cooldown);
            if let Some(old) = self.by_id.get(tenant.id())
                && old.slug() != tenant.slug()
            {
                let held = Held { by: tenant.id().clone(), until: Some(until) };
                self.slugs.insert(old.slug().clone(), held);
            }
            let ends = tenant.status() == TenantStatus::Deleting;
            let held = Held { by: tenant.id().clone(), until: ends.then_some(until) };
            self.slugs.insert(tenant.slug().clone(), held);
            self.by_id.insert(tenant.id().clone(), tenant);
        }
        Ok(())
    }

    fn may_have(&self, tenant: &Tenant, now: Timestamp) -> bool {
        let Some(held) = self.slugs.get(tenant.slug()) else { return true };
        let in_use = self.get(&held.by).is_some_and(|holder| holder.slug() == tenant.slug());
        &held.by == tenant.id() || (!in_use && held.until.is_some_and(|until| until <= now))
    }
}
