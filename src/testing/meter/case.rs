//! [`Case`]: a tenant with counters, for the rules of the suite.

use std::time::Duration;

use uuid::Uuid;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::plan::{Limit, Period};
use crate::quota::meter::{
    Charge, ChargeLine, ChargeOutcome, CounterKey, Hold, HoldEnd, Meter, Resolution, ResolveOutcome,
};
use crate::tenant::TenantId;
use crate::testing::expect::expect_ok;

/// A tenant with a counter, and the time.
pub(super) struct Case<'a> {
    pub(super) meter: &'a dyn Meter,
    pub(super) tenant: TenantId,
    pub(super) now: Timestamp,
}

impl<'a> Case<'a> {
    pub(super) fn new(meter: &'a dyn Meter) -> Self {
        Self { meter, tenant: TenantId::random(), now: SystemClock.now() }
    }

    pub(super) fn line(&self, feature: &str, amount: u64, limit: Limit) -> ChargeLine {
        self.line_at(feature, "", Period::Month, amount, limit)
    }

    pub(super) fn line_at(
        &self,
        feature: &str,
        subject: &str,
        period: Period,
        amount: u64,
        limit: Limit,
    ) -> ChargeLine {
        let window = period.window(self.now, None).expect("the clock is in the calendar");
        let counter = CounterKey {
            feature: feature.to_owned(),
            subject: subject.to_owned(),
            period: window.id.clone(),
        };
        ChargeLine { counter, window, amount, limit, hard_limit: limit, grace: None, warn: Vec::new() }
    }

    pub(super) fn charge_of(&self, lines: Vec<ChargeLine>) -> Charge {
        let mut lines = lines;
        lines.sort_by(|a, b| a.counter.cmp(&b.counter));
        Charge { tenant: self.tenant.clone(), lines, key: None, hold: None, now: self.now }
    }

    pub(super) async fn charge(&self, lines: Vec<ChargeLine>) -> ChargeOutcome {
        expect_ok(self.meter.charge(&self.charge_of(lines)).await, "a charge has an outcome")
    }

    pub(super) async fn hold(&self, lines: Vec<ChargeLine>, lifetime: Duration) -> (Uuid, ChargeOutcome) {
        let id = Uuid::now_v7();
        let hold = Some(Hold { id, expires: self.now.after(lifetime) });
        let charge = Charge { hold, ..self.charge_of(lines) };
        (id, expect_ok(self.meter.charge(&charge).await, "a hold has an outcome"))
    }

    pub(super) async fn resolve(&self, hold: Uuid, end: HoldEnd, lines: Vec<ChargeLine>) -> ResolveOutcome {
        let resolution = Resolution { tenant: self.tenant.clone(), hold, lines, end, now: self.now };
        expect_ok(self.meter.resolve(&resolution).await, "the end of a hold has an outcome")
    }

    /// Whether a hold of these lines was live, and expires after `lifetime` from now.
    pub(super) async fn renew(&self, id: Uuid, lines: Vec<ChargeLine>, lifetime: Duration) -> bool {
        let hold = Hold { id, expires: self.now.after(lifetime) };
        let lines = self.charge_of(lines).lines;
        let renewed = self.meter.renew(&self.tenant, hold, &lines, self.now).await;
        expect_ok(renewed, "the renewal of a hold has an outcome")
    }

    /// What the counter of the month has, as it is read alone.
    pub(super) async fn read(&self, feature: &str) -> (u64, u64) {
        let key = self.line(feature, 1, Limit::Unlimited).counter;
        let states = self.meter.read(&self.tenant, std::slice::from_ref(&key), self.now).await;
        let state = expect_ok(states, "a counter is read")[0];
        (state.used, state.held)
    }

    /// What the counter has.
    pub(super) async fn state(&self, feature: &str) -> (u64, u64) {
        let counters = self.meter.counters(&self.tenant, Some(feature), self.now, 100).await;
        let counters = expect_ok(counters, "the counters of a tenant are listed");
        counters.first().map_or((0, 0), |counter| (counter.used, counter.held))
    }
}

pub(super) const MINUTE: Duration = Duration::from_mins(1);

pub(super) fn charged(outcome: &ChargeOutcome) -> bool {
    matches!(outcome, ChargeOutcome::Charged(_))
}
