//! [`LeaseOptions`] and [`CrashPolicy`]: how much a node takes at once, and what a crash costs.

use std::time::Duration;

use super::meter::CounterState;
use crate::plan::Rule;

/// What happens to the unspent part of a lease whose process died: nobody knows how much was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "either units are lost or the limit can be exceeded")]
pub enum CrashPolicy {
    /// The limit is never exceeded. A dead process takes the rest of its lease away until the period ends.
    Strict,
    /// Nothing is lost for long. The lease of a dead process can be granted again when it has expired, so each crash can
    /// exceed the limit by at most one lease.
    Generous,
}

/// Of a shorter lifetime, the step of a coarse clock would be a large part.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// How much a node takes from the store at once, and for how long.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct LeaseOptions {
    pub(super) policy: CrashPolicy,
    largest: u64,
    nodes: u32,
    pub(super) lifetime: Duration,
}

impl LeaseOptions {
    /// Leases of at most `largest` units, with this policy.
    ///
    /// A lease is the part of what is left that leaves four leases for each node, so leases become smaller near the end
    /// of a quota: the last units reach the node that needs them.
    pub fn new(policy: CrashPolicy, largest: u64) -> Self {
        Self { policy, largest: largest.max(1), nodes: 1, lifetime: Duration::from_secs(30) }
    }

    /// Sets how many nodes take leases; 1 by default.
    pub fn nodes(self, nodes: u32) -> Self {
        Self { nodes: nodes.max(1), ..self }
    }

    /// Sets for how long a lease is spent; 30 seconds by default, between 100 milliseconds and a year. A change of the plan reaches a node when its context
    /// has the new plan, and other nodes see what a lease has spent when the lease ends.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime: lifetime.clamp(SHORTEST, LONGEST), ..self }
    }

    /// The size of the next lease, of which `n` are needed now.
    pub(super) fn size(&self, n: u64, rule: &Rule, state: &CounterState) -> u64 {
        let left = rule
            .hard_limit()
            .max()
            .map_or(u64::MAX, |max| max.saturating_sub(state.used).saturating_sub(state.held));
        (left / (4 * u64::from(self.nodes))).clamp(1, self.largest).max(n)
    }
}
