//! [`SubscriptionRow`]: takes an event into the stored row of its subscription. The result is the same in whatever order events arrive, or
//! the row is marked as uncertain.

use serde::{Deserialize, Serialize};

use super::event::{SubscriptionEventKind, SubscriptionFacts};
use super::ordering::{self, Step};
use super::overdue::Overdue;
use super::purchase::{Extras, Purchase};
use super::state::{SubscriptionState, SubscriptionStatus, Watermark};
use crate::clock::Timestamp;
use crate::plan::Catalog;

/// How an event about a subscription relates to the stored subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventOrder {
    /// The event is newer: its state is stored.
    Newer,
    /// The stored state is already that of the event.
    Unchanged,
    /// The event is older than the stored state.
    Stale,
    /// Two events of one second, whose order cannot be known: nothing changed.
    NeedsRefresh,
}

/// What is stored about a subscription, except its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SubscriptionRow {
    pub(super) id: String,
    pub(super) customer: String,
    pub(super) started: Option<Timestamp>,
    pub(super) plan: Option<String>,
    /// The seats and add-ons that belong to `plan`.
    #[serde(default)]
    pub(super) extras: Extras,
    pub(super) state: SubscriptionState,
    pub(super) as_of: Watermark,
    /// The events of the second of `as_of`, in the order of their arrival.
    steps: Vec<Step>,
    /// The plan of the newest event whose prices are in the catalog.
    known_plan: Option<Known<String>>,
    /// The seats and add-ons of the newest event that has all prices, and whose prices are in the catalog.
    #[serde(default)]
    known_extras: Option<Known<Extras>>,
    /// The newest status that this version knows.
    known_status: Option<Known<SubscriptionStatus>>,
    #[serde(default)]
    overdue: Overdue,
    /// When the grace of a past-due subscription ends, if that is ahead.
    #[serde(default)]
    pub(super) grace_ends: Option<Timestamp>,
    /// Whether the newest event has not all prices.
    partial: bool,
    /// When the state was read from the billing system, by the clock of this program; `None` if it is of an event.
    #[serde(default)]
    read_at: Option<Timestamp>,
    /// Whether any event said that it is live.
    pub(super) was_live: bool,
    pub(super) needs_refresh: bool,
}

/// How far the clock of this program can be from the billing system's: webhooks are only received within this tolerance.
const MAX_SKEW_SECONDS: i64 = 300;

/// A value with the second of the event that it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known<T> {
    second: i64,
    value: T,
    /// Whether events of that second have several values.
    clash: bool,
}

impl SubscriptionRow {
    /// The row of a subscription whose first event this is.
    pub(super) fn first(facts: &SubscriptionFacts, catalog: &Catalog) -> Self {
        let mut row = Self {
            id: facts.id.clone(),
            customer: facts.customer.clone(),
            started: None,
            plan: None,
            extras: Extras::default(),
            state: facts.state.clone(),
            as_of: facts.as_of.clone(),
            steps: vec![Step::of(facts)],
            known_plan: None,
            known_extras: None,
            known_status: None,
            overdue: Overdue::default(),
            grace_ends: None,
            partial: facts.partial,
            read_at: read_at(facts),
            was_live: false,
            needs_refresh: false,
        };
        row.learn(facts, catalog);
        row.settle(catalog);
        row
    }

    /// The row after an event, and how the event relates to the stored state.
    pub(super) fn after(&self, facts: &SubscriptionFacts, catalog: &Catalog) -> (Self, EventOrder) {
        if facts.kind == SubscriptionEventKind::Read {
            return self.after_read(facts, catalog);
        }
        let mut next = self.clone();
        next.learn(facts, catalog);
        let seconds = (facts.as_of.created.seconds(), self.as_of.created.seconds());
        let is_near_read = self.read_at.is_some() && (seconds.0 - seconds.1).abs() <= MAX_SKEW_SECONDS;
        let mut is_older = false;
        let mut unclear = false;
        if self.state.status.is_final() {
            is_older = true;
        } else if is_near_read && !facts.state.status.is_final() {
            // The clocks differ, so the event may be the older or the newer one.
            unclear = self.needs_refresh || facts.state != self.state;
        } else if facts.state.status.is_final() || seconds.0 > seconds.1 {
            next.replace(facts);
        } else if seconds.0 < seconds.1 {
            is_older = true;
            unclear = if self.read_at.is_some() {
                self.needs_refresh
            } else {
                ordering::last(&next.steps).is_none()
            };
        } else {
            ordering::add(&mut next.steps, Step::of(facts));
            next.partial |= facts.partial;
            match ordering::last(&next.steps) {
                Some(last) => {
                    next.state = last.state.clone();
                    next.as_of.event.clone_from(&last.event);
                }
                None => unclear = true,
            }
        }
        next.needs_refresh = unclear;
        next.settle(catalog);
        let order = match (next.needs_refresh, is_older, next.state == self.state) {
            (_, true, _) => EventOrder::Stale,
            (true, ..) => EventOrder::NeedsRefresh,
            (_, _, true) => EventOrder::Unchanged,
            _ => EventOrder::Newer,
        };
        (next, order)
    }

