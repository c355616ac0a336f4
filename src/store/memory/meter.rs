//! [`Meter`] in memory. Counters are deleted only by [`Meter::delete_before`], never to save memory.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use uuid::Uuid;

use super::{MemoryStore, poisoned};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::quota::counting::change_all;
use crate::quota::meter::{
    Charge, ChargeLine, ChargeOutcome, Counter, CounterKey, CounterState, Hold, HoldEnd, LineCount, Meter,
    Resolution, ResolveOutcome, other_charge,
};
use crate::tenant::TenantId;

#[derive(Debug, Default)]
pub(super) struct Meters(HashMap<TenantId, TenantMeter>);

#[derive(Debug, Default)]
struct TenantMeter {
    counters: BTreeMap<CounterKey, CounterRow>,
    holds: HashMap<Uuid, HoldRow>,
    keys: HashMap<String, KeyRow>,
}

#[derive(Debug)]
struct CounterRow {
    state: CounterState,
    start: Timestamp,
    end: Option<Timestamp>,
}

#[derive(Debug)]
struct HoldRow {
    amounts: Vec<(CounterKey, u64)>,
    expires: Timestamp,
    is_resolved: bool,
    /// Whether a later charge did not count it.
    is_expired: bool,
}

impl HoldRow {
    fn is_live(&self, now: Timestamp) -> bool {
        !self.is_resolved && !self.is_expired && now < self.expires
    }
}

#[derive(Debug)]
struct KeyRow {
    fingerprint: String,
    counts: Vec<LineCount>,
    expires: Timestamp,
}

impl TenantMeter {
    /// The state of a counter. What is held is the sum of the live holds.
    fn state(&self, key: &CounterKey, now: Timestamp) -> CounterState {
        let stored = self.counters.get(key).map(|row| row.state).unwrap_or_default();
        let live = self.holds.values().filter(|hold| hold.is_live(now));
        let amounts = live.flat_map(|hold| &hold.amounts).filter(|(held, _)| held == key);
        CounterState { held: amounts.map(|(_, amount)| amount).sum(), ..stored }
    }

    fn store(&mut self, lines: &[ChargeLine], states: Vec<CounterState>) {
        for (line, state) in lines.iter().zip(states) {
            let row = CounterRow { state, start: line.window.start, end: line.window.end };
            self.counters.insert(line.counter.clone(), row);
        }
    }

    /// A hold that does not count now must not count as live in a later commit with an earlier time.
    fn expire_holds(&mut self, now: Timestamp) {
        for hold in self.holds.values_mut() {
            hold.is_expired |= now >= hold.expires;
        }
    }

    fn charge(&mut self, charge: &Charge) -> Result<ChargeOutcome> {
        self.expire_holds(charge.now);
        let (lines, now, holds) = (&charge.lines, charge.now, charge.hold.is_some());
        if let Some((key, _)) = &charge.key
            && let Some(row) = self.keys.get(key).filter(|row| now < row.expires)
        {
            if row.fingerprint != charge.fingerprint() {
                return Err(other_charge());
            }
            return Ok(ChargeOutcome::Repeated(row.counts.clone()));
        }
        let before: Vec<_> = lines.iter().map(|line| self.state(&line.counter, now)).collect();
        let changed = change_all(lines, &before, |_, line, state| line.apply(state, line.amount, holds, now));
        let (counts, states) = match changed {
            Ok(changed) => changed,
            Err((line, counts)) => return Ok(ChargeOutcome::Denied { line, counts }),
        };
        self.store(lines, states);
        if let Some(hold) = charge.hold {
            let amounts = lines.iter().map(|line| (line.counter.clone(), line.amount)).collect();
            self.holds.insert(
                hold.id,
                HoldRow { amounts, expires: hold.expires, is_resolved: false, is_expired: false },
            );
        }
        if let Some((key, expires)) = &charge.key {
            let (fingerprint, counts) = (charge.fingerprint(), counts.clone());
            self.keys.insert(key.clone(), KeyRow { fingerprint, counts, expires: *expires });
        }
        Ok(ChargeOutcome::Charged(counts))
    }

