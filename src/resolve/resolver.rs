use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tracing::{debug, warn};

use super::view::RequestView;
use super::{Candidate, Signal, Source};
use crate::context::{Actor, Directory, ResolvedBy, TenantContext, unknown_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Tenant, TenantStore};

/// Reads every source of a request and answers with its one tenant, or with the reason why there is none.
///
/// - All sources are read, always. One that is [`Invalid`](Signal::Invalid) refuses the request.
/// - Everything that was named is looked up and compared by id. Two different tenants refuse the request.
/// - There is no default tenant, and nothing else is tried after a lookup that found none.
///
/// So one more selecting source can turn a success into a refusal, but never change which tenant is reached.
#[derive(Debug)]
#[must_use]
pub struct Resolver {
    directory: Directory,
    sources: Vec<Box<dyn Source>>,
}

impl Resolver {
    /// A resolver without a source yet: it refuses every request.
    pub fn new(directory: Directory) -> Self {
        Self { directory, sources: Vec::new() }
    }

    /// With one more source. The order decides nothing but whose actor is taken when several sources prove
    /// the same tenant: the first.
    pub fn source(mut self, source: impl Source + 'static) -> Self {
        self.sources.push(Box::new(source));
        self
    }

    /// The tenant of a request that proves who is calling.
    ///
    /// # Errors
    /// [`ErrorKind::TenantMissing`] if no source named a tenant, [`ErrorKind::CredentialMissing`] if none
    /// proved one, [`ErrorKind::TenantConflict`] if two disagree, [`ErrorKind::TenantUnknown`],
    /// [`ErrorKind::TenantSuspended`], [`ErrorKind::TenantInactive`], the error of a source that is invalid,
    /// or [`ErrorKind::StoreUnavailable`].
    pub fn resolve(&self, request: &dyn RequestView) -> Resolving {
        self.start(request, Demand::Evidence)
    }

    /// The tenant of a request on a public route, where a selection suffices: without proof the actor is
    /// [`Actor::Anonymous`].
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), without [`ErrorKind::CredentialMissing`]. To a caller without proof, a
    /// tenant that is not open looks like one that does not exist.
    ///
    /// # Security
    /// Anybody can select any tenant. Serve only what the whole world may see, such as a login page.
    pub fn resolve_public(&self, request: &dyn RequestView) -> Resolving {
        self.start(request, Demand::Selection)
    }

    /// The request headers that decide the tenant, in lower case, for the `Vary` header of responses.
    pub fn vary(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| source.vary())
    }

    fn start(&self, request: &dyn RequestView, demand: Demand) -> Resolving {
        let named = match self.read(request, demand) {
            Ok(named) => named,
            Err(error) => return Resolving::ready(Err(error)),
        };
        let store = self.directory.store();
        let mut found = Vec::with_capacity(named.len());
        for Named { candidate, .. } in &named {
            match peek(store.as_ref(), candidate) {
                Some(tenant) => found.push(Some(tenant)),
                None => return self.look_up(named),
            }
        }
        Resolving::ready(decide(&self.directory, named, found))
    }

    /// What all sources say together, before anything is looked up: the answer does not depend on what a
    /// cache happens to hold.
    fn read(&self, request: &dyn RequestView, demand: Demand) -> Result<Vec<Named>> {
        let mut named = Vec::new();
        let mut invalid = None;
        for source in &self.sources {
            let by = source.resolved_by();
            match source.read(request) {
                Signal::Absent => {}
                Signal::Selected(candidate) => named.push(Named { candidate, proof: None, by }),
                Signal::Proven { candidate, actor } => {
                    named.push(Named { candidate, proof: Some(actor), by });
                }
                Signal::Invalid(error) => invalid = invalid.or(Some(error)),
            }
        }
        if let Some(error) = invalid {
            return Err(error);
        }
        if named.is_empty() {
            return Err(Error::new(ErrorKind::TenantMissing, "this request names no tenant"));
        }
        if demand == Demand::Evidence && named.iter().all(|named| named.proof.is_none()) {
            return Err(Error::new(
                ErrorKind::CredentialMissing,
                "this route needs a credential, and the request holds none",
            ));
        }
        Ok(named)
    }

    /// The way through the store, for what is not at hand.
    fn look_up(&self, named: Vec<Named>) -> Resolving {
        let directory = self.directory.clone();
        Resolving(State::Pending(Box::pin(async move {
            let store = directory.store();
            let mut found = Vec::with_capacity(named.len());
            for Named { candidate, .. } in &named {
                found.push(match candidate {
                    Candidate::Id(id) => store.by_id(id).await?,
                    Candidate::Slug(slug) => store.by_slug(slug).await?,
                });
            }
            decide(&directory, named, found)
        })))
    }
}

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    Evidence,
    Selection,
}

