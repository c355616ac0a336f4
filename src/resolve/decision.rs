//! Decides which tenant a request reaches, and for which caller. No I/O: `resolver.rs` queries the stores and logs.
//!
//! The steps run in this order, and the first row that fits decides:
//!
//! | step | what was found | result |
//! |---|---|---|
//! | [`check`](Evidence::check) | a source is `Invalid` | the error of that source |
//! | | a source is `VerifiedActor`, and the resolver has no `Membership` | `Misconfigured` |
//! | | no source names a tenant | `TenantMissing` |
//! | | no verified credential, where [`Requirement::Credential`] holds | `CredentialMissing` |
//! | [`tenant`](Evidence::tenant) | a source is `Forbidden` | `TenantConflict`, audited |
//! | | there are credentials for tenants, and none of these tenants exists | `TenantUnknown` |
//! | | all sources give the same name, and no tenant has it | `TenantUnknown` |
//! | | a name has no tenant, or two names have different tenants | `TenantConflict`, audited |
//! | | all names have the same tenant | next step |
//! | [`remove_non_members`](Evidence::remove_non_members) | a person whose credential names the tenant is no member | `TenantUnknown`, audited |
//! | | a caller known without a tenant is no member, where [`Requirement::Credential`] holds | `TenantUnknown`, audited |
//! | | the same, where [`Requirement::TenantName`] holds | next step, without this caller |
//! | [`caller`](Evidence::caller) | a verified credential for the tenant | the actor of the first one |
//! | | a caller known without a tenant | the first such caller |
//! | | neither | `Anonymous` |
//!
//! The directory then checks the status of the tenant. [`is_hidden_from_anonymous`] lists the statuses that an
//! anonymous caller must not learn.
//!
//! An audited conflict yields one event for each existing tenant that a credential names, and an audited non-member
//! yields one. Other rejections yield none.

use std::sync::Arc;

use uuid::Uuid;

use super::candidate::Candidate;
use super::source::{OutcomeFuture, SourceOutcome};
use crate::audit::{AuditEvent, Outcome};
use crate::context::{Actor, ResolvedBy, unknown_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Tenant, TenantId};

/// What a route requires of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requirement {
    /// A verified credential.
    Credential,
    /// The name of a tenant, verified or not.
    TenantName,
}

/// The outcomes of all sources of one request.
pub(super) struct Evidence {
    requirement: Requirement,
    claims: Vec<Claim>,
    /// Callers whose credentials name no tenant.
    callers: Vec<(Actor, ResolvedBy)>,
    invalid: Option<Error>,
}

/// A tenant as one source names it.
struct Claim {
    candidate: Candidate,
    proof: Proof,
    by: ResolvedBy,
    /// The tenant of the candidate, after the lookup.
    tenant: Option<Arc<Tenant>>,
}

enum Proof {
    /// An unverified hint.
    None,
    /// A verified credential for this tenant.
    Credential(Actor),
    /// A verified credential that may not act for this tenant.
    Forbidden(Actor),
}

impl Claim {
    /// The actor of a verified credential.
    fn actor(&self) -> Option<&Actor> {
        match &self.proof {
            Proof::None => None,
            Proof::Credential(actor) | Proof::Forbidden(actor) => Some(actor),
        }
    }
}

/// Why a request is rejected.
pub(super) struct Rejection {
    pub(super) error: Error,
    pub(super) cause: Cause,
    /// The sources that took part, for the log.
    pub(super) sources: Vec<ResolvedBy>,
    /// The existing tenants that the request names, for the log.
    pub(super) tenants: Vec<TenantId>,
    /// For the audit logs of the tenants concerned.
    pub(super) events: Vec<AuditEvent>,
}

/// The cause of a [`Rejection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// No tenant has the name.
    Unknown,
    /// A credential names a tenant that it may not act for.
    Forbidden,
    /// The sources name different tenants.
    Disagreement,
    /// The caller is not a member of the tenant.
    NotMember,
}

