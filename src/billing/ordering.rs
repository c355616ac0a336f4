//! Orders the events of one second by their contents.

use std::mem;

use serde::{Deserialize, Serialize};

use super::event::{SubscriptionEventKind, SubscriptionFacts};
use super::state::{PreviousAttributes, SubscriptionState};

/// An event about a subscription: what it was before, and what it is after.
///
/// Event times are whole seconds, and one API call creates several events within a second. Of these the contents
/// decide: an event follows another one if the state before it is the state after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    /// The event's id.
    pub(super) event: String,
    /// The state before it; `None` for the event that created the subscription, which is the first, and for a
    /// statement.
    before: Option<SubscriptionState>,
    pub(super) state: SubscriptionState,
    /// Whether it states the subscription without a change of its own. The change is in another event of the same second,
    /// or was earlier. So a statement counts only while no change of its second is known.
    #[serde(default)]
    is_statement: bool,
}

/// The most events of one second that are compared. With more, their order is unclear.
const MAX_STEPS: usize = 7;

impl Step {
    pub(super) fn of(facts: &SubscriptionFacts) -> Self {
        let before = match facts.kind {
            SubscriptionEventKind::Created | SubscriptionEventKind::Stated | SubscriptionEventKind::Read => {
                None
            }
            SubscriptionEventKind::Updated | SubscriptionEventKind::Deleted => {
                Some(before(&facts.state, &facts.previous))
            }
        };
        Self {
            event: facts.as_of.event.clone(),
            before,
            state: facts.state.clone(),
            is_statement: facts.kind == SubscriptionEventKind::Stated,
        }
    }

    /// Whether both state the same fact. The billing system can create two events for one change.
    fn is_like(&self, other: &Self) -> bool {
        (&self.before, &self.state) == (&other.before, &other.state)
    }
}

/// Adds an event to those of its second, unless there are too many. A change outranks all statements.
pub(super) fn add(steps: &mut Vec<Step>, step: Step) {
    if step.before.is_some() {
        steps.retain(|known| !known.is_statement);
    } else if step.is_statement && steps.iter().any(|known| known.before.is_some()) {
        return;
    } else if step.is_statement
        && let Some(same) = steps.iter_mut().find(|known| known.is_statement && known.state == step.state)
    {
        // The one with the greatest id, as in `last`.
        same.event = step.event.max(mem::take(&mut same.event));
        return;
    }
    if steps.len() <= MAX_STEPS {
        steps.push(step);
    }
}

/// The last of the events, if every possible order ends with the same state. `None` if several ends are possible, or if
/// an event between two others is missing.
///
/// The order in which the events arrived does not matter.
pub(super) fn last(steps: &[Step]) -> Option<&Step> {
    if steps.len() > MAX_STEPS {
        return None;
    }
    // Without a change, a statement comes after the creation. Of several that differ, the last is not known.
    let mut statements = steps.iter().filter(|step| step.is_statement);
    if let Some(statement) = statements.next() {
        return statements.next().is_none().then_some(statement);
    }
    let mut ends = Vec::new();
    collect_ends(&steps.iter().collect::<Vec<_>>(), None, &mut ends);
    // Two events that state the same may be one change or two.
    let mut distinct = Vec::<&Step>::new();
    for step in steps {
        if !distinct.iter().any(|known| known.is_like(step)) {
            distinct.push(step);
        }
    }
    if distinct.len() < steps.len() {
        collect_ends(&distinct, None, &mut ends);
    }
    let first = ends.first().copied()?;
    // Of events with the same state the one with the greatest id counts, in whatever order they arrived.
    let same_end = ends.iter().all(|end| end.state == first.state);
    same_end.then(|| ends.into_iter().max_by_key(|end| &end.event)).flatten()
}

/// Collects the last step of each order in which every step begins where the one before it ended.
fn collect_ends<'a>(open: &[&'a Step], reached: Option<&'a Step>, ends: &mut Vec<&'a Step>) {
    if let (true, Some(end)) = (open.is_empty(), reached) {
        ends.push(end);
        return;
    }
    for (at, next) in open.iter().enumerate() {
        let follows = match (reached, &next.before) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(before)) => end.state == *before,
        };
        if follows {
            let others: Vec<&Step> =
                open.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, step)| *step).collect();
            collect_ends(&others, Some(next), ends);
        }
    }
}

/// The state before the event that resulted in `state`.
fn before(state: &SubscriptionState, previous: &PreviousAttributes) -> SubscriptionState {
    let PreviousAttributes {
        status,
        prices,
        cancel_at,
        cancel_at_period_end,
        period_end,
        collection_paused,
        billing_anchor,
    } = previous.clone();
    SubscriptionState {
        status: status.unwrap_or_else(|| state.status.clone()),
        prices: prices.unwrap_or_else(|| state.prices.clone()),
        cancel_at: cancel_at.unwrap_or(state.cancel_at),
        cancel_at_period_end: cancel_at_period_end.unwrap_or(state.cancel_at_period_end),
        period_end: period_end.or(state.period_end),
        collection_paused: collection_paused.unwrap_or(state.collection_paused),
        billing_anchor: billing_anchor.or(state.billing_anchor),
    }
}
