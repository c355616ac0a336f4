//! [`decide`]: what an event about a subscription changes. Pure functions; `process.rs` reads and writes the rows.

use std::fmt;

use super::event::{SubscriptionEventKind, SubscriptionFacts};
use super::ordering::{self, Order};
use super::subscription::{Subscription, SubscriptionRow, SubscriptionState, SubscriptionStatus};
use crate::plan::{Catalog, Plan};
use crate::tenant::{StatusSource, Tenant, TenantStatus};

/// The result of one event: the rows to store, and what a person should review.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Decision {
    /// How the event relates to the stored subscription.
    pub order: EventOrder,
    /// The subscription to store.
    pub subscription: Subscription,
    /// The tenant to store; `None` if the tenant does not change.
    pub tenant: Option<Tenant>,
    /// What a person should review.
    pub review_items: Vec<ReviewItem>,
}

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

/// Something that a person should review, because neither the catalog nor the lifecycle decides it. That part of the
/// tenant does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReviewItem {
    /// None of the subscription's prices is in the catalog.
    UnmappedPrice {
        /// The first price, if there is one.
        price: Option<String>,
    },
    /// The subscription's prices belong to several plans.
    SeveralPlans {
        /// The keys of the plans.
        plans: Vec<String>,
    },
    /// The tenant has several subscriptions that are in trial, active or past due.
    SeveralSubscriptions {
        /// The ids of the subscriptions.
        subscriptions: Vec<String>,
    },
    /// A status that this version does not know.
    UnknownStatus {
        /// The status, as the billing system writes it.
        status: String,
    },
    /// Billing may not set the status that follows: an operator closed the tenant, or it is being deleted.
    StatusHeld {
        /// The status that billing may not set.
        wanted: TenantStatus,
    },
}

impl fmt::Display for ReviewItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnmappedPrice { price: Some(price) } => {
                write!(f, "no plan has the price `{price}`; add it to a plan's prices")
            }
            Self::UnmappedPrice { price: None } => f.write_str("the subscription has no price"),
            Self::SeveralPlans { plans } => {
                write!(f, "the subscription buys several plans: {}", plans.join(", "))
            }
            Self::SeveralSubscriptions { subscriptions } => {
                write!(f, "the tenant pays for several subscriptions: {}", subscriptions.join(", "))
            }
            Self::UnknownStatus { status } => write!(f, "the subscription's status `{status}` is not known"),
            Self::StatusHeld { wanted } => write!(f, "billing may not set the tenant to {wanted}"),
        }
    }
}

/// Decides what an event about a subscription changes. A pure function: it does no I/O and reads no clock.
///
/// `subscriptions` must contain every stored subscription of the tenant.
///
/// ```
/// use tenancy::billing::{
///     SubscriptionEventKind, Price, SubscriptionFacts, SubscriptionState, SubscriptionStatus, EventOrder, Watermark, decide,
/// };
/// # use tenancy::{clock::Timestamp, plan::Catalog, tenant::{NewTenant, Slug, TenantStatus}};
/// # let catalog = Catalog::from_toml("version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }\n[plans.pro]\nprices = [\"price_pro\"]\nfeatures = { sso = true }")?;
/// # let acme = NewTenant::new(Slug::parse("acme")?, "Acme", "free").status(TenantStatus::Active).into_tenant();
/// let facts = SubscriptionFacts::new(
///     "sub_1",
///     "cus_1",
///     SubscriptionState::new(SubscriptionStatus::PastDue, vec![Price::new("price_pro")]),
///     SubscriptionEventKind::Updated,
///     Watermark::new(Timestamp::from_seconds(1_700_000_000), "evt_1"),
/// );
/// let decision = decide(&acme, &[], &facts, &catalog);
/// assert_eq!(decision.order, EventOrder::Newer);
/// let acme = decision.tenant.unwrap();
/// assert_eq!((acme.plan(), acme.status()), ("pro", TenantStatus::PastDue));
/// # Ok::<(), tenancy::Error>(())
/// ```
pub fn decide(
    tenant: &Tenant,
    subscriptions: &[Subscription],
    facts: &SubscriptionFacts,
    catalog: &Catalog,
) -> Decision {
    let stored = subscriptions.iter().find(|subscription| subscription.id() == facts.id);
    if let Some(stored) = stored {
        let unchanged = |order, needs_refresh| Decision {
            order,
            subscription: with_seen(stored, facts, needs_refresh),
            tenant: None,
            review_items: Vec::new(),
        };
        match ordering::order(&stored.row, facts) {
            Order::Newer => {}
            Order::Older => return unchanged(EventOrder::Stale, false),
            Order::Same => return unchanged(EventOrder::Unchanged, false),
            Order::Unclear => return unchanged(EventOrder::NeedsRefresh, true),
        }
    }

    let mut review_items = Vec::new();
    let row = stored.map(|stored| &stored.row);
    let plan = match plan_of(&facts.state, catalog) {
        Ok(plan) => Some(plan.to_owned()),
        Err(item) => {
            review_items.push(item);
            row.and_then(|row| row.plan.clone())
        }
    };
    let same_second = row.is_some_and(|row| row.as_of.created.seconds() == facts.as_of.created.seconds());
    let subscription = Subscription::from_row(
        tenant.id().clone(),
        SubscriptionRow {
            id: facts.id.clone(),
            customer: facts.customer.clone(),
            started: facts.started.or(row.and_then(|row| row.started)),
            plan,
            state: facts.state.clone(),
            as_of: facts.as_of.clone(),
            announced: facts.kind == SubscriptionEventKind::Created,
            previous: facts.previous.clone(),
            seen: ordering::seen(row, facts, &facts.state),
            // An event of a later second resolves the uncertainty, and so does the end of the subscription.
            needs_refresh: same_second
                && row.is_some_and(|row| row.needs_refresh)
                && !facts.state.status.is_final(),
        },
    );
    if row.is_some_and(|row| row.state == facts.state) {
        return Decision {
            order: EventOrder::Unchanged,
            subscription,
            tenant: None,
            review_items: Vec::new(),
        };
    }

    let all: Vec<&Subscription> =
        subscriptions.iter().filter(|other| other.id() != facts.id).chain([&subscription]).collect();
    let next = next_tenant(tenant, &all, &subscription, catalog, &mut review_items);
    Decision {
        order: EventOrder::Newer,
        tenant: (next != *tenant).then_some(next),
        subscription,
        review_items,
    }
}

