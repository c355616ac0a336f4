//! [`TenantContext`], the verified tenant of a request or job, and [`TenantDirectory`], which creates it.
//!
//! A context proves that its tenant exists and was open for requests when the context was created. It contains the
//! actor and what the tenant's plan allows. Every API for tenant data requires a context, so code without one cannot
//! reach it.
//!
//! | where the tenant is needed | use |
//! |---|---|
//! | a spawned task | a clone of the context; [`in_span`](TenantContext::in_span) adds the tenant to its log lines |
//! | a job in a queue | an `Envelope` |
//! | a long-lived connection, such as a websocket | a [`Revalidator`], which checks the tenant again |
//! | the callback of a login at an identity provider | the `state` of `LoginStateKeys` |
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
#[cfg(feature = "cli")]
mod operator;
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
use crate::tenant::{Region, Slug, Tenant, TenantId, TenantStatus, TenantStore};

/// Who makes a request or a change. It comes from a verified credential or your own code, never from a request body.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Actor {
    /// A person, identified by the subject of the credential.
    User(Arc<str>),
    /// An unauthenticated caller: the request selected a tenant and has no credential.
    Anonymous,
    /// A part of the program itself: a job, a webhook, the command line.
    System(Arc<str>),
    /// The holder of a tenant's API key, identified by the key's public id.
    ApiKey(Arc<str>),
    /// Another program, identified by the name in its verified certificate or signed header.
    Service(Arc<str>),
}

impl Actor {
    /// A [`User`](Self::User) with this subject.
    pub fn user(subject: impl Into<Arc<str>>) -> Self {
        Self::User(subject.into())
    }

    /// A [`System`](Self::System) actor with this name.
    pub fn system(name: impl Into<Arc<str>>) -> Self {
        Self::System(name.into())
    }

    /// An [`ApiKey`](Self::ApiKey) actor with this public id.
    pub fn api_key(id: impl Into<Arc<str>>) -> Self {
        Self::ApiKey(id.into())
    }

    /// A [`Service`](Self::Service) with this verified name.
    pub fn service(name: impl Into<Arc<str>>) -> Self {
        Self::Service(name.into())
    }

    /// Whether the audit log can name it.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn is_named(&self) -> bool {
        match self {
            Self::User(name) | Self::System(name) | Self::ApiKey(name) | Self::Service(name) => {
                !name.trim().is_empty()
            }
            Self::Anonymous => false,
        }
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

/// How the tenant of a context was determined.
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
    /// By a session, together with the tenant that the session or another source selects.
    Session,
    /// By the client certificate of the TLS connection.
    Certificate,
    /// By a source of your own.
    Custom,
    /// By your own code, through [`TenantDirectory::context`] or [`TenantDirectory::context_by_slug`].
    Internal,
    /// By the envelope of a job.
    Job,
    /// By a cross-tenant read. Such a context can only read.
    CrossTenant,
}

/// The verified tenant of a request or job, with the actor and what the plan allows.
///
/// Every API that reads or writes tenant data takes a context. A clone is cheap. The crate creates contexts in a
/// [`Resolver`](crate::resolve::Resolver), in [`TenantDirectory`], for a job's envelope, and for a cross-tenant read.
///
/// # Security
/// There is no public constructor, no `Default`, no `Deserialize` and no conversion from text.
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
    /// Generated at the first use, unless an envelope or an earlier context provided it.
    request_id: OnceLock<Uuid>,
}