impl Cause {
    /// The `reason` in the log and in audit events.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Forbidden => "issuer",
            Self::Disagreement => "conflict",
            Self::NotMember => "not a member",
        }
    }
}

impl Evidence {
    pub(super) fn new(requirement: Requirement) -> Self {
        Self { requirement, claims: Vec::new(), callers: Vec::new(), invalid: None }
    }

    /// Adds the outcome of a source, or returns its future if the outcome is pending.
    pub(super) fn add(&mut self, by: ResolvedBy, outcome: SourceOutcome) -> Option<OutcomeFuture> {
        let (candidate, proof) = match outcome {
            // An anonymous actor proves nothing.
            SourceOutcome::Absent | SourceOutcome::VerifiedActor(Actor::Anonymous) => return None,
            SourceOutcome::Unverified(candidate)
            | SourceOutcome::Verified { candidate, actor: Actor::Anonymous } => (candidate, Proof::None),
            SourceOutcome::Verified { candidate, actor } => (candidate, Proof::Credential(actor)),
            SourceOutcome::Forbidden { candidate, actor } => (candidate, Proof::Forbidden(actor)),
            SourceOutcome::VerifiedActor(actor) => {
                self.callers.push((actor, by));
                return None;
            }
            SourceOutcome::Invalid(error) => {
                self.invalid.get_or_insert(error);
                return None;
            }
            SourceOutcome::Pending(future) => return Some(future),
        };
        self.claims.push(Claim { candidate, proof, by, tenant: None });
        None
    }