/// The stored subscription, with the event's state added to the states seen in its second.
fn with_seen(stored: &Subscription, facts: &SubscriptionFacts, needs_refresh: bool) -> Subscription {
    let mut subscription = stored.clone();
    let row = &mut subscription.row;
    if row.state.status.is_final() || row.as_of.created.seconds() != facts.as_of.created.seconds() {
        return subscription;
    }
    row.seen = ordering::seen(Some(&stored.row), facts, &stored.row.state);
    row.needs_refresh |= needs_refresh;
    if row.state == facts.state && row.previous.is_empty() {
        row.previous = facts.previous.clone();
    }
    subscription
}

/// The tenant that follows from all its subscriptions; `changed` is the one that the event changed.
fn next_tenant(
    tenant: &Tenant,
    all: &[&Subscription],
    changed: &Subscription,
    catalog: &Catalog,
    review_items: &mut Vec<ReviewItem>,
) -> Tenant {
    let live: Vec<&Subscription> = all.iter().copied().filter(|sub| sub.status().is_live()).collect();
    if live.is_empty() {
        // The end of a subscription that never had a plan does not change the tenant's plan.
        return if *changed.status() == SubscriptionStatus::Canceled && changed.plan().is_some() {
            match catalog.fallback() {
                Some(plan) => with_status(&tenant.with_plan(plan.key()), TenantStatus::Active, review_items),
                None => with_status(tenant, TenantStatus::Deactivated, review_items),
            }
        } else {
            tenant.clone()
        };
    }

    // Subscriptions without a plan of the catalog count only if no subscription has one.
    let with_plan: Vec<&Subscription> = live.iter().copied().filter(|sub| sub.plan().is_some()).collect();
    if !with_plan.is_empty() && changed.plan().is_none() {
        return tenant.clone();
    }
    let candidates = if with_plan.is_empty() { live } else { with_plan };
    let open: Vec<String> = candidates
        .iter()
        .filter(|sub| rank(sub.status()) >= KEEPS_OPEN)
        .map(|sub| sub.id().to_owned())
        .collect();
    if open.len() > 1 {
        review_items.push(ReviewItem::SeveralSubscriptions { subscriptions: open });
    }
    let Some(best) = candidates.into_iter().max_by_key(|sub| {
        (rank(sub.status()), !sub.row.state.is_ending(), sub.row.started, sub.row.id.as_str())
    }) else {
        return tenant.clone();
    };

    let status = match best.status() {
        SubscriptionStatus::Trialing => TenantStatus::Trialing,
        SubscriptionStatus::Active => TenantStatus::Active,
        SubscriptionStatus::PastDue => TenantStatus::PastDue,
        SubscriptionStatus::Unpaid | SubscriptionStatus::Paused => TenantStatus::Suspended,
        SubscriptionStatus::Unknown(status) => {
            review_items.push(ReviewItem::UnknownStatus { status: status.clone() });
            return tenant.clone();
        }
        SubscriptionStatus::Incomplete
        | SubscriptionStatus::IncompleteExpired
        | SubscriptionStatus::Canceled => return tenant.clone(),
    };
    let next = match plan_of(&best.row.state, catalog) {
        Ok(plan) => tenant.with_plan(plan),
        Err(item) => {
            if !review_items.contains(&item) {
                review_items.push(item);
            }
            tenant.clone()
        }
    };
    with_status(&next, status, review_items)
}

/// The tenant with the status `wanted`, or unchanged if billing may not set it.
fn with_status(tenant: &Tenant, wanted: TenantStatus, review_items: &mut Vec<ReviewItem>) -> Tenant {
    tenant.with_status_by(wanted, StatusSource::Billing).unwrap_or_else(|_| {
        review_items.push(ReviewItem::StatusHeld { wanted });
        tenant.clone()
    })
}

/// The plan that the prices belong to. Prices without a plan are for seats and add-ons.
fn plan_of<'a>(state: &SubscriptionState, catalog: &'a Catalog) -> Result<&'a str, ReviewItem> {
    let mut plans: Vec<&str> = state
        .prices
        .iter()
        .filter_map(|price| {
            catalog
                .plan_for_price(&price.id)
                .or_else(|| price.lookup_key.as_deref().and_then(|key| catalog.plan_for_price(key)))
        })
        .map(Plan::key)
        .collect();
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

/// Ranks the statuses of live subscriptions: the highest decides. An unknown status outranks only the statuses that
/// suspend the tenant.
fn rank(status: &SubscriptionStatus) -> u8 {
    match status {
        SubscriptionStatus::Active => 5,
        SubscriptionStatus::Trialing => 4,
        SubscriptionStatus::PastDue => KEEPS_OPEN,
        SubscriptionStatus::Unknown(_) => 2,
        SubscriptionStatus::Unpaid | SubscriptionStatus::Paused => 1,
        SubscriptionStatus::Incomplete
        | SubscriptionStatus::IncompleteExpired
        | SubscriptionStatus::Canceled => 0,
    }
}

/// The lowest rank of a status that keeps the tenant open.
const KEEPS_OPEN: u8 = 3;