    fn resolve(&mut self, end: &Resolution) -> ResolveOutcome {
        let (lines, now) = (&end.lines, end.now);
        let Some(hold) = self.holds.get(&end.hold) else { return ResolveOutcome::Expired };
        if hold.is_resolved {
            return ResolveOutcome::AlreadyResolved;
        }
        let is_live = hold.is_live(now);
        if !is_live && end.end != HoldEnd::CommitAnyway {
            return ResolveOutcome::Expired;
        }
        let amount_of = |line: &ChargeLine| {
            let amounts = hold.amounts.iter().filter(|(key, _)| is_live && *key == line.counter);
            amounts.map(|(_, amount)| amount).sum()
        };
        let before: Vec<_> = lines.iter().map(|line| self.state(&line.counter, now)).collect();
        let changed =
            change_all(lines, &before, |_, line, state| line.resolve(state, amount_of(line), end.end, now));
        match changed {
            Ok((counts, states)) => {
                self.store(lines, states);
                if let Some(hold) = self.holds.get_mut(&end.hold) {
                    hold.is_resolved = true;
                }
                ResolveOutcome::Resolved(counts)
            }
            Err((line, counts)) => ResolveOutcome::Denied { line, counts },
        }
    }
}

#[async_trait]
impl Meter for MemoryStore {
    async fn charge(&self, charge: &Charge) -> Result<ChargeOutcome> {
        let mut meters = self.meters.lock().map_err(poisoned)?;
        meters.0.entry(charge.tenant.clone()).or_default().charge(charge)
    }

    async fn resolve(&self, resolution: &Resolution) -> Result<ResolveOutcome> {
        let mut meters = self.meters.lock().map_err(poisoned)?;
        match meters.0.get_mut(&resolution.tenant) {
            Some(meter) => Ok(meter.resolve(resolution)),
            None => Ok(ResolveOutcome::Expired),
        }
    }

    async fn renew(&self, tenant: &TenantId, hold: Hold, _: &[ChargeLine], now: Timestamp) -> Result<bool> {
        let mut meters = self.meters.lock().map_err(poisoned)?;
        let found = meters.0.get_mut(tenant).and_then(|meter| meter.holds.get_mut(&hold.id));
        let Some(row) = found.filter(|row| row.is_live(now)) else { return Ok(false) };
        row.expires = row.expires.max(hold.expires);
        Ok(true)
    }

    async fn counters(
        &self,
        tenant: &TenantId,
        feature: Option<&str>,
        now: Timestamp,
        limit: u16,
    ) -> Result<Vec<Counter>> {
        let meters = self.meters.lock().map_err(poisoned)?;
        let Some(meter) = meters.0.get(tenant) else { return Ok(Vec::new()) };
        let wanted = meter.counters.iter().filter(|(key, _)| feature.is_none_or(|name| key.feature == name));
        let mut counters: Vec<_> = wanted
            .map(|(key, row)| {
                let CounterState { used, held, warned, .. } = meter.state(key, now);
                Counter { key: key.clone(), start: row.start, end: row.end, used, held, warned }
            })
            .collect();
        Counter::newest_first(&mut counters, limit);
        Ok(counters)
    }

    async fn read(
        &self,
        tenant: &TenantId,
        keys: &[CounterKey],
        now: Timestamp,
    ) -> Result<Vec<CounterState>> {
        let meters = self.meters.lock().map_err(poisoned)?;
        let state = |key| meters.0.get(tenant).map(|meter| meter.state(key, now)).unwrap_or_default();
        Ok(keys.iter().map(state).collect())
    }

    async fn delete_before(&self, before: Timestamp) -> Result<u64> {
        let mut meters = self.meters.lock().map_err(poisoned)?;
        let mut deleted = 0;
        for meter in meters.0.values_mut() {
            let rows = |meter: &TenantMeter| meter.counters.len() + meter.holds.len() + meter.keys.len();
            let old = rows(meter);
            meter.counters.retain(|_, row| row.end.is_none_or(|end| end >= before));
            meter.holds.retain(|_, hold| hold.expires >= before);
            meter.keys.retain(|_, key| key.expires >= before);
            deleted += old - rows(meter);
        }
        meters.0.retain(|_, meter| {
            !(meter.counters.is_empty() && meter.holds.is_empty() && meter.keys.is_empty())
        });
        u64::try_from(deleted).map_err(|_| Error::new(ErrorKind::InvalidInput, "too many rows to count"))
    }
}
