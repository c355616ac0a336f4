#[cfg(feature = "stripe")]
mod billing;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;

use super::{stale, taken};
use crate::context::unknown_tenant;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStore};

/// Keeps tenants in memory: for tests and for a fixed handful of tenants.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tenants: RwLock<HashMap<TenantId, Arc<Tenant>>>,
    #[cfg(feature = "stripe")]
    billing: std::sync::Mutex<billing::Rows>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl TenantStore for MemoryStore {
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        Ok(self.tenants.read().map_err(poisoned)?.get(id).cloned())
    }

    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        Ok(self.tenants.read().map_err(poisoned)?.values().find(|tenant| tenant.slug() == slug).cloned())
    }

    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>> {
        let tenants = self.tenants.read().map_err(poisoned)?;
        let mut ids: Vec<_> = tenants.values().map(|tenant| (tenant.id().to_string(), tenant)).collect();
        ids.sort_by(|one, other| one.0.cmp(&other.0));
        let after = after.map(ToString::to_string);
        let rest = ids.into_iter().filter(|(id, _)| after.as_ref().is_none_or(|after| id > after));
        Ok(rest.take(limit.into()).map(|(_, tenant)| tenant.clone()).collect())
    }

    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        let tenant = Arc::new(tenant.into_tenant());
        let mut tenants = self.tenants.write().map_err(poisoned)?;
        if tenants.contains_key(tenant.id()) || tenants.values().any(|other| other.slug() == tenant.slug()) {
            return Err(taken());
        }
        tenants.insert(tenant.id().clone(), tenant.clone());
        Ok(tenant)
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        let mut tenants = self.tenants.write().map_err(poisoned)?;
        let stored = tenants.get(tenant.id()).ok_or_else(unknown_tenant)?;
        if stored.version() != tenant.version() {
            return Err(stale());
        }
        if tenants.values().any(|other| other.slug() == tenant.slug() && other.id() != tenant.id()) {
            return Err(taken());
        }
        let next = Arc::new(tenant.next_version());
        tenants.insert(next.id().clone(), next.clone());
        Ok(next)
    }

    fn peek_id(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.read().ok()?.get(id).cloned()
    }

    fn peek_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        self.tenants.read().ok()?.values().find(|tenant| tenant.slug() == slug).cloned()
    }
}

fn poisoned<T>(_: std::sync::PoisonError<T>) -> Error {
    Error::new(ErrorKind::StoreUnavailable, "a writer of the memory store panicked")
}
