//! Who the tenants are: [`TenantId`], [`Slug`], [`Tenant`], its [`TenantStatus`] and [`Placement`], and the
//! [`TenantStore`] that keeps them (the control plane). What is a tenant's own beside its rows: each [`Domain`] that it has
//! shown to be its own, in a [`DomainStore`], and with the feature `api-keys` each `ApiKey`, in an `ApiKeyStore`.
//!
//! ```
//! use tenancy::store::MemoryStore;
//! use tenancy::tenant::{NewTenant, Slug, Tenant, TenantStatus, TenantStore};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
//! let store = MemoryStore::new();
//! let acme = store.insert(NewTenant::new(Slug::parse("acme")?, "Acme Ltd", "free")).await?;
//! assert_eq!(acme.status(), TenantStatus::Provisioning);
//!
//! let acme = store.update(&acme.with_status(TenantStatus::Active)?).await?;
//! assert_eq!(acme.version(), 2);
//! # Ok(()) }
//! ```

#[cfg(feature = "api-keys")]
mod api_key;
mod domain;
mod id;
mod slug;
mod status;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

#[cfg(feature = "api-keys")]
pub(crate) use self::api_key::Presented;
#[cfg(feature = "api-keys")]
pub use self::api_key::{ApiKey, ApiKeyFormat, ApiKeyParts, ApiKeyStore};
#[cfg(feature = "dns")]
pub use self::domain::DnsResolver;
pub use self::domain::{
    Challenge, Domain, DomainState, DomainStore, DomainVerifier, TenantDomain, TxtLookup,
};
pub(crate) use self::domain::{DomainNameError, HostName, read_name};
pub use self::id::{TenantId, TenantIdValue};
pub use self::slug::Slug;
pub(crate) use self::slug::is_reserved;
pub use self::status::{StatusSource, TenantStatus};
use crate::error::{Error, ErrorKind, Result};

/// Where a tenant's rows live. Data, not code: the same queries run in every placement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Placement {
    /// In the shared tables, told apart by the tenant column.
    Shared,
    /// In a schema of its own.
    Schema {
        /// The schema's name.
        name: String,
    },
    /// In a database of its own.
    Database {
        /// The name under which the connection is configured; never a URL, which would hold a password.
        name: String,
    },
}

/// One tenant, as the store knew it when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tenant {
    id: TenantId,
    slug: Slug,
    name: String,
    status: TenantStatus,
    status_set_by: StatusSource,
    plan: String,
    placement: Placement,
    version: u64,
}

impl Tenant {
    /// The id: never changes.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// The name in URLs: may change.
    pub fn slug(&self) -> &Slug {
        &self.slug
    }

    /// The name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the tenant stands in its lifecycle.
    pub fn status(&self) -> TenantStatus {
        self.status
    }

    /// Who set the status: billing never lifts what an operator decided.
    pub fn status_set_by(&self) -> StatusSource {
        self.status_set_by
    }

    /// The plan's key in the [`Catalog`](crate::plan::Catalog).
    pub fn plan(&self) -> &str {
        &self.plan
    }

    /// Where the tenant's rows live.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// How often the tenant was written; 1 after the insert. An update must name the version it read.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The tenant with another status, set by an operator.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalTransition`] if the lifecycle has no such step.
    pub fn with_status(&self, status: TenantStatus) -> Result<Self> {
        self.with_status_by(status, StatusSource::Operator)
    }

    /// The tenant with another status, set by `by`.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalTransition`] if the lifecycle has no such step, or if billing would lift what an
    /// operator decided.
    pub fn with_status_by(&self, status: TenantStatus, by: StatusSource) -> Result<Self> {
        let held = self.status_set_by == StatusSource::Operator && !self.status.is_open();
        if by == StatusSource::Billing && held && status != self.status {
            return Err(Error::new(
                ErrorKind::IllegalTransition,
                format!(
                    "an operator set this tenant to {}, and only an operator can change that",
                    self.status
                ),
            ));
        }
        if status == self.status {
            // Naming the same status again changes nothing, unless an operator takes it over from billing.
            let status_set_by = if by == StatusSource::Operator { by } else { self.status_set_by };
            return Ok(Self { status_set_by, ..self.clone() });
        }
        if !self.status.can_become(status) {
            return Err(Error::new(
                ErrorKind::IllegalTransition,
                format!("a tenant that is {} cannot become {status}", self.status),
            ));
        }
        Ok(Self { status, status_set_by: by, ..self.clone() })
    }

    /// The tenant on another plan.
    #[must_use]
    pub fn with_plan(&self, plan: impl Into<String>) -> Self {
        Self { plan: plan.into(), ..self.clone() }
    }

