//! Reads the sources of a request and queries the stores. What the results mean is decided in `decision.rs`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tracing::{debug, error, warn};

use super::candidate::Candidate;
use super::decision::{Cause, Evidence, Rejection, Requirement, is_hidden_from_anonymous};
use super::membership::Membership;
use super::metrics;
use super::source::{Source, SourceOutcome, span_without_tenant};
use super::view::RequestView;
use crate::audit::AuditSink;
use crate::context::{Actor, TenantContext, TenantDirectory, unknown_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Tenant, TenantStore};

/// Finds the tenant of a request: reads every [`Source`], and returns a [`TenantContext`] or the reason for
/// rejection.
///
/// - Every source is read on every request. An [`Invalid`](SourceOutcome::Invalid) source rejects the request.
/// - Every named tenant is looked up and compared by id. Two different tenants reject the request.
/// - There is no default tenant, and no fallback after a lookup that finds no tenant.
///
/// So a further unverified source can reject a request that was accepted, but never change which tenant it reaches.
///
/// See the [module](super) for an example.
#[must_use]
pub struct Resolver {
    sources: Vec<Box<dyn Source>>,
    backends: Backends,
}

/// What is queried and written after the sources were read.
#[derive(Clone)]
struct Backends {
    directory: TenantDirectory,
    membership: Option<Arc<dyn Membership>>,
    audit: Option<Arc<dyn AuditSink>>,
    /// The schemes of the sources, for `WWW-Authenticate`.
    challenge: Option<Arc<str>>,
}

impl Resolver {
    /// A resolver without sources: it rejects every request until [`source`](Self::source) adds one.
    pub fn new(directory: TenantDirectory) -> Self {
        Self {
            sources: Vec::new(),
            backends: Backends { directory, membership: None, audit: None, challenge: None },
        }
    }

    /// Adds a source. The order matters in one case only: when several sources verify the same tenant, the first
    /// one's actor is the actor of the context.
    pub fn source(mut self, source: impl Source + 'static) -> Self {
        self.backends.challenge = with_scheme(self.backends.challenge.take(), source.challenge());
        self.sources.push(Box::new(source));
        self
    }

    /// Checks the membership of every person whom a credential names.
    pub fn members(mut self, members: impl Membership + 'static) -> Self {
        self.backends.membership = Some(Arc::new(members));
        self
    }

    /// Writes an audit event when a verified credential is used with another tenant's name, by an issuer that may not
    /// act for the tenant, or by a person who is no member.
    ///
    /// Every other rejection is only logged. Otherwise a caller without a credential could fill a tenant's audit log.
    ///
    /// # Security
    /// Every such request writes an event, and the holder of a credential can send many: limit their rate before the
    /// resolver. The actor of the event is the one that the credential names. An issuer that a customer runs can put
    /// any name there.
    pub fn audit_sink(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.backends.audit = Some(sink);
        self
    }

    /// Finds the tenant of a request that must hold a verified credential.
    ///
    /// # Errors
    /// [`TenantMissing`] if no source names a tenant, [`CredentialMissing`] if no credential is verified,
    /// [`TenantConflict`] if two sources disagree, [`TenantUnknown`], [`TenantSuspended`], [`TenantInactive`], the
    /// error of an invalid source, [`Misconfigured`] if a credential names no tenant and the resolver has no
    /// [`Membership`], or [`StoreUnavailable`].
    ///
    /// [`TenantMissing`]: crate::ErrorKind::TenantMissing
    /// [`CredentialMissing`]: crate::ErrorKind::CredentialMissing
    /// [`TenantConflict`]: crate::ErrorKind::TenantConflict
    /// [`TenantUnknown`]: crate::ErrorKind::TenantUnknown
    /// [`TenantSuspended`]: crate::ErrorKind::TenantSuspended
    /// [`TenantInactive`]: crate::ErrorKind::TenantInactive
    /// [`Misconfigured`]: crate::ErrorKind::Misconfigured
    /// [`StoreUnavailable`]: crate::ErrorKind::StoreUnavailable
    pub fn resolve(&self, request: &dyn RequestView) -> ResolveFuture {
        self.start(request, Requirement::Credential)
    }

