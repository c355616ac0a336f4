//! Changes of what a tenant has beside its plan.

use uuid::Uuid;

use super::Tenant;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::plan::{NewOverride, PlanTerms};

impl Tenant {
    /// The tenant pinned to a version of its plan, or with `None` on the current version.
    ///
    /// The pin ends when the tenant changes its plan. A version that the catalog lacks is an error when the tenant
    /// makes a request.
    #[must_use]
    pub fn with_plan_version(&self, version: Option<u32>) -> Self {
        self.with_terms(|terms| terms.pin(&self.0.plan, version))
    }

    /// The tenant with one more [`Override`](crate::plan::Override). `actor` is who adds it.
    ///
    /// Check it first with [`Catalog::check_override`](crate::plan::Catalog::check_override), and record an audit
    /// event; `SqlStore::add_override` does both with the change.
    ///
    /// ```
    /// use tenancy::clock::Timestamp;
    /// use tenancy::plan::{Catalog, Limit, NewOverride};
    /// # use tenancy::tenant::NewTenant;
    /// # let catalog = Catalog::from_toml("version = 1\n[features]\nseats = { kind = \"gauge\" }\n[plans.free]\nfeatures = { seats = 3 }")?;
    /// # let acme = NewTenant::active("acme", "free")?.into_tenant();
    /// let now = Timestamp::from_seconds(1_795_932_000);
    /// let acme = acme.with_override(NewOverride::add("seats", 2, "contract 17"), "user:ada", now)?;
    /// let entitlements = catalog.entitlements_for(acme.plan(), acme.terms(), now)?;
    /// assert_eq!(entitlements.limit("seats")?, Limit::AtMost(5));
    /// # Ok::<(), tenancy::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) without a reason, or if it ends before it starts.
    pub fn with_override(&self, new: NewOverride, actor: &str, now: Timestamp) -> Result<Self> {
        let mut tenant = self.clone();
        tenant.0.terms.add(new, actor.to_owned(), now)?;
        Ok(tenant)
    }

    /// The tenant with an override that ends now. The override stays in the list, with this actor and this reason.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the tenant has no such override or it has ended,
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) without a reason.
    pub fn with_override_ended(&self, id: Uuid, actor: &str, reason: &str, now: Timestamp) -> Result<Self> {
        let mut tenant = self.clone();
        tenant.0.terms.end(id, actor.to_owned(), reason.to_owned(), now)?;
        Ok(tenant)
    }

    /// The tenant with this start of its first billing period, from which its billing months are counted.
    #[must_use]
    pub fn with_billing_anchor(&self, anchor: Option<Timestamp>) -> Self {
        self.with_terms(|terms| terms.set_billing_anchor(anchor))
    }

    /// The tenant with what its subscriptions have bought beside the plan.
    #[cfg(feature = "stripe")]
    pub(crate) fn with_bought(
        &self,
        addons: Vec<String>,
        seats: Option<u64>,
        billing_anchor: Option<Timestamp>,
    ) -> Self {
        self.with_terms(|terms| {
            terms.set_bought(addons, seats);
            terms.set_billing_anchor(billing_anchor);
        })
    }

    fn with_terms(&self, change: impl FnOnce(&mut PlanTerms)) -> Self {
        let mut tenant = self.clone();
        change(&mut tenant.0.terms);
        tenant
    }
}
