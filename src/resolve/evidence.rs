use std::sync::Arc;

use tracing::{debug, warn};
use uuid::Uuid;

use super::{Candidate, Later, SourceOutcome};
use crate::audit::{AuditEvent, Outcome};
use crate::context::{Actor, ResolvedBy, TenantContext, TenantDirectory, unknown_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::Tenant;

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    Evidence,
    Selection,
}

/// What all sources of one request say together.
pub(super) struct Evidence {
    demand: Demand,
    named: Vec<Named>,
    identified: Vec<(Actor, ResolvedBy)>,
    invalid: Option<Error>,
}

/// A candidate with what stands behind it, and what was found for it.
struct Named {
    candidate: Candidate,
    stand: Stand,
    by: ResolvedBy,
    found: Option<Arc<Tenant>>,
}

enum Stand {
    Unverified,
    Verified(Actor),
    Forbidden(Actor),
}

impl Named {
    /// Whom a verified credential names, beside the tenant.
    fn holder(&self) -> Option<&Actor> {
        match &self.stand {
            Stand::Unverified => None,
            Stand::Verified(actor) | Stand::Forbidden(actor) => Some(actor),
        }
    }
}

/// Why a request is refused, and what the trails of the tenants concerned are told of it.
pub(super) struct Rejection {
    pub(super) error: Error,
    pub(super) told: Vec<AuditEvent>,
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        Self { error, told: Vec::new() }
    }
}

impl Evidence {
    pub(super) fn new(demand: Demand) -> Self {
        Self { demand, named: Vec::new(), identified: Vec::new(), invalid: None }
    }

    /// Adds what a source said; gives back what it will say later.
    pub(super) fn add(&mut self, by: ResolvedBy, signal: SourceOutcome) -> Option<Later> {
        let (candidate, stand) = match signal {
            // That somebody is nobody in particular proves nothing.
            SourceOutcome::Absent | SourceOutcome::VerifiedActor(Actor::Anonymous) => return None,
            SourceOutcome::Unverified(candidate)
            | SourceOutcome::Verified { candidate, actor: Actor::Anonymous } => {
                (candidate, Stand::Unverified)
            }
            SourceOutcome::Verified { candidate, actor } => (candidate, Stand::Verified(actor)),
            SourceOutcome::Forbidden { candidate, actor } => (candidate, Stand::Forbidden(actor)),
            SourceOutcome::VerifiedActor(actor) => {
                self.identified.push((actor, by));
                return None;
            }
            SourceOutcome::Invalid(error) => {
                self.invalid.get_or_insert(error);
                return None;
            }
            SourceOutcome::Pending(later) => return Some(later),
        };
        self.named.push(Named { candidate, stand, by, found: None });
        None
    }

