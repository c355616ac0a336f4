//! The domains that are verified or reserved, and the claims to domains.

use std::collections::{BTreeMap, HashMap};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::errors::{domain_taken, no_such_domain};
use crate::store::timing::Timing;
use crate::tenant::{Challenge, Domain, DomainState, TenantDomain, TenantId};

#[derive(Debug, Default)]
pub(crate) struct DomainRows {
    domains: HashMap<Domain, DomainRow>,
    claims: BTreeMap<(Domain, String), Claim>,
}

/// A domain that is verified, or reserved after its removal.
#[derive(Debug)]
pub(crate) struct DomainRow {
    pub(crate) tenant: TenantId,
    since: Timestamp,
    /// The end of the cool-down; `None` while the domain is in use.
    until: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Claim {
    challenge: Challenge,
    expires: Timestamp,
}

impl DomainRows {
    /// The row of a domain that is in use.
    pub(crate) fn verified(&self, domain: &Domain) -> Option<&DomainRow> {
        self.domains.get(domain).filter(|row| row.until.is_none())
    }

    /// The domain, if this tenant has verified it.
    fn verified_by(&self, tenant: &TenantId, domain: &Domain) -> Option<TenantDomain> {
        let row = self.verified(domain).filter(|row| &row.tenant == tenant)?;
        let state = DomainState::Verified { since: row.since };
        Some(TenantDomain { domain: domain.clone(), tenant: tenant.clone(), state })
    }

    fn is_free_for(&self, tenant: &TenantId, domain: &Domain, now: Timestamp) -> bool {
        let row = self.domains.get(domain);
        row.is_none_or(|row| &row.tenant == tenant || row.until.is_some_and(|until| until <= now))
    }

    pub(crate) fn claim(
        &mut self,
        tenant: &TenantId,
        domain: &Domain,
        now: Timestamp,
    ) -> Result<TenantDomain> {
        if let Some(verified) = self.verified_by(tenant, domain) {
            return Ok(verified);
        }
        if !self.is_free_for(tenant, domain, now) {
            return Err(domain_taken());
        }
        self.claims.retain(|_, claim| claim.expires > now);
        let new_claim =
            || Claim { challenge: Challenge::random(domain.clone()), expires: now.after(Timing::CLAIM_TTL) };
        let claim = self.claims.entry((domain.clone(), tenant.to_string())).or_insert_with(new_claim);
        Ok(pending(tenant, domain, claim))
    }

    pub(crate) fn verify(
        &mut self,
        tenant: &TenantId,
        domain: &Domain,
        seen: &[String],
        now: Timestamp,
    ) -> Result<TenantDomain> {
        if let Some(verified) = self.verified_by(tenant, domain) {
            return Ok(verified);
        }
        let claim = self.claims.get(&(domain.clone(), tenant.to_string()));
        let claim = claim.filter(|claim| claim.expires > now);
        if !self.is_free_for(tenant, domain, now) {
            return Err(if claim.is_some() { domain_taken() } else { no_such_domain() });
        }
        let claim = claim.ok_or_else(no_such_domain)?;
        if !claim.challenge.is_met_by(seen) {
            return Ok(pending(tenant, domain, claim));
        }
        self.domains.insert(domain.clone(), DomainRow { tenant: tenant.clone(), since: now, until: None });
        self.claims.retain(|(claimed, _), _| claimed != domain);
        self.verified_by(tenant, domain).ok_or_else(no_such_domain)
    }

    pub(crate) fn remove(
        &mut self,
        tenant: &TenantId,
        domain: &Domain,
        now: Timestamp,
        timing: &Timing,
    ) -> Result<()> {
        if let Some(row) = self.domains.get_mut(domain)
            && row.until.is_none()
            && &row.tenant == tenant
        {
            row.until = Some(now.after(timing.domain_cooldown));
            self.claims.retain(|(claimed, _), _| claimed != domain);
            return Ok(());
        }
        let claim = self.claims.remove(&(domain.clone(), tenant.to_string()));
        claim.filter(|claim| claim.expires > now).map(|_| ()).ok_or_else(no_such_domain)
    }

    /// The domains and the claims of a tenant, sorted by domain.
    pub(crate) fn of_tenant(&self, tenant: &TenantId, now: Timestamp) -> Vec<TenantDomain> {
        let verified = self.domains.keys().filter_map(|domain| self.verified_by(tenant, domain));
        let id = tenant.to_string();
        let claims = self
            .claims
            .iter()
            .filter(|((_, claimant), claim)| *claimant == id && claim.expires > now)
            .map(|((domain, _), claim)| pending(tenant, domain, claim));
        let mut all: Vec<_> = verified.chain(claims).collect();
        all.sort_by(|a, b| a.domain.cmp(&b.domain));
        all
    }
}

fn pending(tenant: &TenantId, domain: &Domain, claim: &Claim) -> TenantDomain {
    let Claim { challenge, expires } = claim.clone();
    let state = DomainState::Pending { challenge, expires };
    TenantDomain { domain: domain.clone(), tenant: tenant.clone(), state }
}
