#[cfg(feature = "api-keys")]
mod api_keys;
#[cfg(feature = "stripe")]
mod billing;
mod domains;
mod tenants;

use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;

use self::tenants::Tenants;
use super::Terms;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStore};

/// Keeps tenants in memory, and what is theirs: for tests and for a fixed handful of tenants.
#[derive(Debug, Default)]
pub struct MemoryStore {
    terms: Terms,
    tenants: RwLock<Tenants>,
    domains: Mutex<domains::DomainRows>,
    #[cfg(feature = "api-keys")]
    api_keys: RwLock<api_keys::ApiKeyRows>,
    #[cfg(feature = "stripe")]
    billing: Mutex<billing::BillingRows>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// With another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.terms.clock = clock;
        self
    }

    /// For how long a slug that was given up is its old tenant's alone; 90 days if not said.
    #[must_use]
    pub fn slug_cooldown(mut self, rest: Duration) -> Self {
        self.terms.slug_cooldown = rest;
        self
    }

    /// For how long a domain that was removed is its old tenant's alone; 30 days if not said.
    #[must_use]
    pub fn domain_cooldown(mut self, rest: Duration) -> Self {
        self.terms.domain_cooldown = rest;
        self
    }
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
        ids.sort_by(|one, other| one.0.cmp(&other.0));
        let after = after.map(ToString::to_string);
        let rest = ids.into_iter().filter(|(id, _)| after.as_ref().is_none_or(|after| id > after));
        Ok(rest.take(limit.into()).map(|(_, tenant)| tenant.clone()).collect())
    }

    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        let tenant = Arc::new(tenant.into_tenant());
        self.tenants.write().map_err(poisoned)?.insert(tenant.clone(), &self.terms)?;
        Ok(tenant)
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        self.tenants.write().map_err(poisoned)?.update(tenant, &self.terms)
    }

    fn peek_id(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.read().ok()?.get(id)
    }

    fn peek_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        self.tenants.read().ok()?.by_slug(slug)
    }
}

fn poisoned<T>(_: std::sync::PoisonError<T>) -> Error {
    Error::new(ErrorKind::StoreUnavailable, "a writer of the memory store panicked")
}
