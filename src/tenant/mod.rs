//! The tenants themselves and the traits of their stores (the control plane).
//!
//! | type | contents | store |
//! |---|---|---|
//! | [`Tenant`] | [`TenantId`], [`Slug`], [`TenantStatus`], plan, [`Placement`] | [`TenantStore`] |
//! | [`TenantDomain`] | a custom [`Domain`] and its verification | [`DomainStore`] |
//! | `ApiKey` (feature `api-keys`) | the hash of an API key | `ApiKeyStore` |
//!
//! Implementations of the stores are in [`store`](crate::store). The rows of your own tables belong to the data
//! plane, the [`scope`](crate#modules) module.
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
#[cfg(feature = "custom-domains")]
mod domain;
mod host_name;
mod id;
mod new_tenant;
mod outdated;
mod placement;
mod region;
mod slug;
mod status;
mod suspension;
mod terms;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

#[cfg(feature = "api-keys")]
pub(crate) use self::api_key::Presented;
#[cfg(feature = "api-keys")]
pub use self::api_key::{ApiKey, ApiKeyFormat, ApiKeyParts, ApiKeyStore};
#[cfg(feature = "dns")]
pub use self::domain::DnsResolver;
#[cfg(feature = "custom-domains")]
pub use self::domain::{
    Challenge, Domain, DomainState, DomainStore, DomainVerifier, TenantDomain, TxtLookup,
};
pub(crate) use self::host_name::{HostError, HostName, read_name};
pub use self::id::{TenantId, TenantIdValue};
pub use self::new_tenant::NewTenant;
use self::outdated::Outdated;
pub use self::placement::{Placement, PlacementName};
pub use self::region::Region;
pub use self::slug::Slug;
pub(crate) use self::slug::is_reserved;
pub use self::status::{StatusSource, TenantStatus};
pub use self::suspension::Suspension;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use self::suspension::checked_text;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::PlanTerms;

/// A tenant as read from the store, with its slug, status, plan and version.
///
/// The `with_` methods return a changed copy, which [`TenantStore::update`] writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Tenant(TenantParts, #[serde(skip)] Outdated);

impl Tenant {
    /// The id, which never changes.
    pub fn id(&self) -> &TenantId {
        &self.0.id
    }

    /// The name in URLs, which can change.
    pub fn slug(&self) -> &Slug {
        &self.0.slug
    }

    /// The display name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The status in the tenant's lifecycle.
    pub fn status(&self) -> TenantStatus {
        self.0.status
    }

    /// Who set the status. Billing cannot change a closed status that an operator set.
    pub fn status_set_by(&self) -> StatusSource {
        self.0.status_set_by
    }

    /// The plan's key in the [`Catalog`](crate::plan::Catalog).
    pub fn plan(&self) -> &str {
        &self.0.plan
    }

    /// The plan that an operator [granted](Self::with_plan), if one did. Billing never lowers it.
    pub fn granted_plan(&self) -> Option<&str> {
        self.0.granted_plan.as_deref()
    }

    /// Where the tenant's rows are stored.
    pub fn placement(&self) -> &Placement {
        &self.0.placement
    }

    /// The region in which the tenant's data stays; `None` if every process may serve it.
    pub fn region(&self) -> Option<&Region> {
        self.0.region.as_ref()
    }

    /// What the tenant has beside its plan: add-ons, overrides, a pinned version of the plan.
    pub fn terms(&self) -> &PlanTerms {
        &self.0.terms
    }