    /// The tenant under another slug.
    #[must_use]
    pub fn with_slug(&self, slug: Slug) -> Self {
        Self { slug, ..self.clone() }
    }

    /// The tenant under another name for people.
    #[must_use]
    pub fn with_name(&self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self.clone() }
    }

    /// A tenant read back by a store of your own.
    ///
    /// # Security
    /// Only a store should call this: whoever can make a `Tenant` decides what it may do.
    pub fn from_stored(stored: TenantParts) -> Self {
        let TenantParts { id, slug, name, status, status_set_by, plan, placement, version } = stored;
        Self { id, slug, name, status, status_set_by, plan, placement, version }
    }
}

/// The parts of a [`Tenant`], for [`Tenant::from_stored`].
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a store must fill in every part, and hear of a new one")]
pub struct TenantParts {
    /// See [`Tenant::id`].
    pub id: TenantId,
    /// See [`Tenant::slug`].
    pub slug: Slug,
    /// See [`Tenant::name`].
    pub name: String,
    /// See [`Tenant::status`].
    pub status: TenantStatus,
    /// See [`Tenant::status_set_by`].
    pub status_set_by: StatusSource,
    /// See [`Tenant::plan`].
    pub plan: String,
    /// See [`Tenant::placement`].
    pub placement: Placement,
    /// See [`Tenant::version`].
    pub version: u64,
}

/// A tenant that is about to be inserted.
#[derive(Debug, Clone)]
#[must_use]
pub struct NewTenant {
    id: TenantId,
    slug: Slug,
    name: String,
    status: TenantStatus,
    plan: String,
    placement: Placement,
}

impl NewTenant {
    /// A tenant with a random id, provisioning, in the shared tables.
    pub fn new(slug: Slug, name: impl Into<String>, plan: impl Into<String>) -> Self {
        Self {
            id: TenantId::random(),
            slug,
            name: name.into(),
            status: TenantStatus::Provisioning,
            plan: plan.into(),
            placement: Placement::Shared,
        }
    }

    /// With an id of your own.
    pub fn id(self, id: TenantId) -> Self {
        Self { id, ..self }
    }

    /// With another status to start from.
    pub fn status(self, status: TenantStatus) -> Self {
        Self { status, ..self }
    }

    /// With another placement.
    pub fn placement(self, placement: Placement) -> Self {
        Self { placement, ..self }
    }

    /// The tenant as a store inserts it: version 1.
    pub fn into_tenant(self) -> Tenant {
        let Self { id, slug, name, status, plan, placement } = self;
        Tenant { id, slug, name, status, status_set_by: StatusSource::Operator, plan, placement, version: 1 }
    }
}

/// The control plane: where the tenants themselves are kept.
///
/// Implementations must answer from what was last committed, refuse a second tenant with an id or slug that is
/// taken, and write an update only over the version that was read. A slug that a tenant gives up is not handed on: for a
/// while only the same tenant can take it again, so that links, cookies and caches that still say it reach nobody else.
/// Two tenants that are to swap their slugs have to wait for that long; that is intended.
/// [`testing::tenant_store`](crate::testing::tenant_store) checks all of this on a store of your own.
#[async_trait]
pub trait TenantStore: Send + Sync + fmt::Debug {
    /// The tenant with this id, or `None`.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] when it cannot be known; never `None` in that case.
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>>;

    /// The tenant with this slug, or `None`.
    ///
    /// # Errors
    /// As [`by_id`](Self::by_id).
    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>>;

    /// Up to `limit` tenants, in an order of the store's own that does not change: those after `after`, or the
    /// first ones.
    ///
    /// # Errors
    /// As [`by_id`](Self::by_id).
    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>>;

    /// Adds a tenant.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the id or the slug is taken, or another tenant gave the slug up not long ago.
    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>>;

    /// Writes a tenant over the version that `tenant` was read at, and answers with the next version.
    ///
    /// # Errors
    /// [`ErrorKind::StaleVersion`] if it was changed meanwhile: read again and decide again.
    /// [`ErrorKind::TenantUnknown`] if there is no such tenant, [`ErrorKind::Conflict`] if the slug is taken, or another
    /// tenant gave it up not long ago.
    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>>;

    /// What is already at hand for this id, without waiting; `None` if the store must be asked.
    fn peek_id(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        let _ = id;
        None
    }

    /// What is already at hand for this slug, without waiting; `None` if the store must be asked.
    fn peek_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        let _ = slug;
        None
    }

    /// Tells a cache that `tenant` was committed by somebody else; a store without a cache has nothing to do.
    async fn committed(&self, tenant: &Arc<Tenant>) {
        let _ = tenant;
    }
}

impl Tenant {
    /// The tenant as it stands after an update was written: one version on. For stores of your own.
    #[must_use]
    pub fn next_version(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }
}
