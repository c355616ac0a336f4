//! [`decide`]: what an event about a subscription changes. Pure functions; `process.rs` reads and writes the rows.

use super::command::LifecycleCommand;
use super::event::{SubscriptionEventKind, SubscriptionFacts};
use super::history::{EventOrder, SubscriptionRow};
use super::purchase::Purchase;
use super::review::ReviewItem;
use super::rules::Rules;
use super::standing::{deciding, grace_end};
use super::state::{SubscriptionState, SubscriptionStatus, Watermark};
use super::subscription::Subscription;
use super::transition::commands;
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
    /// Those of them that the stored state did not have.
    pub new_review_items: Vec<ReviewItem>,
    /// What your program does about the change.
    pub commands: Vec<LifecycleCommand>,
}

/// Decides what an event about a subscription changes. A pure function: it does no I/O and reads no clock.
///
/// `subscriptions` must contain every stored subscription of the tenant.
///
/// ```
/// use tenancy::billing::{
///     LifecycleCommand, Rules, SubscriptionEventKind, Price, SubscriptionFacts, SubscriptionState, SubscriptionStatus, EventOrder, Watermark, decide,
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
/// let now = Timestamp::from_seconds(1_700_000_001);
/// let decision = decide(&acme, &[], &facts, &Rules::new(&catalog, now));
/// assert_eq!(decision.order, EventOrder::Newer);
/// let acme = decision.tenant.unwrap();
/// assert_eq!((acme.plan(), acme.status()), ("pro", TenantStatus::PastDue));
/// assert_eq!(decision.commands[0], LifecycleCommand::Activate);
/// # Ok::<(), tenancy::Error>(())
/// ```
pub fn decide(
    tenant: &Tenant,
    subscriptions: &[Subscription],
    facts: &SubscriptionFacts,
    rules: &Rules<'_>,
) -> Decision {
    let stored = subscriptions.iter().find(|subscription| subscription.id() == facts.id);
    let (row, order) = if let Some(stored) = stored {
        stored.row.after(facts, rules.catalog)
    } else {
        let row = SubscriptionRow::first(facts, rules.catalog);
        let order = if row.needs_refresh { EventOrder::NeedsRefresh } else { EventOrder::Newer };
        (row, order)
    };
    let subscription = with_grace(Subscription::from_row(tenant.id().clone(), row), rules);
    let others = subscriptions.iter().filter(|other| other.id() != facts.id);
    let next = others.cloned().chain([subscription.clone()]).collect();
    let Change { tenant, review_items, new_review_items, commands, .. } =
        Change::to(tenant, subscriptions, next, rules);
    Decision { order, subscription, tenant, review_items, new_review_items, commands }
}

/// The next state of a tenant and all its subscriptions.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) subscriptions: Vec<Subscription>,
    /// The tenant to store; `None` if it does not change.
    pub(super) tenant: Option<Tenant>,
    pub(super) review_items: Vec<ReviewItem>,
    /// Those that the old state did not have.
    pub(super) new_review_items: Vec<ReviewItem>,
    pub(super) commands: Vec<LifecycleCommand>,
}

impl Change {
    fn to(tenant: &Tenant, old: &[Subscription], next: Vec<Subscription>, rules: &Rules<'_>) -> Self {
        let next: Vec<Subscription> = next.into_iter().map(|sub| with_grace(sub, rules)).collect();
        let (then, review_items) = next_tenant(tenant, &next, rules);
        let commands = commands((tenant, old), (&then, &next), rules);
        let (_, known) = next_tenant(tenant, old, rules);
        let mut new_review_items = review_items.clone();
        new_review_items.retain(|item| !known.contains(item));
        let changed = (then != *tenant).then_some(then);
        Self { subscriptions: next, tenant: changed, review_items, new_review_items, commands }
    }
}

/// The subscription with the end of its grace, if that is ahead.
fn with_grace(mut sub: Subscription, rules: &Rules<'_>) -> Subscription {
    sub.row.grace_ends = grace_end(&sub, rules).filter(|end| *end > rules.now);
    sub
}

/// Computes the tenant from its stored subscriptions, and the catalog, policy, disputes and time of today.
pub(super) fn recompute(tenant: &Tenant, subscriptions: &[Subscription], rules: &Rules<'_>) -> Change {
    let settled = |subscription: &Subscription| {
        let mut subscription = subscription.clone();
        subscription.row.settle(rules.catalog);
        subscription
    };
    Change::to(tenant, subscriptions, subscriptions.iter().map(settled).collect(), rules)
}

