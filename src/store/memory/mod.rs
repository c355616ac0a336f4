//! [`MemoryStore`]: every storage trait of the crate, in memory.

#[cfg(feature = "api-keys")]
mod api_keys;
#[cfg(feature = "stripe")]
mod billing;
#[cfg(feature = "custom-domains")]
mod domains;
#[cfg(feature = "quota")]
mod meter;
mod rows;

use std::sync::{Arc, RwLock};

use async_trait::async_trait;

use self::rows::TenantRows;
use crate::error::{Error, ErrorKind, Result};
use crate::store::timing::{Timing, timing_setters};
use crate::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStore};

/// Stores tenants, their domains, API keys and billing state in memory: for tests, and for a few fixed tenants.
///
/// ```
/// use tenancy::store::MemoryStore;
/// use tenancy::tenant::{NewTenant, Slug, TenantStore};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
/// let store = MemoryStore::new();
/// let acme = store.insert(NewTenant::new(Slug::parse("acme")?, "Acme", "free")).await?;
/// assert_eq!(store.by_id(acme.id()).await?, Some(acme));
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct MemoryStore {
    timing: Timing,
    tenants: RwLock<TenantRows>,
    #[cfg(feature = "custom-domains")]
    domains: std::sync::Mutex<rows::DomainRows>,
    #[cfg(feature = "api-keys")]
    api_keys: RwLock<std::collections::BTreeMap<String, Arc<crate::tenant::ApiKey>>>,
    #[cfg(feature = "stripe")]
    billing: std::sync::Mutex<rows::BillingRows>,
    #[cfg(feature = "quota")]
    meters: std::sync::Mutex<meter::Meters>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    timing_setters!();
}

#[async_trait]
impl TenantStore for MemoryStore {
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        Ok(self.tenants.read().map_err(poisoned)?.get(id))
    }

    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        Ok(self.tenants.read().map_err(poisoned)?.by_slug(slug))
    }

    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>> {
        let tenants = self.tenants.read().map_err(poisoned)?;
        let mut ids: Vec<_> = tenants.all().map(|tenant| (tenant.id().to_string(), tenant)).collect();
        ids.sort_by(|a, b| a.0.cmp(&b.0));
        let after = after.map(ToString::to_string);
        let remaining = ids.into_iter().filter(|(id, _)| after.as_ref().is_none_or(|after| id > after));
        Ok(remaining.take(limit.into()).map(|(_, tenant)| tenant.clone()).collect())
    }

    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        let tenant = Arc::new(tenant.into_tenant());
        self.tenants.write().map_err(poisoned)?.insert(tenant.clone(), &self.timing)?;
        Ok(tenant)
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        self.tenants.write().map_err(poisoned)?.update(tenant, &self.timing)
    }

    fn peek_id(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.read().ok()?.get(id)
    }

    fn peek_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        self.tenants.read().ok()?.by_slug(slug)
    }
}

fn poisoned<T>(_: std::sync::PoisonError<T>) -> Error {
    Error::new(ErrorKind::StoreUnavailable, "a writer of the memory store panicked; restart the program")
}
