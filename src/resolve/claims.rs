use std::sync::Arc;

use tracing::{debug, warn};
use uuid::Uuid;

use super::{Candidate, Signal};
use crate::audit::{AuditEvent, Outcome};
use crate::context::{Actor, Directory, ResolvedBy, TenantContext, unknown_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::Tenant;

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    Evidence,
    Selection,
}

/// What a source said, with the name of its way.
pub(super) type Said = (ResolvedBy, Signal);

/// What all sources of one request say together, before anything is looked up.
pub(super) struct Claims {
    demand: Demand,
    named: Vec<Named>,
    identified: Vec<(Actor, ResolvedBy)>,
}

/// A candidate with what stands behind it.
struct Named {
    candidate: Candidate,
    stand: Stand,
    by: ResolvedBy,
}

enum Stand {
    Selected,
    Proven(Actor),
    Denied(Actor),
}

impl Named {
    /// Whom a verified credential names, beside the tenant.
    fn holder(&self) -> Option<&Actor> {
        match &self.stand {
            Stand::Selected => None,
            Stand::Proven(actor) | Stand::Denied(actor) => Some(actor),
        }
    }
}

/// Why a request is refused, and what the trails of the tenants concerned are told of it.
pub(super) struct Refusal {
    pub(super) error: Error,
    pub(super) told: Vec<AuditEvent>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, told: Vec::new() }
    }
}

impl Claims {
    /// One source that is invalid refuses all. The answer does not depend on what a cache happens to hold.
    pub(super) fn read(said: Vec<Said>, demand: Demand, has_members: bool) -> Result<Self> {
        let mut claims = Self { demand, named: Vec::new(), identified: Vec::new() };
        let mut invalid = None;
        for (by, signal) in said {
            let (candidate, stand) = match signal {
                Signal::Absent => continue,
                Signal::Selected(candidate) => (candidate, Stand::Selected),
                Signal::Proven { candidate, actor } => (candidate, Stand::Proven(actor)),
                Signal::Denied { candidate, actor } => (candidate, Stand::Denied(actor)),
                Signal::Identified(actor) => {
                    claims.identified.push((actor, by));
                    continue;
                }
                Signal::Invalid(error) => {
                    invalid = invalid.or(Some(error));
                    continue;
                }
                Signal::Pending(_) => unreachable!("waited for before"),
            };
            claims.named.push(Named { candidate, stand, by });
        }
        if let Some(error) = invalid {
            return Err(error);
        }
        if !claims.identified.is_empty() && !has_members {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "a source says who is calling and not whose data it is; give the resolver `members`",
            ));
        }
        if claims.named.is_empty() {
            return Err(Error::new(ErrorKind::TenantMissing, "this request names no tenant"));
        }
        if !claims.is_enough() {
            return Err(Error::new(
                ErrorKind::CredentialMissing,
                "this route needs a credential, and the request holds none",
            ));
        }
        Ok(claims)
    }

    fn is_enough(&self) -> bool {
        self.demand == Demand::Selection
            || !self.identified.is_empty()
            || self.named.iter().any(|named| named.holder().is_some())
    }

    /// What has to be looked up, in order.
    pub(super) fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.named.iter().map(|named| &named.candidate)
    }

    /// The one tenant that all name, of what was found for each.
    pub(super) fn agree(&self, found: &[Option<Arc<Tenant>>]) -> Result<Arc<Tenant>, Refusal> {
        // Whether the tenant exists for which a credential may not speak is nothing for its holder to know.
        if self.named.iter().any(|named| matches!(named.stand, Stand::Denied(_))) {
            return Err(self.conflict(found, true));
        }
        // A credential for a tenant that is gone stays unknown, and beside one that holds a name that does not
        // exist is answered like a name that belongs to somebody else: neither tells which tenants there are.
        let (mut proofs, mut ghosts) = (0, 0);
        for (_, tenant) in self.named.iter().zip(found).filter(|(named, _)| named.holder().is_some()) {
            proofs += 1;
            ghosts += usize::from(tenant.is_none());
        }
        if (proofs > 0 && ghosts == proofs) || found.iter().all(Option::is_none) {
            return Err(unknown_tenant().into());
        }
        let first = found.first().cloned().flatten();
        let same = |first: &Arc<Tenant>| {
            found.iter().all(|other| other.as_ref().is_some_and(|other| other.id() == first.id()))
        };
        first.filter(same).ok_or_else(|| self.conflict(found, false))
    }

    fn conflict(&self, found: &[Option<Arc<Tenant>>], denied: bool) -> Refusal {
        let reason = if denied { "issuer" } else { "conflict" };
        warn!(reason, sources = ?self.ways(), "the sources of a request do not agree on a tenant");
        let holders = self
            .named
            .iter()
            .zip(found)
            .filter_map(|(named, tenant)| Some(self.event(tenant.as_ref()?, named.holder()?, reason)));
        let text = if denied {
            "this credential may not speak for the tenant that it names"
        } else {
            "this request names more than one tenant; name one, or the same everywhere"
        };
        Refusal { told: holders.collect(), error: Error::new(ErrorKind::TenantConflict, text) }
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
    pub(super) fn without(&mut self, strangers: &[Actor], tenant: &Tenant) -> Result<(), Refusal> {
        let Some(stranger) = strangers.first() else { return Ok(()) };
        let holds = self.named.iter().filter_map(Named::holder).any(|actor| strangers.contains(actor));
        self.identified.retain(|(actor, _)| !strangers.contains(actor));
        if self.demand == Demand::Selection && !holds {
            return Ok(());
        }
        debug!("somebody who is no member of the tenant");
        // The same as for a tenant that does not exist.
        Err(Refusal { error: unknown_tenant(), told: vec![self.event(tenant, stranger, "not a member")] })
    }

    /// The context, if the tenant is open.
    pub(super) fn admit(&self, directory: &Directory, tenant: Arc<Tenant>) -> Result<TenantContext> {
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
