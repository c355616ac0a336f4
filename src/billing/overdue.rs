//! [`Overdue`]: since when a subscription is past due, in whatever order its events arrive.

use serde::{Deserialize, Serialize};

use super::event::SubscriptionFacts;
use super::state::SubscriptionStatus;

/// Since when a subscription is past due.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Overdue {
    /// The last second in which it was not past due.
    not: Option<i64>,
    /// The seconds of the events that say that it is past due, from that one on, sorted.
    seconds: Vec<i64>,
}

/// The most seconds that are kept. The first ones count.
const MAX_SECONDS: usize = 64;

impl Overdue {
    /// Keeps what an event tells, also an old one.
    pub(super) fn learn(&mut self, facts: &SubscriptionFacts) {
        let second = facts.as_of.created.seconds();
        let is_past_due = |status: &SubscriptionStatus| *status == SubscriptionStatus::PastDue;
        let is = is_past_due(&facts.state.status);
        // An event that changes the status tells the status before it too.
        let was_not = facts.previous.status.as_ref().is_some_and(|before| !is_past_due(before));
        if !is || was_not {
            self.not = self.not.max(Some(second));
        }
        if is && let Err(at) = self.seconds.binary_search(&second) {
            self.seconds.insert(at, second);
        }
        self.seconds.retain(|second| Some(*second) >= self.not);
        self.seconds.truncate(MAX_SECONDS);
    }

    /// Keeps what a read tells. It is newer than every event before it.
    pub(super) fn read(&mut self, second: i64, status: &SubscriptionStatus) {
        if *status != SubscriptionStatus::PastDue {
            self.not = self.not.max(Some(second));
            self.seconds.clear();
        } else if self.seconds.is_empty() {
            self.seconds.push(second);
        }
    }

    /// The second in which it became past due, if it is.
    pub(super) fn since(&self) -> Option<i64> {
        self.seconds.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::{SubscriptionEventKind, SubscriptionState, Watermark};
    use crate::clock::Timestamp;

    #[test]
    fn the_start_is_the_same_in_every_order() {
        let facts = |second, status, before: Option<SubscriptionStatus>| {
            let state = SubscriptionState::new(status, Vec::new());
            let as_of = Watermark::new(Timestamp::from_seconds(second), "e");
            let mut facts =
                SubscriptionFacts::new("sub_1", "cus_1", state, SubscriptionEventKind::Updated, as_of);
            facts.previous.status = before;
            facts
        };
        let (active, past_due) = (SubscriptionStatus::Active, SubscriptionStatus::PastDue);
        let events = [
            facts(1, past_due.clone(), None),
            // Past due and paid in one second.
            facts(3, past_due.clone(), Some(active.clone())),
            facts(3, active.clone(), Some(past_due.clone())),
            facts(7, past_due.clone(), Some(active.clone())),
            facts(9, past_due, None),
        ];
        for rotation in 0..5 {
            for reverse in [false, true] {
                let mut order = events.to_vec();
                order.rotate_left(rotation);
                if reverse {
                    order.reverse();
                }
                let mut overdue = Overdue::default();
                for facts in &order {
                    overdue.learn(facts);
                }
                assert_eq!(overdue.since(), Some(7), "{rotation} {reverse}");
            }
        }
    }
}