    /// Whether it is worth looking anything up. One source that is invalid refuses all, and the answer does not depend on
    /// what a cache happens to hold.
    pub(super) fn check(&mut self, has_members: bool) -> Result<()> {
        if let Some(error) = self.invalid.take() {
            return Err(error);
        }
        if !self.identified.is_empty() && !has_members {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "a source says who is calling and not whose data it is; give the resolver `members`",
            ));
        }
        if self.named.is_empty() {
            return Err(Error::new(ErrorKind::TenantMissing, "this request names no tenant"));
        }
        if !self.is_enough() {
            return Err(Error::new(
                ErrorKind::CredentialMissing,
                "this route needs a credential, and the request holds none",
            ));
        }
        Ok(())
    }

    fn is_enough(&self) -> bool {
        self.demand == Demand::Selection
            || !self.identified.is_empty()
            || self.named.iter().any(|named| named.holder().is_some())
    }

    /// What has to be looked up, in order, each with the place for what is found.
    pub(super) fn candidates(&mut self) -> impl Iterator<Item = (&Candidate, &mut Option<Arc<Tenant>>)> {
        self.named.iter_mut().map(|named| (&named.candidate, &mut named.found))
    }

    /// The one tenant that all name, of what was found for each.
    pub(super) fn agree(&self) -> Result<Arc<Tenant>, Rejection> {
        // Whether the tenant exists for which a credential may not speak is nothing for its holder to know.
        if self.named.iter().any(|named| matches!(named.stand, Stand::Forbidden(_))) {
            return Err(self.conflict(true));
        }
        // A credential for a tenant that is gone stays unknown, and beside one that holds a name that does not
        // exist is answered like a name that belongs to somebody else: neither tells which tenants there are.
        let (mut proofs, mut ghosts) = (0, 0);
        for named in self.named.iter().filter(|named| named.holder().is_some()) {
            proofs += 1;
            ghosts += usize::from(named.found.is_none());
        }
        // Two names of nobody's are answered like one of nobody's and one of somebody's, for the same reason.
        let nobody = self.named.iter().all(|named| named.found.is_none());
        let one_name = self.named.windows(2).all(|two| two[0].candidate == two[1].candidate);
        if (proofs > 0 && ghosts == proofs) || (nobody && one_name) {
            return Err(unknown_tenant().into());
        }
        let first = self.named.first().and_then(|named| named.found.clone());
        let is = |first: &Tenant, named: &Named| named.found.as_ref().is_some_and(|it| it.id() == first.id());
        let same = |first: &Arc<Tenant>| self.named.iter().all(|named| is(first, named));
        first.filter(same).ok_or_else(|| self.conflict(false))
    }

    fn conflict(&self, denied: bool) -> Rejection {
        let reason = if denied { "issuer" } else { "conflict" };
        warn!(reason, sources = ?self.ways(), "the sources of a request do not agree on a tenant");
        let event = |named: &Named| Some(self.event(named.found.as_ref()?, named.holder()?, reason));
        let told = self.named.iter().filter_map(event).collect();
        let text = if denied {
            "this credential may not speak for the tenant that it names"
        } else {
            "this request names more than one tenant; name one, or the same everywhere"
        };
        Rejection { told, error: Error::new(ErrorKind::TenantConflict, text) }
    }

    fn event(&self, tenant: &Tenant, actor: &Actor, reason: &str) -> AuditEvent {
        let (id, plan) = (tenant.id().clone(), tenant.plan().to_owned());
        AuditEvent::with_actor(id, actor.clone(), Uuid::now_v7(), plan, "request.refuse".to_owned())
            .outcome(Outcome::Denied)
            .detail("reason", reason)
            .detail("sources", format!("{:?}", self.ways()))
    }

    fn ways(&self) -> Vec<ResolvedBy> {
        let named = self.named.iter().map(|named| named.by);
        named.chain(self.identified.iter().map(|(_, by)| *by)).collect()
    }

    /// Of whom membership is asked: people, whatever their credential names, and whoever's credential names no tenant.
    pub(super) fn people(&self) -> impl Iterator<Item = &Actor> {
        let holders = self.named.iter().filter_map(Named::holder);
        let people = holders.filter(|actor| matches!(actor, Actor::User(_)));
        people.chain(self.identified.iter().map(|(actor, _)| actor))
    }

    /// The claims without those who are no members. On a public route somebody who is at home elsewhere is a visitor
    /// like any other.
    pub(super) fn without(&mut self, strangers: &[Actor], tenant: &Tenant) -> Result<(), Rejection> {
        let Some(stranger) = strangers.first() else { return Ok(()) };
        let holds = self.named.iter().filter_map(Named::holder).any(|actor| strangers.contains(actor));
        self.identified.retain(|(actor, _)| !strangers.contains(actor));
        if self.demand == Demand::Selection && !holds {
            return Ok(());
        }
        debug!("somebody who is no member of the tenant");
        // The same as for a tenant that does not exist.
        Err(Rejection { error: unknown_tenant(), told: vec![self.event(tenant, stranger, "not a member")] })
    }

    /// The context, if the tenant is open.
    pub(super) fn admit(&self, directory: &TenantDirectory, tenant: Arc<Tenant>) -> Result<TenantContext> {
        let holder = self.named.iter().find_map(|named| Some((named.holder()?, named.by)));
        let person = || self.identified.first().map(|(actor, by)| (actor, *by));
        match holder.or_else(person) {
            Some((actor, by)) => directory.admit(tenant, actor.clone(), by),
            None => directory.admit(tenant, Actor::Anonymous, self.named[0].by).map_err(|error| match error
                .kind()
            {
                ErrorKind::TenantSuspended | ErrorKind::TenantInactive => {
                    debug!(reason = error.kind().code(), "hidden from a caller without proof");
                    unknown_tenant()
                }
                _ => error,
            }),
        }
    }
}