/// A candidate with what stands behind it.
struct Named {
    candidate: Candidate,
    proof: Option<Actor>,
    by: ResolvedBy,
}

fn peek(store: &dyn TenantStore, candidate: &Candidate) -> Option<Arc<Tenant>> {
    match candidate {
        Candidate::Id(id) => store.peek_id(id),
        Candidate::Slug(slug) => store.peek_slug(slug),
    }
}

/// Lets one tenant through, or none.
fn decide(
    directory: &Directory,
    named: Vec<Named>,
    found: Vec<Option<Arc<Tenant>>>,
) -> Result<TenantContext> {
    // A credential for a tenant that is gone stays unknown, and beside one that holds a name that does not
    // exist is answered like a name that belongs to somebody else: neither tells which tenants there are.
    let proven = named.iter().zip(&found).filter(|(named, _)| named.proof.is_some());
    let (mut proofs, mut ghosts) = (0, 0);
    for (_, tenant) in proven {
        proofs += 1;
        ghosts += usize::from(tenant.is_none());
    }
    if (proofs > 0 && ghosts == proofs) || found.iter().all(Option::is_none) {
        return Err(unknown_tenant());
    }
    let mut tenants = found.into_iter();
    let first = tenants.next().flatten();
    let agreed =
        first.filter(|first| tenants.all(|other| other.is_some_and(|other| other.id() == first.id())));
    let Some(tenant) = agreed else {
        warn!(sources = ?named.iter().map(|named| named.by).collect::<Vec<_>>(), "sources disagree");
        return Err(Error::new(
            ErrorKind::TenantConflict,
            "this request names more than one tenant; name one, or the same everywhere",
        ));
    };
    let by = named[0].by;
    match named.into_iter().find_map(|named| named.proof.map(|actor| (actor, named.by))) {
        Some((actor, by)) => directory.admit(tenant, actor, by),
        None => directory.admit(tenant, Actor::Anonymous, by).map_err(|error| match error.kind() {
            ErrorKind::TenantSuspended | ErrorKind::TenantInactive => {
                debug!(reason = error.kind().code(), "hidden from a caller without proof");
                unknown_tenant()
            }
            _ => error,
        }),
    }
}

/// The future of a [`Resolver`]: ready at once when every named tenant is at hand.
#[must_use = "futures do nothing unless polled"]
pub struct Resolving(State);

enum State {
    Ready(Option<Result<TenantContext>>),
    Pending(Pin<Box<dyn Future<Output = Result<TenantContext>> + Send>>),
}

impl Future for Resolving {
    type Output = Result<TenantContext>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(result) => Poll::Ready(result.take().expect("not polled again after it was ready")),
            State::Pending(future) => future.as_mut().poll(context),
        }
    }
}

impl Resolving {
    fn ready(result: Result<TenantContext>) -> Self {
        Self(State::Ready(Some(result)))
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

impl fmt::Debug for Resolving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.0 {
            State::Ready(_) => "Ready",
            State::Pending(_) => "Pending",
        };
        f.debug_tuple("Resolving").field(&state).finish()
    }
}
