//! The proof of who is calling: [`TenantContext`], and the [`TenantDirectory`] that alone can make one.
//!
//! A context says that a tenant exists, is open for requests, and what its plan allows. Everything that touches
//! a tenant's data asks for one, so code that has none cannot reach any.
//!
//! It is a value, and goes where values go: a task gets a clone, and [`in_span`](TenantContext::in_span) puts its
//! tenant on the task's log lines. Through a queue it goes in an `Envelope`. What stays open for long, such as a
//! websocket, asks again by [`Revalidator`]. A login that goes by way of an identity provider comes back to its tenant by
//! the `state` of `LoginStateKeys`.
//!
//! ```
//! use std::sync::Arc;
//! use tenancy::context::{Actor, TenantDirectory};
//! # use tenancy::{plan::Catalog, store::MemoryStore, tenant::{NewTenant, Slug, TenantStatus, TenantStore}};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
//! # let store = Arc::new(MemoryStore::new());
//! # let catalog = Arc::new(Catalog::from_toml("version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }")?);
//! # let acme = store.insert(NewTenant::new(Slug::parse("acme")?, "Acme", "free").status(TenantStatus::Active)).await?;
//! # let acme = acme.id().clone();
//! let directory = TenantDirectory::new(store, catalog);
//! let ctx = directory.context(&acme, Actor::system("nightly-report")).await?;
//! assert_eq!(ctx.tenant().slug().as_str(), "acme");
//! # Ok(()) }
//! ```

#[cfg(feature = "streaming")]
mod guard;
#[cfg(any(feature = "jobs", feature = "sqlite", feature = "postgres"))]
mod job;
#[cfg(feature = "jobs")]
mod job_keys;
#[cfg(feature = "login")]
mod login;
mod revalidator;
mod span;

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use uuid::Uuid;

#[cfg(any(feature = "jobs", feature = "sqlite", feature = "postgres"))]
pub use self::job::{Envelope, Job, ReceivedJob};
#[cfg(feature = "jobs")]
pub use self::job_keys::JobKeys;
#[cfg(feature = "login")]
pub use self::login::{LoginNonce, LoginStateKeys};
pub use self::revalidator::Revalidator;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Catalog, Entitlements};
use crate::tenant::{Slug, Tenant, TenantId, TenantStatus, TenantStore};

/// Who acts. Comes from a verified credential or from your own code, never from a request's body.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Actor {
    /// A person, by the subject of the credential.
    User(Arc<str>),
    /// Nobody in particular: the request chose a tenant and proved nothing.
    Anonymous,
    /// A part of the program itself: a job, a webhook, the command line.
    System(Arc<str>),
    /// The holder of a tenant's API key, by the key's public id.
    ApiKey(Arc<str>),
    /// Another program, by the name that its certificate or signature proves.
    Service(Arc<str>),
}

impl Actor {
    /// A person, by the subject of the credential.
    pub fn user(subject: impl Into<Arc<str>>) -> Self {
        Self::User(subject.into())
    }

    /// A part of the program itself, by its name.
    pub fn system(name: impl Into<Arc<str>>) -> Self {
        Self::System(name.into())
    }

    /// The holder of an API key, by the key's public id.
    pub fn api_key(id: impl Into<Arc<str>>) -> Self {
        Self::ApiKey(id.into())
    }

    /// Another program, by its proven name.
    pub fn service(name: impl Into<Arc<str>>) -> Self {
        Self::Service(name.into())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::System(name) => write!(f, "system:{name}"),
            Self::ApiKey(id) => write!(f, "api_key:{id}"),
            Self::Service(name) => write!(f, "service:{name}"),
        }
    }
}

/// How a tenant came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResolvedBy {
    /// By a claim of a verified JSON Web Token.
    Jwt,
    /// By the host of the request.
    Host,
    /// By a header from a trusted peer.
    Header,
    /// By a segment of the path.
    Path,
    /// By a tenant's API key.
    ApiKey,
    /// By a session, and what it or another source selects.
    Session,
    /// By the certificate that the peer of a TLS connection proved to have.
    Certificate,
    /// By a source of your own.
    Custom,
    /// By your own code, through [`TenantDirectory::context`].
    Internal,
    /// By a job's envelope, which a request of the tenant made.
    Job,
    /// By a reading across tenants: what it opens is read, and nothing else.
    CrossTenant,
}

/// A tenant that is known, exists, and is open: the key to everything of that tenant.
///
/// Cheap to clone. Comes from the [`Resolver`](crate::resolve::Resolver) of a request or from
/// [`TenantDirectory::context`], and from nowhere else.
///
/// # Security
/// There is no constructor, no `Default`, no `Deserialize` and no conversion from text.
///
/// ```compile_fail
/// let ctx: tenancy::TenantContext = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone)]
pub struct TenantContext(Arc<Inner>);

struct Inner {
    tenant: Arc<Tenant>,
    actor: Actor,
    entitlements: Arc<Entitlements>,
    resolved_by: ResolvedBy,
    /// Made when it is asked for first, unless it was carried here.
    request_id: OnceLock<Uuid>,
}