/// Ends every live subscription of a customer who was deleted, and computes the tenant.
pub(super) fn end_customer(
    tenant: &Tenant,
    subscriptions: &[Subscription],
    (customer, as_of): (&str, &Watermark),
    rules: &Rules<'_>,
) -> Change {
    let after = |subscription: &Subscription| {
        if subscription.customer() != customer || subscription.status().is_final() {
            return subscription.clone();
        }
        let state =
            SubscriptionState { status: SubscriptionStatus::Canceled, ..subscription.row.state.clone() };
        let kind = SubscriptionEventKind::Deleted;
        let facts = SubscriptionFacts::new(subscription.id(), customer, state, kind, as_of.clone());
        Subscription::from_row(tenant.id().clone(), subscription.row.after(&facts, rules.catalog).0)
    };
    Change::to(tenant, subscriptions, subscriptions.iter().map(after).collect(), rules)
}

/// The tenant that follows from all its subscriptions, and what a person should review.
fn next_tenant(tenant: &Tenant, all: &[Subscription], rules: &Rules<'_>) -> (Tenant, Vec<ReviewItem>) {
    let mut items = Vec::new();
    for sub in all.iter().filter(|sub| !sub.status().is_final()) {
        if sub.row.state.status.is_unknown() {
            items.push(ReviewItem::UnknownStatus { status: sub.status().as_str().to_owned() });
        }
        if let Err(item) = Purchase::of(&sub.row.state, rules.catalog)
            && sub.status().is_live()
        {
            items.push(item);
        }
    }
    items.dedup();
    let live = deciding(all, rules);
    if tenant.status() == TenantStatus::Deleting {
        if !live.is_empty() {
            let subscriptions = ids(live.iter().map(|(sub, _)| *sub));
            items.push(ReviewItem::OrphanSubscriptions { subscriptions });
        }
        return (tenant.clone(), items);
    }
    let open = ids(live.iter().filter(|(_, access)| access.is_open()).map(|(sub, _)| *sub));
    if open.len() > 1 {
        items.push(ReviewItem::SeveralSubscriptions { subscriptions: open });
    }
    let or_closed = |status: TenantStatus| {
        if rules.closes() && status.is_open() { TenantStatus::Suspended } else { status }
    };
    let next = if let Some((sub, access)) = live.last() {
        let plan = sub.plan().unwrap_or_else(|| tenant.plan());
        let on_plan = with_plan(tenant, plan, rules.catalog, &mut items).with_bought(
            sub.addons().to_vec(),
            sub.seats(),
            sub.row.state.billing_anchor,
        );
        with_status(&on_plan, or_closed(access.status()), &mut items)
    } else if all.iter().any(has_ended) {
        // Something was paid for, and nothing is any more.
        let tenant = &tenant.with_bought(Vec::new(), None, None);
        match tenant.granted_plan().or(rules.catalog.fallback().map(Plan::key)) {
            Some(plan) => {
                with_status(&tenant.with_billed_plan(plan), or_closed(TenantStatus::Active), &mut items)
            }
            None => with_status(tenant, TenantStatus::Deactivated, &mut items),
        }
    } else if rules.closes() {
        with_status(tenant, or_closed(tenant.status()), &mut items)
    } else if rules.was_disputed()
        && tenant.status() == TenantStatus::Suspended
        && tenant.status_set_by() == StatusSource::Billing
    {
        // Nothing was bought, so a dispute had closed it.
        with_status(tenant, TenantStatus::Active, &mut items)
    } else {
        tenant.clone()
    };
    (next, items)
}

/// Whether the subscription was paid for, and has ended.
fn has_ended(sub: &Subscription) -> bool {
    sub.row.was_live
        && sub.plan().is_some()
        && sub.row.effective_status().is_some_and(SubscriptionStatus::is_final)
}

/// The ids of subscriptions, sorted.
fn ids<'a>(subscriptions: impl Iterator<Item = &'a Subscription>) -> Vec<String> {
    let mut ids: Vec<String> = subscriptions.map(|sub| sub.id().to_owned()).collect();
    ids.sort_unstable();
    ids
}

/// The tenant on the plan that it pays for. A plan that an operator granted is never lowered.
fn with_plan(tenant: &Tenant, plan: &str, catalog: &Catalog, items: &mut Vec<ReviewItem>) -> Tenant {
    let covers = |granted: &str| match (catalog.plan(plan), catalog.plan(granted)) {
        (Ok(plan), Ok(granted)) => plan.covers(granted),
        _ => false,
    };
    match tenant.granted_plan() {
        Some(granted) if granted != plan && !covers(granted) => {
            items.push(ReviewItem::PlanHeld { granted: granted.to_owned(), bought: plan.to_owned() });
            tenant.with_billed_plan(granted)
        }
        _ => tenant.with_billed_plan(plan),
    }
}

/// The tenant with the status `wanted`, or unchanged if billing may not set it.
fn with_status(tenant: &Tenant, wanted: TenantStatus, review_items: &mut Vec<ReviewItem>) -> Tenant {
    tenant.with_status_by(wanted, StatusSource::Billing).unwrap_or_else(|_| {
        review_items.push(ReviewItem::StatusHeld { wanted });
        tenant.clone()
    })
}
