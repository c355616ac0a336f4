//! [`DomainVerifier`]: looks up the TXT record of a claim and updates the store.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::store::record_name;
use super::{Domain, DomainStore, TenantDomain};
use crate::error::Result;
use crate::tenant::TenantId;

/// A look-up of TXT records. The feature `dns` has an implementation: `DnsResolver`.
#[async_trait]
pub trait TxtLookup: Send + Sync + fmt::Debug {
    /// The TXT records of `name`, each with its strings joined.
    ///
    /// The list is empty if the name has no TXT record or does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the look-up fails; never an empty list
    /// in that case.
    async fn txt(&self, name: &str) -> Result<Vec<String>>;
}

/// Verifies a claimed domain: looks up its TXT records and passes them to the [`DomainStore`].
///
/// ```
/// use std::sync::Arc;
/// use async_trait::async_trait;
/// use tenancy::store::MemoryStore;
/// use tenancy::tenant::{Domain, DomainStore, DomainState, DomainVerifier, TenantId, TxtLookup};
///
/// # #[derive(Debug)] struct MyDns;
/// # #[async_trait] impl TxtLookup for MyDns {
/// #     async fn txt(&self, _: &str) -> tenancy::Result<Vec<String>> { Ok(Vec::new()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
/// # let tenant = TenantId::random();
/// let store = Arc::new(MemoryStore::new());
/// let domain = Domain::parse("shop.acme.com")?;
/// let claimed = store.claim_domain(&tenant, &domain).await?;
/// if let DomainState::Pending { challenge, .. } = &claimed.state {
///     assert_eq!(challenge.record_name(), "_tenancy-challenge.shop.acme.com");
///     assert!(challenge.record_text().starts_with("tenancy-verification="));
/// }
///
/// let verifier = DomainVerifier::new(MyDns, store);
/// assert!(!verifier.verify(&tenant, &domain).await?.is_verified(), "nothing is in DNS yet");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DomainVerifier {
    lookup: Arc<dyn TxtLookup>,
    store: Arc<dyn DomainStore>,
}

impl DomainVerifier {
    /// Creates a verifier from a TXT look-up and a domain store.
    pub fn new(lookup: impl TxtLookup + 'static, store: Arc<dyn DomainStore>) -> Self {
        Self { lookup: Arc::new(lookup), store }
    }

    /// Looks up the TXT record of the tenant's claim. If the record exists, the tenant owns the domain from now on.
    ///
    /// # Errors
    /// As [`DomainStore::verify_domain`]; [`ErrorKind::StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the
    /// look-up fails, which changes nothing.
    pub async fn verify(&self, tenant: &TenantId, domain: &Domain) -> Result<TenantDomain> {
        let seen = self.lookup.txt(&record_name(domain)).await?;
        self.store.verify_domain(tenant, domain, &seen).await
    }
}
