use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tracing::error;

use super::evidence::{Demand, Evidence, Rejection};
use super::membership::Membership;
use super::view::RequestView;
use super::{Candidate, Source, SourceOutcome, metrics};
use crate::audit::AuditSink;
use crate::context::{TenantContext, TenantDirectory};
use crate::error::{Error, Result};
use crate::tenant::{Tenant, TenantStore};

/// Reads every source of a request and answers with its one tenant, or with the reason why there is none.
///
/// - All sources are read, always. One that is [`Invalid`](SourceOutcome::Invalid) refuses the request.
/// - Everything that was named is looked up and compared by id. Two different tenants refuse the request.
/// - There is no default tenant, and nothing else is tried after a lookup that found none.
///
/// So one more selecting source can turn a success into a refusal, but never change which tenant is reached.
#[must_use]
pub struct Resolver {
    sources: Vec<Box<dyn Source>>,
    gate: Decision,
}

/// What decides, once every source was read.
#[derive(Clone)]
struct Decision {
    directory: TenantDirectory,
    members: Option<Arc<dyn Membership>>,
    trail: Option<Arc<dyn AuditSink>>,
}

impl Resolver {
    /// A resolver without a source yet: it refuses every request.
    pub fn new(directory: TenantDirectory) -> Self {
        Self { sources: Vec::new(), gate: Decision { directory, members: None, trail: None } }
    }

    /// With one more source. The order decides nothing but whose actor is taken when several sources prove
    /// the same tenant: the first.
    pub fn source(mut self, source: impl Source + 'static) -> Self {
        self.sources.push(Box::new(source));
        self
    }

    /// Asks this, too, about every person whom a credential names.
    pub fn members(mut self, members: impl Membership + 'static) -> Self {
        self.gate.members = Some(Arc::new(members));
        self
    }

    /// Tells the trail of a tenant of every credential that was used against another name, for another issuer's
    /// tenant, or by somebody who is no member.
    ///
    /// What proves nothing is logged only: otherwise anybody could fill a tenant's trail.
    ///
    /// # Security
    /// Each such request is an event, and who holds a credential can send many: limit their rate in front. The actor of an
    /// event is whom the credential names; an issuer of a customer's may call its people what it likes.
    pub fn audit_sink(mut self, trail: Arc<dyn AuditSink>) -> Self {
        self.gate.trail = Some(trail);
        self
    }

    /// The tenant of a request that proves who is calling.
    ///
    /// # Errors
    /// [`TenantMissing`] if no source named a tenant, [`CredentialMissing`] if none proved one, [`TenantConflict`] if two
    /// disagree, [`TenantUnknown`], [`TenantSuspended`], [`TenantInactive`], the error of a source that is invalid,
    /// [`Misconfigured`] if somebody is known without their tenant and no [`Membership`] can be asked, or
    /// [`StoreUnavailable`].
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
        self.start(request, Demand::Evidence)
    }

    /// The tenant of a request on a public route, where a selection suffices: without proof the actor is
    /// [anonymous](crate::context::Actor::Anonymous).
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), without [`CredentialMissing`](crate::ErrorKind::CredentialMissing). To a caller without proof, a
    /// tenant that is not open looks like one that does not exist.
    ///
    /// # Security
    /// Anybody can select any tenant. Serve only what the whole world may see, such as a login page.
    pub fn resolve_unauthenticated(&self, request: &dyn RequestView) -> ResolveFuture {
        self.start(request, Demand::Selection)
    }

    /// The request headers that decide the tenant, in lower case, for the `Vary` header of responses.
    pub fn vary(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| source.vary())
    }

    fn start(&self, request: &dyn RequestView, demand: Demand) -> ResolveFuture {
        let mut claims = Evidence::new(demand);
        let mut said = self.sources.iter().map(|source| (source.resolved_by(), source.read(request)));
        while let Some((by, signal)) = said.next() {
            if let Some(later) = claims.add(by, signal) {
                // All are read now, as the request does not stay; in their order, as the first decides whose actor it is.
                let mut rest = vec![(by, SourceOutcome::Pending(later))];
                rest.extend(said);
                let gate = self.gate.clone();
                return ResolveFuture::pending(async move {
                    for (by, mut signal) in rest {
                        while let Some(later) = claims.add(by, signal) {
                            signal = later.await;
                        }
                    }
                    gate.weigh(claims).await
                });
            }
        }
        self.gate.weigh(claims)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("directory", &self.gate.directory)
            .field("sources", &self.sources)
            .field("members", &self.gate.members)
            .field("trail", &self.gate.trail)
            .finish()
    }
}

impl Decision {
    /// What the sources say together, and whose it is: at once, if all that is needed for it is at hand.
    fn weigh(&self, mut claims: Evidence) -> ResolveFuture {
        if let Err(error) = claims.check(self.members.is_some()) {
            return ResolveFuture::ready(counted(Err(error)));
        }
        if let Some(result) = self.at_hand(&mut claims) {
            return ResolveFuture::ready(counted(result));
        }
        let gate = self.clone();
        ResolveFuture::pending(async move { counted(gate.ask(claims).await) })
    }

    fn at_hand(&self, claims: &mut Evidence) -> Option<Result<TenantContext>> {
        let store = self.directory.store().as_ref();
        for (candidate, found) in claims.candidates() {
            *found = Some(peek(store, candidate)?);
        }
        match claims.agree() {
            Ok(tenant) => {
                if let Some(members) = &self.members {
                    for person in claims.people() {
                        if !members.peek(tenant.id(), person)? {
                            return None;
                        }
                    }
                }
                Some(claims.admit(&self.directory, tenant))
            }
            Err(Rejection { error, told }) => (told.is_empty() || self.trail.is_none()).then_some(Err(error)),
        }
    }

    async fn ask(&self, mut claims: Evidence) -> Result<TenantContext> {
        let store = self.directory.store();
        for (candidate, found) in claims.candidates() {
            *found = match candidate {
                Candidate::Id(id) => store.by_id(id).await?,
                Candidate::Slug(slug) => store.by_slug(slug).await?,
            };
        }
        let tenant = match claims.agree() {
            Ok(tenant) => tenant,
            Err(refusal) => return Err(self.tell(refusal).await),
        };
        if let Some(members) = &self.members {
            let mut strangers = Vec::new();
            for person in claims.people() {
                if !members.is_member(tenant.id(), person).await? {
                    strangers.push(person.clone());
                }
            }
            if let Err(refusal) = claims.without(&strangers, &tenant) {
                return Err(self.tell(refusal).await);
            }
        }
        claims.admit(&self.directory, tenant)
    }

    /// Tells the trail of a refusal. That it could not be told makes it no less of one.
    async fn tell(&self, Rejection { error, told }: Rejection) -> Error {
        if let Some(trail) = &self.trail
            && !told.is_empty()
            && let Err(failure) = trail.write(&told).await
        {
            error!(%failure, events = told.len(), "a refusal could not be written to the audit trail");
        }
        error
    }
}

fn counted(result: Result<TenantContext>) -> Result<TenantContext> {
    metrics::resolved(&result);
    result
}

fn peek(store: &dyn TenantStore, candidate: &Candidate) -> Option<Arc<Tenant>> {
    match candidate {
        Candidate::Id(id) => store.peek_id(id),
        Candidate::Slug(slug) => store.peek_slug(slug),
    }
}

/// The future of a [`Resolver`]: ready at once when every named tenant is at hand.
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

    /// The answer, if it is there without waiting.
    ///
    /// # Errors
    /// Gives the future back if a store must be asked.
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
        f.debug_tuple("Resolving").field(&state).finish()
    }
}
