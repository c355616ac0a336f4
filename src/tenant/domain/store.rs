//! [`DomainStore`]: claims and verified domains. Its implementations are in the module `store` of the crate.

use std::fmt::{self, Write};

use async_trait::async_trait;

use super::{CHALLENGE, Domain};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::tenant::TenantId;

/// The TXT record that a tenant must create to prove that it controls a domain.
///
/// The token is random and valid for one tenant and one domain. It is not a secret: anybody can read it in DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    domain: Domain,
    token: String,
}

impl Challenge {
    const VALUE_PREFIX: &str = "tenancy-verification=";

    /// Creates a challenge with 256 random bits.
    ///
    /// # Panics
    /// If the operating system cannot provide random bytes.
    pub fn random(domain: Domain) -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
        let mut token = String::with_capacity(64);
        for byte in bytes {
            let _ = write!(token, "{byte:02x}");
        }
        Self { domain, token }
    }

    /// Creates a challenge from its stored token, for a store of your own.
    pub fn from_stored(domain: Domain, token: impl Into<String>) -> Self {
        Self { domain, token: token.into() }
    }

    /// The name of the TXT record.
    pub fn record_name(&self) -> String {
        record_name(&self.domain)
    }

    /// The text of the TXT record.
    pub fn record_text(&self) -> String {
        format!("{}{}", Self::VALUE_PREFIX, self.token)
    }

    /// The random part, which a store keeps.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether one of these TXT records is exactly the record of this challenge. Each text is one whole record.
    pub fn is_met_by(&self, records: &[String]) -> bool {
        !self.token.is_empty() && records.contains(&self.record_text())
    }
}

/// The name of the TXT record that proves a domain.
pub(super) fn record_name(domain: &Domain) -> String {
    format!("{CHALLENGE}{domain}")
}

/// A tenant's claim or verified ownership of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a new field must break the build of a custom store")]
pub struct TenantDomain {
    /// The domain.
    pub domain: Domain,
    /// The tenant that claims or owns the domain.
    pub tenant: TenantId,
    /// Whether the domain is verified.
    pub state: DomainState,
}

impl TenantDomain {
    /// Whether the domain is verified, so that requests for it resolve to the tenant.
    pub fn is_verified(&self) -> bool {
        matches!(self.state, DomainState::Verified { .. })
    }
}

/// The state of a tenant's domain: claimed or verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DomainState {
    /// The tenant has claimed the domain and has not verified it yet.
    Pending {
        /// The TXT record that the tenant must create.
        challenge: Challenge,
        /// When the claim expires.
        expires: Timestamp,
    },
    /// The tenant owns the domain.
    Verified {
        /// When the domain was verified.
        since: Timestamp,
    },
}

/// The storage of custom domains: which tenant owns which host name.
///
/// - Any tenant can claim a domain without an owner. The first tenant to *verify* the domain owns it, and the claims
///   of other tenants become void.
/// - A removed domain is in a cool-down, in which only the same tenant can claim it. The next claim, also of the same
///   tenant, gets a new token.
/// - A claim that is not verified within seven days expires.
///
/// Each method is atomic: of several tenants that verify one domain concurrently, exactly one succeeds.
/// [`testing::domain_store`](crate::testing::domain_store) tests an implementation against this contract.
#[async_trait]
pub trait DomainStore: Send + Sync + fmt::Debug {
    /// Claims a domain for a tenant.
    ///
    /// If the tenant already claims or owns the domain, that state is returned unchanged.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if another tenant owns the domain, or owned it and the
    /// cool-down has not ended.
    async fn claim_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<TenantDomain>;

    /// Verifies a claimed domain if `seen`, the TXT records in DNS, contains the record of the claim.
    ///
    /// Otherwise the claim stays pending. A verified domain stays verified, whatever `seen` contains.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the tenant has no claim, or its claim has expired;
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if another tenant has verified the domain, or the domain
    /// is in another tenant's cool-down.
    ///
    /// # Security
    /// `seen` must come from DNS, never from a client: use a [`DomainVerifier`](super::DomainVerifier).
    async fn verify_domain(
        &self,
        tenant: &TenantId,
        domain: &Domain,
        seen: &[String],
    ) -> Result<TenantDomain>;

    /// Removes a domain or a claim of a tenant. A verified domain enters its cool-down.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if this tenant neither claims nor owns the domain.
    async fn remove_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<()>;

    /// The tenant's domains and claims, sorted by domain.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the store cannot be read.
    async fn domains(&self, tenant: &TenantId) -> Result<Vec<TenantDomain>>;

    /// The tenant that owns the domain, or `None`. A claim is not ownership.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the store cannot be read; never `None`
    /// in that case.
    async fn by_domain(&self, domain: &Domain) -> Result<Option<TenantId>>;

    /// The cached owner of the domain, without I/O; `None` if it is not cached.
    fn peek_domain(&self, domain: &Domain) -> Option<TenantId> {
        let _ = domain;
        None
    }
}