impl TenantContext {
    /// The tenant, as it was when this context was created.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.0.tenant
    }

    /// The tenant's id.
    pub fn tenant_id(&self) -> &TenantId {
        self.0.tenant.id()
    }

    /// Who makes the request or runs the job.
    pub fn actor(&self) -> &Actor {
        &self.0.actor
    }

    /// What the tenant's plan allows.
    pub fn entitlements(&self) -> &Arc<Entitlements> {
        &self.0.entitlements
    }

    /// How the tenant was determined.
    pub fn resolved_by(&self) -> ResolvedBy {
        self.0.resolved_by
    }

    /// The id of the request, which its audit events contain: a UUID of version 7. A job keeps the id of its request.
    pub fn request_id(&self) -> Uuid {
        *self.0.request_id.get_or_init(Uuid::now_v7)
    }

    /// Rejects the context of a cross-tenant read.
    pub(crate) fn reject_cross_tenant(&self) -> Result<()> {
        if self.resolved_by() == ResolvedBy::CrossTenant {
            return Err(Error::new(
                ErrorKind::CrossTenantContext,
                "this context belongs to a cross-tenant read and is valid for nothing else; use `TenantDirectory::context`",
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

/// Looks up tenants and their plans, and creates each [`TenantContext`].
///
/// ```
/// use tenancy::context::{Actor, TenantDirectory};
/// use tenancy::tenant::TenantId;
///
/// async fn nightly_report(directory: &TenantDirectory, id: &TenantId) -> tenancy::Result<()> {
///     let ctx = directory.context(id, Actor::system("nightly-report")).await?; // fails if the tenant is suspended
///     println!("{} is on the plan {}", ctx.tenant().name(), ctx.entitlements().plan());
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct TenantDirectory {
    store: Arc<dyn TenantStore>,
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    region: Option<Region>,
}

impl TenantDirectory {
    /// Creates a directory from a tenant store and a plan catalog.
    pub fn new(store: Arc<dyn TenantStore>, catalog: impl Into<Arc<Catalog>>) -> Self {
        Self { store, catalog: catalog.into(), clock: Arc::new(SystemClock), region: None }
    }

    /// Replaces the clock. It decides when a job's envelope expires and when a [`Revalidator`] checks again.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Declares the region that this process serves.
    ///
    /// A tenant that is [pinned](crate::tenant::NewTenant::region) to a region gets a context only from a directory of
    /// the same region, for a request, a job or a cross-tenant read alike. The web layer answers 421.
    #[must_use]
    pub fn region(self, region: Region) -> Self {
        Self { region: Some(region), ..self }
    }

    /// The tenant store.
    pub fn store(&self) -> &Arc<dyn TenantStore> {
        &self.store
    }

    /// The plan catalog.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Creates a context for your own code, such as a scheduled task, a webhook or a command.
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`], [`ErrorKind::TenantSuspended`], [`ErrorKind::TenantInactive`],
    /// [`ErrorKind::UnknownPlan`], or [`ErrorKind::StoreUnavailable`].
    ///
    /// # Security
    /// The id must come from a trusted place, such as your own configuration or table. For requests use a
    /// [`Resolver`](crate::resolve::Resolver).
    pub async fn context(&self, id: &TenantId, actor: Actor) -> Result<TenantContext> {
        let tenant = self.store.by_id(id).await?.ok_or_else(unknown_tenant)?;
        self.admit(tenant, actor, ResolvedBy::Internal)
    }

    /// Creates a context for the tenant with this slug; otherwise as [`context`](Self::context).
    ///
    /// # Errors
    /// As [`context`](Self::context).
    pub async fn context_by_slug(&self, slug: &Slug, actor: Actor) -> Result<TenantContext> {
        let tenant = self.store.by_slug(slug).await?.ok_or_else(unknown_tenant)?;
        self.admit(tenant, actor, ResolvedBy::Internal)
    }

    /// Reads the tenant again and creates a context with its current status and plan.
    ///
    /// Tenant, actor, source and request id are those of `ctx`.
    ///
    /// # Errors
    /// As [`context`](Self::context); [`ErrorKind::CrossTenantContext`] for a context of a cross-tenant read.
    pub async fn refresh(&self, ctx: &TenantContext) -> Result<TenantContext> {
        ctx.reject_cross_tenant()?;
        self.readmit(ctx.tenant_id(), ctx.actor().clone(), ctx.resolved_by(), ctx.request_id()).await
    }

    /// Creates a context from the tenant id, actor and request id of an earlier one.
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

    /// Creates the context of a new request.
    pub(crate) fn admit(
        &self,
        tenant: Arc<Tenant>,
        actor: Actor,
        resolved_by: ResolvedBy,
    ) -> Result<TenantContext> {
        self.admit_request(tenant, actor, resolved_by, OnceLock::new())
    }

    /// Checks the tenant's status and creates a context. Only `cross_tenant_context` and `unchecked_context` create one without this check.
    fn admit_request(
        &self,
        tenant: Arc<Tenant>,
        actor: Actor,
        resolved_by: ResolvedBy,
        request_id: OnceLock<Uuid>,
    ) -> Result<TenantContext> {
        match tenant.status() {
            status if status.is_open() => {}
            TenantStatus::Suspended => return Err(tenant.suspended_error()),
            _ => return Err(Error::new(ErrorKind::TenantInactive, "this tenant is not open for requests")),
        }
        self.create(tenant, actor, resolved_by, request_id)
    }

    /// Creates a context for a cross-tenant read, whatever the tenant's status. No other operation accepts it.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "cross-tenant reads need SQL")
    )]
    pub(crate) fn cross_tenant_context(
        &self,
        tenant: Arc<Tenant>,
        actor: Actor,
        request_id: Uuid,
    ) -> Result<TenantContext> {
        self.create(tenant, actor, ResolvedBy::CrossTenant, request_id.into())
    }

    /// Creates a context for work of the library itself, whatever the tenant's status.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn unchecked_context(&self, tenant: Arc<Tenant>, actor: Actor) -> Result<TenantContext> {
        self.create(tenant, actor, ResolvedBy::Internal, OnceLock::new())
    }

    /// Whether this process serves the region of a tenant.
    pub(crate) fn serves(&self, tenant: &Tenant) -> bool {
        tenant.region().is_none_or(|region| self.region.as_ref() == Some(region))
    }

    fn create(
        &self,
        tenant: Arc<Tenant>,
        actor: Actor,
        resolved_by: ResolvedBy,
        request_id: OnceLock<Uuid>,
    ) -> Result<TenantContext> {
        if let Some(region) = tenant.region().filter(|_| !self.serves(&tenant)) {
            return Err(Error::new(
                ErrorKind::WrongRegion,
                format!("this tenant is served in the region `{region}`; send the request there"),
            ));
        }
        let entitlements = self.catalog.entitlements_for(tenant.plan(), tenant.terms(), self.clock.now())?;
        Ok(TenantContext(Arc::new(Inner { tenant, actor, entitlements, resolved_by, request_id })))
    }
}

pub(crate) fn unknown_tenant() -> Error {
    Error::new(ErrorKind::TenantUnknown, "no such tenant")
}
