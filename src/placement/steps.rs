//! The steps of provisioning, as they are recorded, and [`Unfinished`].

use std::sync::Arc;

use crate::tenant::Tenant;

/// Recorded for [`Step::Create`] before the place exists. Whatever is there later, this deployment created.
pub(super) const BEGUN: &str = "it was interrupted";

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
