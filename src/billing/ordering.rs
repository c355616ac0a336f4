//! Decides which of two events of one subscription is the later one, from their times and contents.

use super::event::{SubscriptionEventKind, SubscriptionFacts};
use super::subscription::{PreviousAttributes, SubscriptionRow, SubscriptionState};

/// How an event relates to the stored state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Newer,
    Older,
    /// Of the same second, with the stored state.
    Same,
    /// Of the same second, and both orders are possible, or neither is.
    Unclear,
}

/// Compares an event with the stored state.
///
/// Event times are whole seconds, and one API call creates several events within a second. So within a second the
/// contents decide: an event follows the stored one if its previous values are the stored values.
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
    match (matches_previous(&facts.previous, &stored.state), matches_previous(&stored.previous, &facts.state))
    {
        (true, false) => newer_unless_cycle(stored, facts),
        (false, true) => Order::Older,
        (false, false) => Order::Unclear,
        (true, true) => {
            let follows = before(&facts.state, &facts.previous) == stored.state;
            let precedes = before(&stored.state, &stored.previous) == facts.state;
            match (follows, precedes) {
                (true, false) => newer_unless_cycle(stored, facts),
                (false, true) => Order::Older,
                _ => Order::Unclear,
            }
        }
    }
}

/// If a subscription returns to an earlier state within one second, its states form a cycle, and no order is certain.
fn newer_unless_cycle(stored: &SubscriptionRow, facts: &SubscriptionFacts) -> Order {
    if stored.seen.len() >= MAX_SEEN || stored.seen.contains(&facts.state) {
        Order::Unclear
    } else {
        Order::Newer
    }
}

/// The most states of one second that are compared; with more, the order is unclear.
const MAX_SEEN: usize = 16;

/// The states in events of the same second as `facts`, except `current`.
pub(super) fn seen(
    stored: Option<&SubscriptionRow>,
    facts: &SubscriptionFacts,
    current: &SubscriptionState,
) -> Vec<SubscriptionState> {
    let mut seen = Vec::new();
    let mut add = |state: SubscriptionState| {
        if state != *current && !seen.contains(&state) && seen.len() < MAX_SEEN {
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

/// Whether the previous values of an event all match `state`. An event without previous values matches no state.
fn matches_previous(previous: &PreviousAttributes, state: &SubscriptionState) -> bool {
    !previous.is_empty() && before(state, previous) == *state
}

/// The state before the event that resulted in `state`.
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
