//! [`deciding`]: which of a tenant's subscriptions decides about the tenant, and what it gives.

use super::state::SubscriptionStatus;
use super::subscription::Subscription;
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
}

impl Access {
    /// What a subscription gives; `None` if it has no say: it is not live, or its prices were never in the catalog.
    pub(super) fn of(subscription: &Subscription) -> Option<Self> {
        let status = subscription.row.effective_status()?;
        subscription.plan()?;
        match status {
            SubscriptionStatus::Trialing => Some(Self::Trialing),
            SubscriptionStatus::Active => Some(Self::Active),
            SubscriptionStatus::PastDue => Some(Self::PastDue),
            SubscriptionStatus::Unpaid => Some(Self::Suspended),
            SubscriptionStatus::Paused => Some(Self::Paused),
            SubscriptionStatus::Incomplete
            | SubscriptionStatus::IncompleteExpired
            | SubscriptionStatus::Canceled
            | SubscriptionStatus::Unknown(_) => None,
        }
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
        }
    }

    /// The highest decides.
    fn rank(self) -> u8 {
        match self {
            Self::Active => 5,
            Self::Trialing => 4,
            Self::PastDue => 3,
            Self::Suspended | Self::Paused => 1,
        }
    }
}

/// The live subscriptions with a say, each with what it gives. The last one decides.
pub(super) fn deciding<'a>(
    subscriptions: impl IntoIterator<Item = &'a Subscription>,
) -> Vec<(&'a Subscription, Access)> {
    let mut live: Vec<_> =
        subscriptions.into_iter().filter_map(|sub| Some((sub, Access::of(sub)?))).collect();
    live.sort_by_key(|(sub, access)| {
        (access.rank(), !sub.row.state.is_ending(), sub.row.started, sub.row.id.clone())
    });
    live
}
