//! [`DomainStore`] in memory. The rules are in `rows/domains.rs`.

use async_trait::async_trait;

use super::{MemoryStore, poisoned};
use crate::error::Result;
use crate::tenant::{Domain, DomainStore, TenantDomain, TenantId};

#[async_trait]
impl DomainStore for MemoryStore {
    async fn claim_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<TenantDomain> {
        self.domains.lock().map_err(poisoned)?.claim(tenant, domain, self.timing.now())
    }

    async fn verify_domain(
        &self,
        tenant: &TenantId,
        domain: &Domain,
        seen: &[String],
    ) -> Result<TenantDomain> {
        self.domains.lock().map_err(poisoned)?.verify(tenant, domain, seen, self.timing.now())
    }

    async fn remove_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<()> {
        self.domains.lock().map_err(poisoned)?.remove(tenant, domain, self.timing.now(), &self.timing)
    }

    async fn domains(&self, tenant: &TenantId) -> Result<Vec<TenantDomain>> {
        Ok(self.domains.lock().map_err(poisoned)?.of_tenant(tenant, self.timing.now()))
    }

    async fn by_domain(&self, domain: &Domain) -> Result<Option<TenantId>> {
        Ok(self.domains.lock().map_err(poisoned)?.verified(domain).map(|row| row.tenant.clone()))
    }

    fn peek_domain(&self, domain: &Domain) -> Option<TenantId> {
        self.domains.lock().ok()?.verified(domain).map(|row| row.tenant.clone())
    }
}
