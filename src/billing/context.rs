//! [`BillingContext`]: what [`process`](super::process()) needs beside the transaction and the event.

use super::policy::{BillingPolicy, DEFAULT_POLICY};
use super::provider::Provider;
use crate::clock::Clock;
use crate::plan::Catalog;

/// The billing system, the catalog, the policy and the clock, for [`process`](super::process()), [`replay`](super::replay)
/// and [`recompute`](super::recompute).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BillingContext<'a> {
    /// Parses the events.
    pub provider: &'a dyn Provider,
    /// What the prices buy.
    pub catalog: &'a Catalog,
    /// When billing closes a tenant.
    pub policy: &'a BillingPolicy,
    /// The current time.
    pub clock: &'a dyn Clock,
}

impl<'a> BillingContext<'a> {
    /// This billing system, catalog and clock, and the default policy.
    pub fn new(provider: &'a dyn Provider, catalog: &'a Catalog, clock: &'a dyn Clock) -> Self {
        Self { provider, catalog, policy: &DEFAULT_POLICY, clock }
    }

    /// Sets the policy.
    #[must_use]
    pub fn policy(self, policy: &'a BillingPolicy) -> Self {
        Self { policy, ..self }
    }
}