    /// The row after the subscription was read from the billing system. The read is newer than what was stored before it;
    /// if something else was stored meanwhile, nothing changes.
    fn after_read(&self, facts: &SubscriptionFacts, catalog: &Catalog) -> (Self, EventOrder) {
        if self.state.status.is_final() {
            return (self.clone(), EventOrder::Stale);
        }
        let is_newer =
            facts.stored_before.is_some() && facts.stored_before == serde_json::to_string(self).ok();
        if !is_newer && !facts.state.status.is_final() {
            let is_same = facts.state == self.state && !self.needs_refresh;
            return (self.clone(), if is_same { EventOrder::Unchanged } else { EventOrder::NeedsRefresh });
        }
        let mut next = self.clone();
        // A test clock can be far ahead of this program's clock.
        let as_of = facts.as_of.created.max(self.as_of.created);
        next.replace(facts);
        next.as_of.created = as_of;
        next.needs_refresh = false;
        let second = as_of.seconds();
        if let Ok(bought) = Purchase::of(&facts.state, catalog) {
            next.known_plan = Some(Known::certain(second, bought.plan.to_owned()));
            if !facts.partial {
                next.known_extras = Some(Known::certain(second, bought.extras));
            }
        }
        if !facts.state.status.is_unknown() {
            next.known_status = Some(Known::certain(second, facts.state.status.clone()));
            next.overdue.read(second, &facts.state.status);
        }
        next.started = next.started.or(facts.started);
        next.was_live |= facts.state.status.is_live() && !facts.state.status.is_unknown();
        next.settle(catalog);
        let is_same = next.state == self.state;
        (next, if is_same { EventOrder::Unchanged } else { EventOrder::Newer })
    }

    /// Takes the state of an event or of a read that is newer.
    fn replace(&mut self, facts: &SubscriptionFacts) {
        self.state = facts.state.clone();
        self.as_of = facts.as_of.clone();
        self.steps = vec![Step::of(facts)];
        self.partial = facts.partial;
        self.read_at = read_at(facts);
    }

    /// Keeps what any event tells, also an old one.
    fn learn(&mut self, facts: &SubscriptionFacts, catalog: &Catalog) {
        let second = facts.as_of.created.seconds();
        self.started = self.started.or(facts.started);
        self.was_live |= facts.state.status.is_live() && !facts.state.status.is_unknown();
        if let Ok(bought) = Purchase::of(&facts.state, catalog) {
            Known::learn(&mut self.known_plan, second, bought.plan.to_owned());
            if !facts.partial {
                Known::learn(&mut self.known_extras, second, bought.extras);
            }
        }
        if !facts.state.status.is_unknown() {
            Known::learn(&mut self.known_status, second, facts.state.status.clone());
            self.overdue.learn(facts);
        }
    }

    /// Sets the plan, the seats and the add-ons, and marks the row where what it falls back to is not certain.
    pub(super) fn settle(&mut self, catalog: &Catalog) {
        let known = self.known_extras.as_ref();
        if let Ok(bought) = Purchase::of(&self.state, catalog) {
            self.plan = Some(bought.plan.to_owned());
            // A list that was cut off takes no add-on away.
            let complete = known.filter(|_| self.partial).map(|known| known.value.clone());
            self.extras = complete.unwrap_or(bought.extras);
        } else {
            self.needs_refresh |= self.known_plan.as_ref().is_some_and(|known| known.clash);
            self.needs_refresh |= known.is_some_and(|known| known.clash);
            self.plan = self.known_plan.as_ref().map(|known| known.value.clone());
            self.extras = known.map(|known| known.value.clone()).unwrap_or_default();
        }
        if self.state.status.is_final() {
            self.needs_refresh = false;
        } else if self.state.status.is_unknown() || self.partial {
            self.needs_refresh = true;
        }
    }

    /// Since when it is past due, if it is.
    pub(super) fn past_due_since(&self) -> Option<Timestamp> {
        if self.effective_status() != Some(&SubscriptionStatus::PastDue) {
            return None;
        }
        Some(self.overdue.since().map_or(self.as_of.created, Timestamp::from_seconds))
    }

    /// The status that counts: the newest known one. `None` if no status is known.
    pub(super) fn effective_status(&self) -> Option<&SubscriptionStatus> {
        if self.state.status.is_unknown() {
            self.known_status.as_ref().map(|known| &known.value)
        } else {
            Some(&self.state.status)
        }
    }
}

fn read_at(facts: &SubscriptionFacts) -> Option<Timestamp> {
    (facts.kind == SubscriptionEventKind::Read).then_some(facts.as_of.created)
}

impl<T: Ord> Known<T> {
    fn certain(second: i64, value: T) -> Self {
        Self { second, value, clash: false }
    }

    /// Keeps the value of the newest second. Of several in one second the least counts, in whatever order they come.
    fn learn(known: &mut Option<Self>, second: i64, value: T) {
        match known {
            Some(old) if second < old.second => {}
            Some(old) if second == old.second => {
                old.clash |= old.value != value;
                if value < old.value {
                    old.value = value;
                }
            }
            _ => *known = Some(Self::certain(second, value)),
        }
    }
}