    /// Finds the tenant of a request on a public route, where an unverified hint suffices. Without a credential the
    /// actor is [anonymous](crate::context::Actor::Anonymous).
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), without [`CredentialMissing`](crate::ErrorKind::CredentialMissing). To an
    /// anonymous caller, a suspended or inactive tenant looks like one that does not exist.
    ///
    /// # Security
    /// Any caller can name any tenant. Serve only public content, such as a login page.
    pub fn resolve_unauthenticated(&self, request: &dyn RequestView) -> ResolveFuture {
        self.start(request, Requirement::TenantName)
    }

    /// The request headers that decide the tenant, in lower case, for the `Vary` header of responses.
    pub fn vary(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| source.vary())
    }

    /// Whether a source can return a verified credential.
    #[cfg(any(feature = "tower", feature = "actix-web"))]
    pub(crate) fn verifies(&self) -> bool {
        self.sources.iter().any(|source| source.verifies())
    }

    fn start(&self, request: &dyn RequestView, requirement: Requirement) -> ResolveFuture {
        let mut evidence = Evidence::new(requirement);
        let mut outcomes = self.sources.iter().map(|source| (source.resolved_by(), source.read(request)));
        while let Some((by, outcome)) = outcomes.next() {
            if let Some(pending) = evidence.add(by, outcome) {
                // The future does not borrow the request, so all sources are read now. They stay in their order,
                // because the first verified one provides the actor.
                let mut remaining = vec![(by, SourceOutcome::Pending(pending))];
                remaining.extend(outcomes);
                let backends = self.backends.clone();
                return ResolveFuture::pending(async move {
                    for (by, mut outcome) in remaining {
                        while let Some(pending) = evidence.add(by, outcome) {
                            outcome = pending.await;
                        }
                    }
                    backends.decide(evidence).await
                });
            }
        }
        self.backends.decide(evidence)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("directory", &self.backends.directory)
            .field("sources", &self.sources)
            .field("members", &self.backends.membership)
            .field("audit_sink", &self.backends.audit)
            .finish()
    }
}

impl Backends {
    /// Decides at once if the caches hold all that is needed; otherwise the future queries the stores.
    fn decide(&self, mut evidence: Evidence) -> ResolveFuture {
        if let Err(error) = evidence.check(self.membership.is_some()) {
            return ResolveFuture::ready(self.counted(Err(error)));
        }
        if let Some(result) = self.decide_from_caches(&mut evidence) {
            return ResolveFuture::ready(self.counted(result));
        }
        let backends = self.clone();
        ResolveFuture::pending(async move { backends.counted(backends.decide_from_stores(evidence).await) })
    }

    fn counted(&self, result: Result<TenantContext>) -> Result<TenantContext> {
        metrics::resolved(&result);
        result.map_err(|error| match (error.kind(), &self.challenge) {
            (ErrorKind::CredentialMissing | ErrorKind::CredentialInvalid, Some(challenge)) => {
                error.with_challenge(challenge.clone())
            }
            _ => error,
        })
    }

    /// `None` if a store must be queried or an audit event written.
    fn decide_from_caches(&self, evidence: &mut Evidence) -> Option<Result<TenantContext>> {
        let store = self.directory.store().as_ref();
        for (candidate, tenant) in evidence.lookups() {
            *tenant = Some(peek(store, candidate)?);
        }
        let tenant = match evidence.tenant() {
            Ok(tenant) => tenant,
            Err(rejection) if rejection.events.is_empty() || self.audit.is_none() => {
                return Some(Err(logged(rejection).error));
            }
            Err(_) => return None,
        };
        if let Some(membership) = &self.membership {
            for person in evidence.people() {
                if !membership.peek(tenant.id(), person)? {
                    return None;
                }
            }
        }
        Some(self.admit(evidence, tenant))
    }

    async fn decide_from_stores(&self, mut evidence: Evidence) -> Result<TenantContext> {
        let store = self.directory.store();
        for (candidate, tenant) in evidence.lookups() {
            *tenant = match candidate {
                Candidate::Id(id) => store.by_id(id).await?,
                Candidate::Slug(slug) => store.by_slug(slug).await?,
            };
        }
        let tenant = match evidence.tenant() {
            Ok(tenant) => tenant,
            Err(rejection) => return Err(self.record(rejection).await),
        };
        if let Some(membership) = &self.membership {
            let mut non_members = Vec::new();
            for person in evidence.people() {
                if !membership.is_member(tenant.id(), person).await? {
                    non_members.push(person.clone());
                }
            }
            if let Err(rejection) = evidence.remove_non_members(&non_members, &tenant) {
                return Err(self.record(rejection).await);
            }
        }
        self.admit(&evidence, tenant)
    }

