use std::fmt::{self, Write};

use async_trait::async_trait;

use super::{CHALLENGE, Domain};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::tenant::TenantId;

/// What has to be put into DNS, to show that a domain is the tenant's own.
///
/// The token is random, is issued for one tenant and one domain, and is no secret: DNS shows it to everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    domain: Domain,
    token: String,
}

impl Challenge {
    const VALUE: &str = "tenancy-verification=";

    /// A new one, with 256 random bits.
    ///
    /// # Panics
    /// If the operating system has no random numbers.
    pub fn random(domain: Domain) -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system has random numbers");
        let mut token = String::with_capacity(64);
        for byte in bytes {
            let _ = write!(token, "{byte:02x}");
        }
        Self { domain, token }
    }

    /// One read back by a store of your own.
    pub fn from_stored(domain: Domain, token: impl Into<String>) -> Self {
        Self { domain, token: token.into() }
    }

    /// The name of the TXT record.
    pub fn record_name(&self) -> String {
        record_name(&self.domain)
    }

    /// The text of the TXT record.
    pub fn record_text(&self) -> String {
        format!("{}{}", Self::VALUE, self.token)
    }

    /// The random part, for a store to keep.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether one of these TXT records, each whole, is exactly the one that is asked for.
    pub fn is_met_by(&self, seen: &[String]) -> bool {
        !self.token.is_empty() && seen.contains(&self.record_text())
    }
}

/// The name of the TXT record that proves a domain.
pub(super) fn record_name(domain: &Domain) -> String {
    format!("{CHALLENGE}{domain}")
}

/// A domain, as it stands with one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store must fill in every part, and hear of a new one")]
pub struct TenantDomain {
    /// The domain.
    pub domain: Domain,
    /// Whose it is, or would be.
    pub tenant: TenantId,
    /// How far it has come.
    pub state: DomainState,
}

impl TenantDomain {
    /// Whether requests for the domain reach the tenant.
    pub fn is_verified(&self) -> bool {
        matches!(self.state, DomainState::Verified { .. })
    }
}

/// How far a tenant has come with a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DomainState {
    /// Claimed, and not shown to be the tenant's own yet.
    Pending {
        /// What has to be put into DNS.
        challenge: Challenge,
        /// When the claim ends.
        expires: Timestamp,
    },
    /// The tenant's own.
    Verified {
        /// Since when.
        since: Timestamp,
    },
}

/// Which hosts are which tenant's own.
///
/// - Anybody can claim a domain that nobody has; the first to *verify* it has it. The claims of others are void then.
/// - A domain that was removed rests for a while, in which only the same tenant can claim it. Whoever claims it next,
///   the same tenant too, gets a new token.
/// - A claim that is not verified within seven days ends.
///
/// An implementation takes every step whole: of many who verify one domain at once, exactly one wins.
/// [`testing::domain_store`](crate::testing::domain_store) checks all of this on a store of your own.
#[async_trait]
pub trait DomainStore: Send + Sync + fmt::Debug {
    /// Claims a domain for a tenant. A claim that is pending is answered as it is, and so is a domain that is the
    /// tenant's own already.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if it is another tenant's, or was and still rests.
    async fn claim_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<TenantDomain>;

    /// Makes a claimed domain the tenant's own, if the claim's text is among the TXT records that were `seen`;
    /// otherwise it is still pending. What is verified already stays so, whatever was seen.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the tenant has no claim, or none any more;
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if somebody else was first, or it still rests.
    ///
    /// # Security
    /// `seen` is what DNS said, never what a client sent: use a [`DomainVerifier`](super::DomainVerifier).
    async fn verify_domain(
        &self,
        tenant: &TenantId,
        domain: &Domain,
        seen: &[String],
    ) -> Result<TenantDomain>;

    /// Gives up a domain or a claim. One that was verified rests from now on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if it is not this tenant's.
    async fn remove_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<()>;

    /// The tenant's domains and claims, sorted by domain.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`](crate::ErrorKind::StoreUnavailable) when it cannot be known.
    async fn domains(&self, tenant: &TenantId) -> Result<Vec<TenantDomain>>;

    /// Whose own a domain is. A claim makes it nobody's.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`](crate::ErrorKind::StoreUnavailable) when it cannot be known; never `None` in that
    /// case.
    async fn by_domain(&self, domain: &Domain) -> Result<Option<TenantId>>;

    /// What is already at hand for this domain, without waiting; `None` if the store must be asked.
    fn peek_domain(&self, domain: &Domain) -> Option<TenantId> {
        let _ = domain;
        None
    }
}
