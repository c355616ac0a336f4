//! [`Rules`]: what [`decide`](super::decide) depends on beside the event and the stored rows.

use super::dispute::Dispute;
use super::policy::{BillingPolicy, DEFAULT_POLICY};
use crate::clock::Timestamp;
use crate::plan::Catalog;

/// The catalog, the policy, the tenant's disputes and the time, for [`decide`](super::decide).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Rules<'a> {
    /// What the prices buy.
    pub catalog: &'a Catalog,
    /// When billing closes a tenant.
    pub policy: &'a BillingPolicy,
    /// The disputes of the tenant's customers.
    pub disputes: &'a [Dispute],
    /// The current time, which ends the grace of a past-due subscription.
    pub now: Timestamp,
}

impl<'a> Rules<'a> {
    /// This catalog, the default policy and no disputes.
    pub fn new(catalog: &'a Catalog, now: Timestamp) -> Self {
        Self { catalog, policy: &DEFAULT_POLICY, disputes: &[], now }
    }

    /// Sets the policy.
    #[must_use]
    pub fn policy(self, policy: &'a BillingPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Sets the disputes of the tenant's customers.
    #[must_use]
    pub fn disputes(self, disputes: &'a [Dispute]) -> Self {
        Self { disputes, ..self }
    }

    /// Whether a dispute can have closed the tenant.
    pub(super) fn was_disputed(&self) -> bool {
        self.policy.suspends_disputed && !self.disputes.is_empty()
    }

    /// Whether a dispute closes the tenant.
    pub(super) fn closes(&self) -> bool {
        self.policy.suspends_disputed && self.disputes.iter().any(Dispute::is_against)
    }
}
