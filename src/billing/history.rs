//! [`SubscriptionRow`]: takes an event into the stored row of its subscription. The result is the same in whatever order events arrive, or
//! the row is marked as uncertain.

use serde::{Deserialize, Serialize};

use super::event::{SubscriptionEventKind, SubscriptionFacts};
use super::ordering::{self, Step};
use super::review::ReviewItem;
use super::state::{Price, SubscriptionState, SubscriptionStatus, Watermark};
use crate::clock::Timestamp;
use crate::plan::{Catalog, Plan};

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
    pub(super) state: SubscriptionState,
    pub(super) as_of: Watermark,
    /// The events of the second of `as_of`, in the order of their arrival.
    steps: Vec<Step>,
    /// The plan of the newest event whose prices are in the catalog.
    known_plan: Option<Known<String>>,
    /// The newest status that this version knows.
    known_status: Option<Known<SubscriptionStatus>>,
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
            state: facts.state.clone(),
            as_of: facts.as_of.clone(),
            steps: vec![Step::of(facts)],
            known_plan: None,
            known_status: None,
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
        let is_newer = facts.stored_before.as_deref().is_some_and(|stored| stored.row == *self);
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
        if let Ok(plan) = plan_of(&facts.state, catalog) {
            next.known_plan = Some(Known { second, value: plan.to_owned(), clash: false });
        }
        if !facts.state.status.is_unknown() {
            let value = facts.state.status.clone();
            next.known_status = Some(Known { second, value, clash: false });
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
        if let Ok(plan) = plan_of(&facts.state, catalog) {
            Known::learn(&mut self.known_plan, second, plan.to_owned());
        }
        if !facts.state.status.is_unknown() {
            Known::learn(&mut self.known_status, second, facts.state.status.clone());
        }
    }

    /// Sets the plan, and marks the row where what it falls back to is not certain.
    pub(super) fn settle(&mut self, catalog: &Catalog) {
        let (known, clash) = match &self.known_plan {
            Some(known) => (Some(known.value.clone()), known.clash),
            None => (None, false),
        };
        if let Ok(plan) = plan_of(&self.state, catalog) {
            self.plan = Some(plan.to_owned());
        } else {
            self.plan = known;
            self.needs_refresh |= clash;
        }
        if self.state.status.is_final() {
            self.needs_refresh = false;
        } else if self.state.status.is_unknown() || self.partial {
            self.needs_refresh = true;
        }
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
            _ => *known = Some(Self { second, value, clash: false }),
        }
    }
}

/// The plan that the prices belong to. Prices without a plan are for seats and add-ons.
pub(super) fn plan_of<'a>(state: &SubscriptionState, catalog: &'a Catalog) -> Result<&'a str, ReviewItem> {
    let mut plans = Vec::new();
    for price in &state.prices {
        plans.extend(plan_of_price(price, catalog)?.map(Plan::key));
    }
    plans.sort_unstable();
    plans.dedup();
    match plans.as_slice() {
        [plan] => Ok(plan),
        [] => Err(ReviewItem::UnmappedPrice { price: state.prices.first().map(|price| price.id.clone()) }),
        several => {
            Err(ReviewItem::SeveralPlans { plans: several.iter().map(|&plan| plan.to_owned()).collect() })
        }
    }
}

/// The plan of the price's id, of its lookup key, of its metadata or of its product: the first that there is.
fn plan_of_price<'a>(price: &Price, catalog: &'a Catalog) -> Result<Option<&'a Plan>, ReviewItem> {
    let by = |name: Option<&String>| name.and_then(|name| catalog.plan_for_price(name));
    if let Some(plan) = by(Some(&price.id)).or_else(|| by(price.lookup_key.as_ref())) {
        return Ok(Some(plan));
    }
    match &price.plan {
        // A name that is misspelt is not a price without a plan.
        Some(key) => match catalog.plan(key) {
            Ok(plan) => Ok(Some(plan)),
            Err(_) => Err(ReviewItem::UnmappedPrice { price: Some(price.id.clone()) }),
        },
        None => Ok(by(price.product.as_ref())),
    }
}

/// Whether the price belongs to a plan.
pub(super) fn sells_plan(price: &Price, catalog: &Catalog) -> bool {
    matches!(plan_of_price(price, catalog), Ok(Some(_)))
}
