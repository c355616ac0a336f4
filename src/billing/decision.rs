use std::fmt;

use super::guard::{self, Order};
use super::subscription::SubscriptionRow;
use super::{Subscription, SubscriptionEventKind, SubscriptionFacts, SubscriptionState, SubscriptionStatus};
use crate::plan::{Catalog, Plan};
use crate::tenant::{StatusSource, Tenant, TenantStatus};

/// What follows from one event: the rows as they are to be stored, and what a person should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Decision {
    /// What became of the event.
    pub verdict: EventOrder,
    /// The subscription as it is to be stored.
    pub subscription: Subscription,
    /// The tenant as it is to be stored; `None` if it stays as it is.
    pub tenant: Option<Tenant>,
    /// What a person should look at.
    pub review_items: Vec<ReviewItem>,
}

/// What became of an event about a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventOrder {
    /// The subscription is what the event says.
    Newer,
    /// The subscription was that already.
    Unchanged,
    /// The event is older than what is stored.
    Stale,
    /// Which of two events of one second is the later one cannot be known: nothing changed.
    NeedsRefresh,
}

/// Something that the catalog or the lifecycle has no answer to; the tenant stays as it is in that respect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReviewItem {
    /// None of the subscription's prices is in the catalog.
    UnmappedPrice {
        /// The first of them, if there is any.
        price: Option<String>,
    },
    /// The subscription's prices buy more than one plan.
    SeveralPlans {
        /// The plans' keys.
        plans: Vec<String>,
    },
    /// The tenant pays for more than one subscription at once.
    SeveralSubscriptions {
        /// The subscriptions' ids.
        subscriptions: Vec<String>,
    },
    /// A status that this version does not know.
    UnknownStatus {
        /// The billing system's word.
        status: String,
    },
    /// Billing would set another status, and may not: an operator closed the tenant, or it is being deleted.
    StatusHeld {
        /// What billing would set.
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

/// What an event about a subscription means for its tenant. Pure: the same arguments, the same answer.
///
/// `subscriptions` are all that are stored for the tenant.
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
/// assert_eq!(decision.verdict, EventOrder::Newer);
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
        let kept = |verdict, needs_refresh| Decision {
            verdict,
            subscription: kept(stored, facts, needs_refresh),
            tenant: None,
            review_items: Vec::new(),
        };
        match guard::order(&stored.row, facts) {
            Order::Newer => {}
            Order::Older => return kept(EventOrder::Stale, false),
            Order::Same => return kept(EventOrder::Unchanged, false),
            Order::Unclear => return kept(EventOrder::NeedsRefresh, true),
        }
    }

    let mut review_items = Vec::new();
    let row = stored.map(|stored| &stored.row);
    let plan = match plan_of(&facts.state, catalog) {
        Ok(plan) => Some(plan.to_owned()),
        Err(why) => {
            review_items.push(why);
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
            seen: guard::seen(row, facts, &facts.state),
            // A later second settles what was open, and so does the end of the subscription.
            needs_refresh: same_second
                && row.is_some_and(|row| row.needs_refresh)
                && !facts.state.status.is_final(),
        },
    );
    if row.is_some_and(|row| row.state == facts.state) {
        return Decision {
            verdict: EventOrder::Unchanged,
            subscription,
            tenant: None,
            review_items: Vec::new(),
        };
    }

    let all: Vec<&Subscription> =
        subscriptions.iter().filter(|other| other.id() != facts.id).chain([&subscription]).collect();
    let next = follow(tenant, &all, &subscription, catalog, &mut review_items);
    Decision {
        verdict: EventOrder::Newer,
        tenant: (next != *tenant).then_some(next),
        subscription,
        review_items,
    }
}

/// The stored subscription, with what the event adds to the knowledge about its second.
fn kept(stored: &Subscription, facts: &SubscriptionFacts, needs_refresh: bool) -> Subscription {
    let mut kept = stored.clone();
    let row = &mut kept.row;
    if row.state.status.is_final() || row.as_of.created.seconds() != facts.as_of.created.seconds() {
        return kept;
    }
    row.seen = guard::seen(Some(&stored.row), facts, &stored.row.state);
    row.needs_refresh |= needs_refresh;
    if row.state == facts.state && row.previous.is_empty() {
        row.previous = facts.previous.clone();
    }
    kept
}

/// The tenant as it follows from all its subscriptions, of which `changed` is the one that an event changed.
fn follow(
    tenant: &Tenant,
    all: &[&Subscription],
    changed: &Subscription,
    catalog: &Catalog,
    review_items: &mut Vec<ReviewItem>,
) -> Tenant {
    let live: Vec<&Subscription> = all.iter().copied().filter(|one| one.status().is_live()).collect();
    if live.is_empty() {
        // A subscription that never bought a plan does not take one away when it ends.
        return if *changed.status() == SubscriptionStatus::Canceled && changed.plan().is_some() {
            match catalog.fallback() {
                Some(plan) => with_status(&tenant.with_plan(plan.key()), TenantStatus::Active, review_items),
                None => with_status(tenant, TenantStatus::Deactivated, review_items),
            }
        } else {
            tenant.clone()
        };
    }

    // Subscriptions to something that is not in the catalog have no say beside one that is.
    let ours: Vec<&Subscription> = live.iter().copied().filter(|one| one.plan().is_some()).collect();
    if !ours.is_empty() && changed.plan().is_none() {
        return tenant.clone();
    }
    let candidates = if ours.is_empty() { live } else { ours };
    let open: Vec<String> =
        candidates.iter().filter(|one| rank(one.status()) >= OPEN).map(|one| one.id().to_owned()).collect();
    if open.len() > 1 {
        review_items.push(ReviewItem::SeveralSubscriptions { subscriptions: open });
    }
    let Some(best) = candidates.into_iter().max_by_key(|one| {
        (rank(one.status()), !one.row.state.is_ending(), one.row.started, one.row.id.as_str())
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
        Err(why) => {
            if !review_items.contains(&why) {
                review_items.push(why);
            }
            tenant.clone()
        }
    };
    with_status(&next, status, review_items)
}

/// The tenant with another status, or as it is where billing may not set one.
fn with_status(tenant: &Tenant, wanted: TenantStatus, review_items: &mut Vec<ReviewItem>) -> Tenant {
    tenant.with_status_by(wanted, StatusSource::Billing).unwrap_or_else(|_| {
        review_items.push(ReviewItem::StatusHeld { wanted });
        tenant.clone()
    })
}

/// The one plan that the prices buy; the other prices are for seats and extras.
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

/// How much a live subscription is worth to its tenant. A word that is not known outranks what would close the
/// tenant, and nothing else.
fn rank(status: &SubscriptionStatus) -> u8 {
    match status {
        SubscriptionStatus::Active => 5,
        SubscriptionStatus::Trialing => 4,
        SubscriptionStatus::PastDue => OPEN,
        SubscriptionStatus::Unknown(_) => 2,
        SubscriptionStatus::Unpaid | SubscriptionStatus::Paused => 1,
        SubscriptionStatus::Incomplete
        | SubscriptionStatus::IncompleteExpired
        | SubscriptionStatus::Canceled => 0,
    }
}

const OPEN: u8 = 3;
