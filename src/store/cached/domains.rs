//! Custom domains in a [`CachedStore`].

use async_trait::async_trait;

use super::CachedStore;
use crate::error::Result;
use crate::store::invalidation::Invalidation;
use crate::tenant::{Domain, DomainStore, TenantDomain, TenantId};

impl<S> CachedStore<S> {
    async fn domain_changed(&self, domain: &Domain) {
        self.domains.invalidate(domain);
        self.publisher.publish(Invalidation::Domain(domain.as_str().to_owned())).await;
    }

    /// Invalidates a domain by its name. A name that does not parse could be any domain.
    pub(super) fn invalidate_domain(&self, name: &str) {
        match Domain::parse(name) {
            Ok(domain) => self.domains.invalidate(&domain),
            Err(_) => self.domains.invalidate_all(),
        }
    }
}

/// A change invalidates its domain even if the store returned an error: the change may have been made.
#[async_trait]
impl<S: DomainStore> DomainStore for CachedStore<S> {
    async fn claim_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<TenantDomain> {
        self.store.claim_domain(tenant, domain).await
    }

    async fn verify_domain(
        &self,
        tenant: &TenantId,
        domain: &Domain,
        seen: &[String],
    ) -> Result<TenantDomain> {
        let verified = self.store.verify_domain(tenant, domain, seen).await;
        self.domain_changed(domain).await;
        verified
    }

    async fn remove_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<()> {
        let removed = self.store.remove_domain(tenant, domain).await;
        self.domain_changed(domain).await;
        removed
    }

    async fn domains(&self, tenant: &TenantId) -> Result<Vec<TenantDomain>> {
        self.store.domains(tenant).await
    }

    async fn by_domain(&self, domain: &Domain) -> Result<Option<TenantId>> {
        self.domains.get(domain, self.store.by_domain(domain)).await
    }

    fn peek_domain(&self, domain: &Domain) -> Option<TenantId> {
        self.domains.peek(domain)
    }
}
