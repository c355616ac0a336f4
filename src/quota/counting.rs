//! The rules of counting, which every implementation of [`Meter`](super::meter::Meter) follows.

use super::meter::{ChargeLine, CounterState, HoldEnd, LineCount, MAX_COUNT};
use crate::clock::Timestamp;

impl ChargeLine {
    /// The counter after `amount` more, or `None` if that does not fit. Every implementation decides by this rule.
    ///
    /// `amount` is added to `used`, or with `hold` to `held`.
    pub fn apply(
        &self,
        state: CounterState,
        amount: u64,
        hold: bool,
        now: Timestamp,
    ) -> Option<CounterState> {
        let total = state.used.checked_add(state.held)?.checked_add(amount)?;
        if total > MAX_COUNT {
            return None;
        }
        let is_over = !self.limit.allows(total);
        let grace_ended = match (self.grace, state.over_since) {
            (Some(grace), Some(since)) => now >= since.after(grace),
            _ => false,
        };
        if amount > 0 && (!self.hard_limit.allows(total) || (is_over && grace_ended)) {
            return None;
        }
        Some(self.forced(state, amount, hold, now))
    }

    /// The counter after `amount` more, whatever the limits.
    pub fn forced(&self, state: CounterState, amount: u64, hold: bool, now: Timestamp) -> CounterState {
        let mut next = state;
        let part = if hold { &mut next.held } else { &mut next.used };
        *part = part.saturating_add(amount).min(MAX_COUNT);
        let is_over = !self.limit.allows(next.used.saturating_add(next.held));
        next.over_since = next.over_since.or(is_over.then_some(now));
        next.warned =
            self.warn.iter().rev().find(|(_, count)| *count <= next.used).map_or(0, |level| level.0);
        next.warned = next.warned.max(state.warned);
        next
    }

    /// The warning levels between two states, ascending.
    pub fn reached(&self, before: CounterState, after: CounterState) -> Vec<u16> {
        let levels = self.warn.iter().map(|(percent, _)| *percent);
        levels.filter(|percent| before.warned < *percent && *percent <= after.warned).collect()
    }

    /// The counter after the end of a hold that has `held` of it, or `None` if what was used does not fit. The amount of
    /// the line is what was used.
    pub fn resolve(
        &self,
        state: CounterState,
        held: u64,
        end: HoldEnd,
        now: Timestamp,
    ) -> Option<CounterState> {
        let freed = CounterState { held: state.held.saturating_sub(held), ..state };
        match end {
            HoldEnd::Release => Some(freed),
            // What was held fits, also after the limit was lowered.
            HoldEnd::Commit if self.amount > held => self.apply(freed, self.amount, false, now),
            HoldEnd::Commit | HoldEnd::CommitAnyway => Some(self.forced(freed, self.amount, false, now)),
        }
    }
}

impl CounterState {
    /// The count, with the warning levels that a charge reached.
    pub fn count(self, reached: Vec<u16>) -> LineCount {
        LineCount { used: self.used, held: self.held, reached }
    }
}

/// The counts and the states of all lines after a change.
type Changed = (Vec<LineCount>, Vec<CounterState>);

/// The index of the first line that does not fit, and the counts before.
type Denied = (usize, Vec<LineCount>);

/// The counts and states of all lines after a change, or the first line that does not fit, with the counts before.
pub(crate) fn change_all(
    lines: &[ChargeLine],
    before: &[CounterState],
    change: impl Fn(usize, &ChargeLine, CounterState) -> Option<CounterState>,
) -> Result<Changed, Denied> {
    let (mut counts, mut states) = (Vec::with_capacity(lines.len()), Vec::with_capacity(lines.len()));
    for (at, (line, state)) in lines.iter().zip(before).enumerate() {
        let Some(after) = change(at, line, *state) else {
            return Err((at, before.iter().map(|state| state.count(Vec::new())).collect()));
        };
        counts.push(after.count(line.reached(*state, after)));
        states.push(after);
    }
    Ok((counts, states))
}
