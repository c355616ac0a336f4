use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;

use super::super::{Terms, domain_taken, no_such_domain};
use super::{MemoryStore, poisoned};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::tenant::{Challenge, Domain, DomainState, DomainStore, TenantDomain, TenantId};

#[derive(Debug, Default)]
pub(super) struct DomainRows {
    held: HashMap<Domain, Held>,
    claims: BTreeMap<(Domain, String), Claim>,
}

/// A domain that was verified.
#[derive(Debug)]
struct Held {
    by: TenantId,
    since: Timestamp,
    /// It rests until then; `None` while it is in use.
    until: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Claim {
    challenge: Challenge,
    expires: Timestamp,
}

impl DomainRows {
    fn verified(&self, domain: &Domain) -> Option<&Held> {
        self.held.get(domain).filter(|held| held.until.is_none())
    }

    /// The domain, if it is this tenant's own.
    fn own(&self, tenant: &TenantId, domain: &Domain) -> Option<TenantDomain> {
        let held = self.verified(domain).filter(|held| &held.by == tenant)?;
        let state = DomainState::Verified { since: held.since };
        Some(TenantDomain { domain: domain.clone(), tenant: tenant.clone(), state })
    }

    fn is_free_for(&self, tenant: &TenantId, domain: &Domain, now: Timestamp) -> bool {
        let held = self.held.get(domain);
        held.is_none_or(|held| &held.by == tenant || held.until.is_some_and(|until| until <= now))
    }

    fn claim(&mut self, tenant: &TenantId, domain: &Domain, now: Timestamp) -> Result<TenantDomain> {
        if let Some(own) = self.own(tenant, domain) {
            return Ok(own);
        }
        if !self.is_free_for(tenant, domain, now) {
            return Err(domain_taken());
        }
        self.claims.retain(|_, claim| claim.expires > now);
        let fresh =
            || Claim { challenge: Challenge::random(domain.clone()), expires: now.after(Terms::CLAIM) };
        let claim = self.claims.entry((domain.clone(), tenant.to_string())).or_insert_with(fresh);
        Ok(pending(tenant, domain, claim))
    }

    fn verify(
        &mut self,
        tenant: &TenantId,
        domain: &Domain,
        seen: &[String],
        now: Timestamp,
    ) -> Result<TenantDomain> {
        if let Some(own) = self.own(tenant, domain) {
            return Ok(own);
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
        self.held.insert(domain.clone(), Held { by: tenant.clone(), since: now, until: None });
        self.claims.retain(|(claimed, _), _| claimed != domain);
        self.own(tenant, domain).ok_or_else(no_such_domain)
    }

    fn remove(&mut self, tenant: &TenantId, domain: &Domain, now: Timestamp, terms: &Terms) -> Result<()> {
        if let Some(held) = self.held.get_mut(domain)
            && held.until.is_none()
            && &held.by == tenant
        {
            held.until = Some(now.after(terms.domain_cooldown));
            self.claims.retain(|(claimed, _), _| claimed != domain);
            return Ok(());
        }
        let claim = self.claims.remove(&(domain.clone(), tenant.to_string()));
        claim.filter(|claim| claim.expires > now).map(|_| ()).ok_or_else(no_such_domain)
    }

    fn of(&self, tenant: &TenantId, now: Timestamp) -> Vec<TenantDomain> {
        let own = self.held.keys().filter_map(|domain| self.own(tenant, domain));
        let text = tenant.to_string();
        let claims = self
            .claims
            .iter()
            .filter(|((_, by), claim)| *by == text && claim.expires > now)
            .map(|((domain, _), claim)| pending(tenant, domain, claim));
        let mut all: Vec<_> = own.chain(claims).collect();
        all.sort_by(|one, other| one.domain.cmp(&other.domain));
        all
    }
}

fn pending(tenant: &TenantId, domain: &Domain, claim: &Claim) -> TenantDomain {
    let Claim { challenge, expires } = claim.clone();
    let state = DomainState::Pending { challenge, expires };
    TenantDomain { domain: domain.clone(), tenant: tenant.clone(), state }
}

#[async_trait]
impl DomainStore for MemoryStore {
    async fn claim_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<TenantDomain> {
        self.domains.lock().map_err(poisoned)?.claim(tenant, domain, self.terms.now())
    }

    async fn verify_domain(
        &self,
        tenant: &TenantId,
        domain: &Domain,
        seen: &[String],
    ) -> Result<TenantDomain> {
        self.domains.lock().map_err(poisoned)?.verify(tenant, domain, seen, self.terms.now())
    }

    async fn remove_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<()> {
        self.domains.lock().map_err(poisoned)?.remove(tenant, domain, self.terms.now(), &self.terms)
    }

    async fn domains(&self, tenant: &TenantId) -> Result<Vec<TenantDomain>> {
        Ok(self.domains.lock().map_err(poisoned)?.of(tenant, self.terms.now()))
    }

    async fn by_domain(&self, domain: &Domain) -> Result<Option<TenantId>> {
        Ok(self.domains.lock().map_err(poisoned)?.verified(domain).map(|held| held.by.clone()))
    }

    fn peek_domain(&self, domain: &Domain) -> Option<TenantId> {
        self.domains.lock().ok()?.verified(domain).map(|held| held.by.clone())
    }
}