    /// The version: 1 after the insert, and one more after each update. An update must have the version it read.
    pub fn version(&self) -> u64 {
        self.0.version
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
    /// [`ErrorKind::IllegalTransition`] if the lifecycle has no such step, or if billing would change a closed status
    /// that an operator set.
    pub fn with_status_by(&self, status: TenantStatus, by: StatusSource) -> Result<Self> {
        let is_locked = self.0.status_set_by == StatusSource::Operator && !self.0.status.is_open();
        if by == StatusSource::Billing && is_locked && status != self.0.status {
            return Err(Error::new(
                ErrorKind::IllegalTransition,
                format!(
                    "an operator set this tenant to {}, and only an operator can change that",
                    self.0.status
                ),
            ));
        }
        if status == self.0.status {
            // The same status again changes nothing, unless an operator replaces billing as its source.
            let status_set_by = if by == StatusSource::Operator { by } else { self.0.status_set_by };
            return Ok(Self::from_parts(TenantParts { status_set_by, ..self.0.clone() }));
        }
        if !self.0.status.can_become(status) {
            return Err(Error::new(
                ErrorKind::IllegalTransition,
                format!("a tenant that is {} cannot become {status}", self.0.status),
            ));
        }
        Ok(Self::from_parts(TenantParts { status, status_set_by: by, suspension: None, ..self.0.clone() }))
    }

    /// The tenant on another plan, which an operator grants.
    ///
    /// Billing replaces it only by a plan that [covers](crate::plan::Plan::covers) it, and returns to it when the last
    /// subscription ends. The plan of a [`NewTenant`] is not granted: any bought plan replaces it.
    #[must_use]
    pub fn with_plan(&self, plan: impl Into<String>) -> Self {
        let plan = plan.into();
        Self::from_parts(TenantParts { granted_plan: Some(plan.clone()), plan, ..self.0.clone() })
    }

    /// The tenant without a [granted](Self::with_plan) plan. Its plan stays until the next change of a subscription.
    #[must_use]
    pub fn without_granted_plan(&self) -> Self {
        Self::from_parts(TenantParts { granted_plan: None, ..self.0.clone() })
    }

    /// The tenant on another plan, by billing.
    #[cfg(feature = "stripe")]
    pub(crate) fn with_billed_plan(&self, plan: impl Into<String>) -> Self {
        Self::from_parts(TenantParts { plan: plan.into(), ..self.0.clone() })
    }

    /// The tenant with another slug.
    #[must_use]
    pub fn with_slug(&self, slug: Slug) -> Self {
        Self::from_parts(TenantParts { slug, ..self.0.clone() })
    }

    /// The tenant with another placement. It moves no rows.
    #[must_use]
    pub fn with_placement(&self, placement: Placement) -> Self {
        Self::from_parts(TenantParts { placement, ..self.0.clone() })
    }

    /// The tenant in another region, or in none. It moves no rows.
    #[must_use]
    pub fn with_region(&self, region: Option<Region>) -> Self {
        Self::from_parts(TenantParts { region, ..self.0.clone() })
    }

    /// The tenant with another display name.
    #[must_use]
    pub fn with_name(&self, name: impl Into<String>) -> Self {
        Self::from_parts(TenantParts { name: name.into(), ..self.0.clone() })
    }

    /// Creates a tenant from its stored fields, for a store of your own.
    ///
    /// # Security
    /// Only a store should call this: the fields decide the tenant's status, plan and placement.
    pub fn from_stored(stored: TenantParts) -> Self {
        // An older version of this crate changes a status and leaves the suspension.
        let suspension = stored.suspension.filter(|_| stored.status == TenantStatus::Suspended);
        Self::from_parts(TenantParts { suspension, ..stored })
    }

    fn from_parts(parts: TenantParts) -> Self {
        Self(parts, Outdated::default())
    }

    /// Makes caches read the tenant again: a place refused it, so it may have been moved since it was read.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "only places refuse")
    )]
    pub(crate) fn set_outdated(&self) {
        self.1.set();
    }

    /// Whether a place refused the tenant since it was read.
    #[cfg_attr(not(feature = "cache"), expect(dead_code, reason = "only a cache keeps a tenant"))]
    pub(crate) fn is_outdated(&self) -> bool {
        self.1.get()
    }
}

/// The fields of a [`Tenant`], for [`Tenant::from_stored`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "a new field must break the build of a custom store")]
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
    /// See [`Tenant::granted_plan`].
    pub granted_plan: Option<String>,
    /// See [`Tenant::placement`].
    pub placement: Placement,
    /// See [`Tenant::region`].
    pub region: Option<Region>,
    /// See [`Tenant::terms`].
    pub terms: PlanTerms,
    /// See [`Tenant::suspension`].
    pub suspension: Option<Suspension>,
    /// See [`Tenant::version`].
    pub version: u64,
}

/// The storage of tenants: the control plane. Implement it to keep them in a database of your own.
///
/// An implementation must:
///
/// - return the last committed state,
/// - reject an insert whose id or slug is taken,
/// - write an update only over the version that was read,
/// - keep a slug that a tenant gives up in a cool-down, in which only the same tenant can take it again. Old links,
///   cookies and caches then never lead to another tenant. Two tenants that swap their slugs must wait for the
///   cool-down.
///
/// [`testing::tenant_store`](crate::testing::tenant_store) tests an implementation against this contract.
#[async_trait]
pub trait TenantStore: Send + Sync + fmt::Debug {
    /// The tenant with this id, or `None`.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the store cannot be read; never `None` in that case.
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>>;

    /// The tenant with this slug, or `None`.
    ///
    /// # Errors
    /// As [`by_id`](Self::by_id).
    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>>;

    /// Up to `limit` tenants after the tenant `after`, or from the start.
    ///
    /// The store chooses the order, which must never change.
    ///
    /// # Errors
    /// As [`by_id`](Self::by_id).
    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>>;

    /// Adds a tenant.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the id or the slug is taken, or the slug is in the cool-down of another tenant.
    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>>;

    /// Writes a tenant if its stored version is still that of `tenant`. Returns the tenant with the next version.
    ///
    /// # Errors
    /// [`ErrorKind::StaleVersion`] if the tenant has changed since it was read: read it again and decide again.
    /// [`ErrorKind::TenantUnknown`] if there is no such tenant, [`ErrorKind::Conflict`] if the slug is taken or in
    /// the cool-down of another tenant.
    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>>;

    /// The cached tenant with this id, without I/O; `None` if it is not cached.
    fn peek_id(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        let _ = id;
        None
    }

    /// The cached tenant with this slug, without I/O; `None` if it is not cached.
    fn peek_slug(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        let _ = slug;
        None
    }

    /// Notifies a cache that another writer, such as billing, committed `tenant`.
    ///
    /// A store without a cache does nothing.
    async fn committed(&self, tenant: &Arc<Tenant>) {
        let _ = tenant;
    }
}

impl Tenant {
    /// The tenant with the next version, as an update writes it. For stores of your own.
    #[must_use]
    pub fn next_version(&self) -> Self {
        Self::from_parts(TenantParts { version: self.0.version + 1, ..self.0.clone() })
    }
}