impl TenantContext {
    /// The tenant, as it was when the request came in.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.0.tenant
    }

    /// The tenant's id.
    pub fn tenant_id(&self) -> &TenantId {
        self.0.tenant.id()
    }

    /// Who acts.
    pub fn actor(&self) -> &Actor {
        &self.0.actor
    }

    /// What the tenant's plan allows.
    pub fn entitlements(&self) -> &Arc<Entitlements> {
        &self.0.entitlements
    }

    /// How the tenant came to be known.
    pub fn resolved_by(&self) -> ResolvedBy {
        self.0.resolved_by
    }

    /// The id of the request or job, which its audit events carry: a UUID of version 7.
    pub fn request_id(&self) -> Uuid {
        *self.0.request_id.get_or_init(Uuid::now_v7)
    }

    /// Refuses a context of a cross-tenant read, which opens nothing else.
    pub(crate) fn not_lent(&self) -> Result<()> {
        if self.resolved_by() == ResolvedBy::CrossTenant {
            return Err(Error::new(
                ErrorKind::CrossTenantContext,
                "this context belongs to a cross-tenant read, and opens nothing else; use `TenantDirectory::context`",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for TenantContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantContext")
            .field("tenant", self.tenant_id())
            .field("actor", self.actor())
            .field("plan", &self.entitlements().plan())
            .field("resolved_by", &self.resolved_by())
            .field("request_id", &self.request_id())
            .finish()
    }
}

/// The tenants and the plans together: the one place where a [`TenantContext`] is made.
#[derive(Debug, Clone)]
pub struct TenantDirectory {
    store: Arc<dyn TenantStore>,
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
}

impl TenantDirectory {
    /// A directory over a store and a catalog.
    pub fn new(store: Arc<dyn TenantStore>, catalog: Arc<Catalog>) -> Self {
        Self { store, catalog, clock: Arc::new(SystemClock) }
    }

    /// With another clock, which says when a job's envelope has expired and when a [`Revalidator`] is due.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn TenantStore> {
        &self.store
    }

    /// The catalog.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// A context for your own code: a job, a webhook, a command.
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`], [`ErrorKind::TenantSuspended`], [`ErrorKind::TenantInactive`],
    /// [`ErrorKind::UnknownPlan`], or [`ErrorKind::StoreUnavailable`].
    ///
    /// # Security
    /// The id must come from a place you trust, such as a job that you queued yourself. For requests use a
    /// [`Resolver`](crate::resolve::Resolver).
    pub async fn context(&self, id: &TenantId, actor: Actor) -> Result<TenantContext> {
        let tenant = self.store.by_id(id).await?.ok_or_else(unknown_tenant)?;
        self.admit(tenant, actor, ResolvedBy::Internal)
    }

    /// A context for a tenant by its slug; otherwise as [`context`](Self::context).
    ///
    /// # Errors
    /// As [`context`](Self::context).
    pub async fn context_by_slug(&self, slug: &Slug, actor: Actor) -> Result<TenantContext> {
        let tenant = self.store.by_slug(slug).await?.ok_or_else(unknown_tenant)?;
        self.admit(tenant, actor, ResolvedBy::Internal)
    }

    /// The same context as things are now: same tenant, actor and request; status and plan as they stand.
    ///
    /// # Errors
    /// As [`context`](Self::context); [`ErrorKind::CrossTenantContext`] for a context of a cross-tenant read.
    pub async fn refresh(&self, ctx: &TenantContext) -> Result<TenantContext> {
        ctx.not_lent()?;
        self.readmit(ctx.tenant_id(), ctx.actor().clone(), ctx.resolved_by(), ctx.request_id()).await
    }

    /// A context that is made anew of what was carried.
    async fn readmit(
        &self,
        id: &TenantId,
        actor: Actor,
        resolved_by: ResolvedBy,
        request_id: Uuid,
    ) -> Result<TenantContext> {
        let tenant = self.store.by_id(id).await?.ok_or_else(unknown_tenant)?;
        self.admit_request(tenant, actor, resolved_by, request_id.into())
    }

    /// A context of a request that begins now.
    pub(crate) fn admit(
        &self,
        tenant: Arc<Tenant>,
        actor: Actor,
        resolved_by: ResolvedBy,
    ) -> Result<TenantContext> {
        self.admit_request(tenant, actor, resolved_by, OnceLock::new())
    }

    /// The one door through which every context comes: the status is checked here, whatever the source was.
    fn admit_request(
        &self,
        tenant: Arc<Tenant>,
        actor: Actor,
        resolved_by: ResolvedBy,
        request_id: OnceLock<Uuid>,
    ) -> Result<TenantContext> {
        match tenant.status() {
            status if status.is_open() => {}
            TenantStatus::Suspended => {
                return Err(Error::new(ErrorKind::TenantSuspended, "this tenant is suspended"));
            }
            _ => return Err(Error::new(ErrorKind::TenantInactive, "this tenant is not open for requests")),
        }
        self.mint(tenant, actor, resolved_by, request_id)
    }

    /// A context for reading across tenants, whatever the tenant's status; it opens nothing by itself.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "only a data plane reads across tenants")
    )]
    pub(crate) fn lend(&self, tenant: Arc<Tenant>, actor: Actor, reading: Uuid) -> Result<TenantContext> {
        self.mint(tenant, actor, ResolvedBy::CrossTenant, reading.into())
    }

    fn mint(
        &self,
        tenant: Arc<Tenant>,
        actor: Actor,
        resolved_by: ResolvedBy,
        request_id: OnceLock<Uuid>,
    ) -> Result<TenantContext> {
        let entitlements = self.catalog.entitlements(tenant.plan())?;
        Ok(TenantContext(Arc::new(Inner { tenant, actor, entitlements, resolved_by, request_id })))
    }
}

pub(crate) fn unknown_tenant() -> Error {
    Error::new(ErrorKind::TenantUnknown, "no such tenant")
}
