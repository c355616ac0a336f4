//! [`Lease`]: an amount that this node has taken from the store and spends without asking it.

use std::time::Duration;

use coarsetime::Instant;

use super::lease_cell::LeaseCell;
use super::line::Line;
use super::meter::Hold;
use crate::context::TenantContext;
use crate::plan::{Limit, Rule};

/// What a lease depends on. A lease of other terms is not spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    tenant_version: u64,
    catalog_version: u32,
    limit: Limit,
    hard_limit: Limit,
}

impl Terms {
    pub(super) fn of(ctx: &TenantContext, rule: &Rule) -> Self {
        Self {
            tenant_version: ctx.tenant().version(),
            catalog_version: ctx.entitlements().catalog_version(),
            limit: rule.limit(),
            hard_limit: rule.hard_limit(),
        }
    }
}

/// The start of a lease, on a clock that is read in a quarter of the time, and at most [`TICK`] late.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaseStart(Instant);

/// The longest time between two steps of a coarse clock: 16 ms on Windows, 10 ms on Linux.
const TICK: Duration = Duration::from_millis(20);

impl LeaseStart {
    pub(super) fn now() -> Self {
        Self(Instant::now_without_cache_update())
    }

    /// The end of what is spent for this long: one step early, because the clock can be one step late.
    fn after(self, spending_time: Duration) -> Instant {
        self.0 + spending_time.saturating_sub(TICK).into()
    }
}

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) hold: Hold,
    pub(super) line: Line,
    pub(super) ctx: TenantContext,
    pub(super) terms: Terms,
    /// The first instant at which it is not spent any more. It is before the end of the period.
    ends: Instant,
    left: LeaseCell,
}

impl Lease {
    /// A lease that is spent for this long after its start.
    pub(super) fn new(
        (hold, line): (Hold, Line),
        ctx: &TenantContext,
        terms: Terms,
        start: LeaseStart,
        spending_time: Duration,
    ) -> Self {
        let left = LeaseCell::new(line.charge.amount);
        Self { hold, line, ctx: ctx.clone(), terms, ends: start.after(spending_time), left }
    }

    /// Whether its time is over.
    pub(super) fn is_over(&self) -> bool {
        Instant::now_without_cache_update() >= self.ends
    }

    /// Spends `n`, if there is so much left. Returns what is left then.
    pub(super) fn spend(&self, n: u64, terms: &Terms) -> Option<u64> {
        if self.terms != *terms || self.is_over() {
            return None;
        }
        self.spend_late(n)
    }

    /// Spends `n` whatever the time and the terms, for a store that cannot be reached.
    pub(super) fn spend_late(&self, n: u64) -> Option<u64> {
        self.left.spend(n)
    }

    /// Ends the lease: nothing is spent of it any more. Returns what was spent, or `None` if it had ended.
    pub(super) fn stop(&self) -> Option<u64> {
        self.left.stop().map(|left| self.line.charge.amount - left)
    }

    /// Whether so little is left that the next lease should be taken.
    pub(super) fn is_nearly_spent(&self, left: u64) -> bool {
        left < self.line.charge.amount / 5
    }
}