    /// The context, if the status of the tenant allows one.
    fn admit(&self, evidence: &Evidence, tenant: Arc<Tenant>) -> Result<TenantContext> {
        let (actor, by) = evidence.caller();
        let is_anonymous = actor == Actor::Anonymous;
        self.directory.admit(tenant, actor, by).map_err(|error| {
            if is_anonymous && is_hidden_from_anonymous(error.kind()) {
                span_without_tenant().in_scope(|| {
                    debug!(reason = error.kind().code(), "status hidden from an anonymous caller");
                });
                return unknown_tenant();
            }
            error
        })
    }

    /// Logs a rejection and writes its audit events. A failure of the audit sink does not change the error.
    async fn record(&self, rejection: Rejection) -> Error {
        let Rejection { error, events, .. } = logged(rejection);
        if let Some(audit) = &self.audit
            && !events.is_empty()
            && let Err(failure) = audit.write(&events).await
        {
            span_without_tenant().in_scope(|| error!(%failure, events = events.len(), "a rejection could not be written to the audit log"));
        }
        error
    }
}

fn logged(rejection: Rejection) -> Rejection {
    let (reason, sources, tenants) = (rejection.cause.reason(), &rejection.sources, &rejection.tenants);
    match rejection.cause {
        Cause::Unknown => {}
        Cause::Forbidden | Cause::Disagreement => {
            span_without_tenant().in_scope(|| {
                warn!(reason, ?sources, ?tenants, "the sources of a request do not agree on a tenant");
            });
        }
        Cause::NotMember => {
            span_without_tenant().in_scope(|| debug!(?tenants, "the caller is not a member of the tenant"));
        }
    }
    rejection
}

/// The challenges with the scheme of one more source.
fn with_scheme(challenge: Option<Arc<str>>, scheme: Option<&str>) -> Option<Arc<str>> {
    match (challenge, scheme) {
        (challenge, None) => challenge,
        (None, Some(scheme)) => Some(scheme.into()),
        (Some(known), Some(scheme)) if known.split(", ").any(|one| one == scheme) => Some(known),
        (Some(known), Some(scheme)) => Some(format!("{known}, {scheme}").into()),
    }
}

fn peek(store: &dyn TenantStore, candidate: &Candidate) -> Option<Arc<Tenant>> {
    match candidate {
        Candidate::Id(id) => store.peek_id(id),
        Candidate::Slug(slug) => store.peek_slug(slug),
    }
}

/// The future of a [`Resolver`]. It is ready at once when the caches hold everything that it needs.
#[must_use = "futures do nothing unless polled"]
pub struct ResolveFuture(State);

enum State {
    Ready(Option<Result<TenantContext>>),
    Pending(Pin<Box<dyn Future<Output = Result<TenantContext>> + Send>>),
}

impl Future for ResolveFuture {
    type Output = Result<TenantContext>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(result) => Poll::Ready(result.take().expect("not polled again after it was ready")),
            State::Pending(future) => future.as_mut().poll(context),
        }
    }
}

impl ResolveFuture {
    fn ready(result: Result<TenantContext>) -> Self {
        Self(State::Ready(Some(result)))
    }

    fn pending(future: impl Future<Output = Result<TenantContext>> + Send + 'static) -> Self {
        Self(State::Pending(Box::pin(future)))
    }

    /// The result, if it is ready without waiting.
    ///
    /// # Errors
    /// Returns the future unchanged if a store must be queried.
    pub fn at_hand(self) -> Result<Result<TenantContext>, Self> {
        match self.0 {
            State::Ready(Some(result)) => Ok(result),
            other => Err(Self(other)),
        }
    }
}

impl fmt::Debug for ResolveFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.0 {
            State::Ready(_) => "Ready",
            State::Pending(_) => "Pending",
        };
        f.debug_tuple("ResolveFuture").field(&state).finish()
    }
}
