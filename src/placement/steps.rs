//! The steps of provisioning, as they are recorded, the last of them, and [`Unfinished`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::context::unknown_tenant;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Tenant, TenantStatus, TenantStore};

/// Recorded for [`Step::Create`] before the place exists. Whatever is there later, this deployment created.
pub(super) const BEGUN: &str = "it was interrupted";

/// The step of a tenant that is created from a bundle. It is opened after its rows are written.
pub(super) const IMPORT: &str = "import";

/// A step of provisioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    Migrate,
    Protect,
    Seed,
    Open,
}

impl Step {
    pub(super) const ALL: [Self; 5] = [Self::Create, Self::Migrate, Self::Protect, Self::Seed, Self::Open];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Migrate => "migrate",
            Self::Protect => "protect",
            Self::Seed => "seed",
            Self::Open => "open",
        }
    }
}

/// A tenant whose provisioning is not finished.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Unfinished {
    /// The tenant.
    pub tenant: Arc<Tenant>,
    /// The step that failed, and why; `None` if the process ended before.
    pub failed: Option<(String, String)>,
}

/// Opens a tenant. Another run can have opened it since it was read: a run that was cancelled in its commit is one.
pub(super) async fn open(tenants: &dyn TenantStore, tenant: &Tenant) -> Result<Arc<Tenant>> {
    match tenants.update(&tenant.with_status(TenantStatus::Active)?).await {
        Err(error) if error.kind() == ErrorKind::StaleVersion => {}
        opened => return opened,
    }
    let now = tenants.by_id(tenant.id()).await?.ok_or_else(unknown_tenant)?;
    if now.status() == TenantStatus::Provisioning {
        return tenants.update(&now.with_status(TenantStatus::Active)?).await;
    }
    Ok(now)
}

/// Refuses a tenant whose rows were not all written: its import was interrupted.
pub(super) fn check_import(steps: &BTreeMap<String, Option<String>>) -> Result<()> {
    match steps.get(IMPORT) {
        Some(Some(_)) => Err(Error::new(
            ErrorKind::Conflict,
            "the import of this tenant was interrupted, so it has no rows; delete the tenant, and import the bundle again",
        )),
        _ => Ok(()),
    }
}
