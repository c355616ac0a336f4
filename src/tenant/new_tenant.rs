//! [`NewTenant`]: a tenant to insert.

use super::placement::Placement;
use super::region::Region;
use super::{Slug, StatusSource, Tenant, TenantId, TenantParts, TenantStatus};
use crate::error::Result;
use crate::plan::PlanTerms;

/// A tenant to insert into a [`TenantStore`](super::TenantStore).
///
/// ```
/// use tenancy::tenant::{NewTenant, Placement, Slug, TenantStatus};
///
/// let new = NewTenant::new(Slug::parse("acme")?, "Acme Ltd", "free").status(TenantStatus::Trialing);
/// let tenant = new.into_tenant();
/// assert_eq!((tenant.version(), tenant.placement()), (1, &Placement::Shared));
///
/// let globex = NewTenant::active("globex", "free")?.into_tenant();
/// assert_eq!((globex.name(), globex.status()), ("globex", TenantStatus::Active));
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct NewTenant {
    id: TenantId,
    slug: Slug,
    name: String,
    status: TenantStatus,
    plan: String,
    placement: Placement,
    region: Option<Region>,
}

impl NewTenant {
    /// Creates a tenant with a random id, the status [`Provisioning`](TenantStatus::Provisioning) and the placement
    /// [`Shared`](Placement::Shared). `plan` is a key of the [`Catalog`](crate::plan::Catalog).
    pub fn new(slug: Slug, name: impl Into<String>, plan: impl Into<String>) -> Self {
        Self {
            id: TenantId::random(),
            slug,
            name: name.into(),
            status: TenantStatus::Provisioning,
            plan: plan.into(),
            placement: Placement::Shared,
            region: None,
        }
    }

    /// Creates an active tenant, with the text of its slug as its name.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if `slug` is not a [`Slug`].
    pub fn active(slug: &str, plan: impl Into<String>) -> Result<Self> {
        Ok(Self::new(Slug::parse(slug)?, slug, plan).status(TenantStatus::Active))
    }

    /// Sets the id.
    pub fn id(self, id: TenantId) -> Self {
        Self { id, ..self }
    }

    /// Sets the initial status.
    pub fn status(self, status: TenantStatus) -> Self {
        Self { status, ..self }
    }

    /// Sets the placement.
    pub fn placement(self, placement: Placement) -> Self {
        Self { placement, ..self }
    }

    /// Pins the tenant to a region. A process that serves another one rejects it.
    pub fn region(self, region: Region) -> Self {
        Self { region: Some(region), ..self }
    }

    /// Places the tenant in a schema of its own, named by its id: set the [`id`](Self::id) before. PostgreSQL only.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub fn own_schema(self) -> Self {
        let placement = Placement::schema_of(&self.id);
        self.placement(placement)
    }

    /// Places the tenant in a database of its own, named by its id: set the [`id`](Self::id) before. It is another
    /// PostgreSQL database, or an SQLite file.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub fn own_database(self) -> Self {
        let placement = Placement::database_of(&self.id);
        self.placement(placement)
    }

    /// The tenant that a store inserts, with version 1. For stores of your own.
    pub fn into_tenant(self) -> Tenant {
        let Self { id, slug, name, status, plan, placement, region } = self;
        let status_set_by = StatusSource::Operator;
        Tenant::from_stored(TenantParts {
            id,
            slug,
            name,
            status,
            status_set_by,
            plan,
            granted_plan: None,
            placement,
            region,
            terms: PlanTerms::default(),
            suspension: None,
            version: 1,
        })
    }
}
