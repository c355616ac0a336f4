//! [`deciding`]: which of a tenant's subscriptions decides about the tenant, and what it gives.

use super::rules::Rules;
use super::state::SubscriptionStatus;
use super::subscription::Subscription;
use crate::clock::Timestamp;
use crate::tenant::TenantStatus;

/// What a live subscription gives its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Trialing,
    Active,
    PastDue,
    /// Closed until it is paid for.
    Suspended,
    /// Closed until it is resumed.
    Paused,
    /// Closed until it is paid for, and deactivated.
    Deactivated,
}

impl Access {
    /// What a subscription gives; `None` if it has no say: it is not live, or its prices were never in the catalog.
    pub(super) fn of(subscription: &Subscription, rules: &Rules<'_>) -> Option<Self> {
        let status = subscription.row.effective_status()?;
        subscription.plan()?;
        let access = match status {
            SubscriptionStatus::Trialing => Some(Self::Trialing),
            SubscriptionStatus::Active => Some(Self::Active),
            SubscriptionStatus::PastDue
                if grace_end(subscription, rules).is_some_and(|end| end <= rules.now) =>
            {
                Some(Self::Suspended)
            }
            SubscriptionStatus::PastDue => Some(Self::PastDue),
            SubscriptionStatus::Unpaid if rules.policy.deactivates_unpaid => Some(Self::Deactivated),
            SubscriptionStatus::Unpaid => Some(Self::Suspended),
            SubscriptionStatus::Paused => Some(Self::Paused),
            SubscriptionStatus::Incomplete
            | SubscriptionStatus::IncompleteExpired
            | SubscriptionStatus::Canceled
            | SubscriptionStatus::Unknown(_) => None,
        };
        let pauses = rules.policy.suspends_paused_collection && subscription.row.state.collection_paused;
        access.map(|access| if pauses && access.is_open() { Self::Paused } else { access })
    }

    /// Whether it keeps the tenant open.
    pub(super) fn is_open(self) -> bool {
        self.status().is_open()
    }

    /// The status of a tenant whose deciding subscription gives this.
    pub(super) fn status(self) -> TenantStatus {
        match self {
            Self::Trialing => TenantStatus::Trialing,
            Self::Active => TenantStatus::Active,
            Self::PastDue => TenantStatus::PastDue,
            Self::Suspended | Self::Paused => TenantStatus::Suspended,
            Self::Deactivated => TenantStatus::Deactivated,
        }
    }

    /// The highest decides.
    fn rank(self) -> u8 {
        match self {
            Self::Active => 5,
            Self::Trialing => 4,
            Self::PastDue => 3,
            Self::Suspended | Self::Paused => 1,
            Self::Deactivated => 0,
        }
    }
}

/// When the grace of a past-due subscription ends; `None` if it is not past due, or the policy has no grace.
pub(super) fn grace_end(subscription: &Subscription, rules: &Rules<'_>) -> Option<Timestamp> {
    Some(subscription.row.past_due_since()?.after(rules.policy.past_due_grace?))
}

/// The live subscriptions with a say, each with what it gives. The last one decides.
pub(super) fn deciding<'a>(
    subscriptions: impl IntoIterator<Item = &'a Subscription>,
    rules: &Rules<'_>,
) -> Vec<(&'a Subscription, Access)> {
    let mut live: Vec<_> =
        subscriptions.into_iter().filter_map(|sub| Some((sub, Access::of(sub, rules)?))).collect();
    live.sort_by_key(|(sub, access)| {
        (access.rank(), !sub.row.state.is_ending(), sub.row.started, sub.row.id.clone())
    });
    live
}
