//! Which of two events of one subscription is the later one, when nothing but their contents can tell.

use super::subscription::SubscriptionRow;
use super::{PreviousAttributes, SubscriptionEventKind, SubscriptionFacts, SubscriptionState};

/// How an event stands to what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Newer,
    Older,
    /// Of the same second, and it tells of the state that is stored.
    Same,
    /// Of the same second, and both orders fit, or neither.
    Unclear,
}

/// Events carry whole seconds, and one call makes several in one second. So inside a second the contents decide:
/// an event continues from the stored one if the values it says there were before are the stored ones.
pub(super) fn order(stored: &SubscriptionRow, facts: &SubscriptionFacts) -> Order {
    if stored.state.status.is_final() {
        return Order::Older;
    }
    if facts.state.status.is_final() {
        return Order::Newer;
    }
    match facts.as_of.created.seconds().cmp(&stored.as_of.created.seconds()) {
        std::cmp::Ordering::Greater => return Order::Newer,
        std::cmp::Ordering::Less => return Order::Older,
        std::cmp::Ordering::Equal => {}
    }
    if facts.kind == SubscriptionEventKind::Created {
        return Order::Older;
    }
    if facts.state == stored.state {
        return Order::Same;
    }
    if stored.announced {
        return Order::Newer;
    }
    match (fits(&facts.previous, &stored.state), fits(&stored.previous, &facts.state)) {
        (true, false) => newer_unless_seen(stored, facts),
        (false, true) => Order::Older,
        (false, false) => Order::Unclear,
        (true, true) => {
            let continues = before(&facts.state, &facts.previous) == stored.state;
            let precedes = before(&stored.state, &stored.previous) == facts.state;
            match (continues, precedes) {
                (true, false) => newer_unless_seen(stored, facts),
                (false, true) => Order::Older,
                _ => Order::Unclear,
            }
        }
    }
}

/// A subscription that comes back to a state within one second walks in a circle, which has no last point.
fn newer_unless_seen(stored: &SubscriptionRow, facts: &SubscriptionFacts) -> Order {
    if stored.seen.len() >= MOST_SEEN || stored.seen.contains(&facts.state) {
        Order::Unclear
    } else {
        Order::Newer
    }
}

/// Past so many different states in one second the guard stops guessing.
const MOST_SEEN: usize = 16;

/// The states that events of the second of `facts` told of, beside the one that is stored now.
pub(super) fn seen(
    stored: Option<&SubscriptionRow>,
    facts: &SubscriptionFacts,
    current: &SubscriptionState,
) -> Vec<SubscriptionState> {
    let mut seen = Vec::new();
    let mut add = |state: SubscriptionState| {
        if state != *current && !seen.contains(&state) && seen.len() < MOST_SEEN {
            seen.push(state);
        }
    };
    if let Some(stored) = stored.filter(|row| row.as_of.created.seconds() == facts.as_of.created.seconds()) {
        stored.seen.iter().cloned().for_each(&mut add);
        add(stored.state.clone());
    }
    add(facts.state.clone());
    add(before(&facts.state, &facts.previous));
    seen
}

/// Whether every value that an event changed was, before it, the one in `state`. An event that changed nothing
/// fits nothing.
fn fits(previous: &PreviousAttributes, state: &SubscriptionState) -> bool {
    !previous.is_empty() && before(state, previous) == *state
}

/// The state before the event that led to `state`.
fn before(state: &SubscriptionState, previous: &PreviousAttributes) -> SubscriptionState {
    let PreviousAttributes { status, prices, cancel_at, cancel_at_period_end, period_end } = previous.clone();
    SubscriptionState {
        status: status.unwrap_or_else(|| state.status.clone()),
        prices: prices.unwrap_or_else(|| state.prices.clone()),
        cancel_at: cancel_at.unwrap_or(state.cancel_at),
        cancel_at_period_end: cancel_at_period_end.unwrap_or(state.cancel_at_period_end),
        period_end: period_end.or(state.period_end),
    }
}