    /// Rejects what needs no lookup. One invalid source rejects the request, so the result never depends on what a
    /// cache holds.
    pub(super) fn check(&mut self, has_membership: bool) -> Result<()> {
        if let Some(error) = self.invalid.take() {
            return Err(error);
        }
        if !self.callers.is_empty() && !has_membership {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "a source verifies who is calling and names no tenant; give the resolver `members`",
            ));
        }
        if self.claims.is_empty() {
            return Err(Error::new(ErrorKind::TenantMissing, "this request names no tenant"));
        }
        if self.requirement == Requirement::Credential && !self.has_credential() {
            return Err(Error::new(
                ErrorKind::CredentialMissing,
                "this route needs a credential, and the request holds none",
            ));
        }
        Ok(())
    }

    fn has_credential(&self) -> bool {
        !self.callers.is_empty() || self.claims.iter().any(|claim| claim.actor().is_some())
    }

    /// The candidates to look up, in the order of their sources, each with the place for its tenant.
    pub(super) fn lookups(&mut self) -> impl Iterator<Item = (&Candidate, &mut Option<Arc<Tenant>>)> {
        self.claims.iter_mut().map(|claim| (&claim.candidate, &mut claim.tenant))
    }

    /// The tenant on which all sources agree, after the lookups.
    pub(super) fn tenant(&self) -> Result<Arc<Tenant>, Rejection> {
        // The holder of a forbidden credential must not learn whether the tenant exists.
        if self.claims.iter().any(|claim| matches!(claim.proof, Proof::Forbidden(_))) {
            return Err(self.conflict(Cause::Forbidden));
        }
        // A credential whose tenant no longer exists yields `TenantUnknown`. Beside a valid credential, a name
        // without a tenant yields the same error as the name of another tenant. Neither reveals which tenants exist.
        let (mut credentials, mut without_tenant) = (0, 0);
        for claim in self.claims.iter().filter(|claim| claim.actor().is_some()) {
            credentials += 1;
            without_tenant += usize::from(claim.tenant.is_none());
        }
        // For the same reason, two different names without a tenant are a conflict, too.
        let none_exists = self.claims.iter().all(|claim| claim.tenant.is_none());
        let one_name = self.claims.windows(2).all(|two| two[0].candidate == two[1].candidate);
        if (credentials > 0 && without_tenant == credentials) || (none_exists && one_name) {
            return Err(self.rejection(Cause::Unknown, unknown_tenant(), Vec::new()));
        }
        let first = self.claims.first().and_then(|claim| claim.tenant.clone());
        let names = |claim: &Claim, tenant: &Tenant| {
            claim.tenant.as_ref().is_some_and(|named| named.id() == tenant.id())
        };
        let all_agree = |tenant: &Arc<Tenant>| self.claims.iter().all(|claim| names(claim, tenant));
        first.filter(all_agree).ok_or_else(|| self.conflict(Cause::Disagreement))
    }

    fn conflict(&self, cause: Cause) -> Rejection {
        let event = |claim: &Claim| Some(self.event(claim.tenant.as_ref()?, claim.actor()?, cause));
        let events = self.claims.iter().filter_map(event).collect();
        let text = match cause {
            Cause::Forbidden => "this credential may not act for the tenant that it names",
            _ => "this request names several tenants; name one, or the same everywhere",
        };
        self.rejection(cause, Error::new(ErrorKind::TenantConflict, text), events)
    }

    fn rejection(&self, cause: Cause, error: Error, events: Vec<AuditEvent>) -> Rejection {
        Rejection { error, cause, sources: self.sources(), tenants: self.tenants(), events }
    }

    fn event(&self, tenant: &Tenant, actor: &Actor, cause: Cause) -> AuditEvent {
        let (id, plan) = (tenant.id().clone(), tenant.plan().to_owned());
        AuditEvent::with_actor(id, actor.clone(), Uuid::now_v7(), plan, "request.reject".to_owned())
            .outcome(Outcome::Denied)
            .detail("reason", cause.reason())
            .detail("sources", format!("{:?}", self.sources()))
    }

    fn tenants(&self) -> Vec<TenantId> {
        let mut tenants = Vec::new();
        for tenant in self.claims.iter().filter_map(|claim| claim.tenant.as_ref()) {
            if !tenants.contains(tenant.id()) {
                tenants.push(tenant.id().clone());
            }
        }
        tenants
    }

    fn sources(&self) -> Vec<ResolvedBy> {
        let claims = self.claims.iter().map(|claim| claim.by);
        claims.chain(self.callers.iter().map(|(_, by)| *by)).collect()
    }

    /// The actors whose membership is checked: people, and every caller whose credential names no tenant.
    pub(super) fn people(&self) -> impl Iterator<Item = &Actor> {
        let holders = self.claims.iter().filter_map(Claim::actor);
        let people = holders.filter(|actor| matches!(actor, Actor::User(_)));
        people.chain(self.callers.iter().map(|(actor, _)| actor))
    }

    /// Removes callers that are not members of the tenant. On a public route such a caller becomes anonymous,
    /// unless a credential of theirs names the tenant.
    pub(super) fn remove_non_members(
        &mut self,
        non_members: &[Actor],
        tenant: &Tenant,
    ) -> Result<(), Rejection> {
        let Some(first) = non_members.first() else { return Ok(()) };
        let mut holders = self.claims.iter().filter_map(Claim::actor);
        let holds_credential = holders.any(|actor| non_members.contains(actor));
        self.callers.retain(|(actor, _)| !non_members.contains(actor));
        if self.requirement == Requirement::TenantName && !holds_credential {
            return Ok(());
        }
        // The same error as for a tenant that does not exist.
        let events = vec![self.event(tenant, first, Cause::NotMember)];
        Err(self.rejection(Cause::NotMember, unknown_tenant(), events))
    }

    /// The caller of the request, and the source that found the caller.
    pub(super) fn caller(&self) -> (Actor, ResolvedBy) {
        let holder = self.claims.iter().find_map(|claim| Some((claim.actor()?.clone(), claim.by)));
        let anonymous = || (Actor::Anonymous, self.claims[0].by);
        holder.or_else(|| self.callers.first().cloned()).unwrap_or_else(anonymous)
    }
}

/// Whether an anonymous caller gets the error of an unknown tenant instead of this one.
pub(super) fn is_hidden_from_anonymous(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::TenantSuspended | ErrorKind::TenantInactive)
}
