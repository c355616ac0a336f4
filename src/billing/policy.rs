//! [`BillingPolicy`]: what the states of subscriptions mean for access, where that is your decision.

use std::time::Duration;

/// When billing closes a tenant, where that is your decision. The default closes it only where Stripe does.
///
/// ```
/// use std::time::Duration;
/// use tenancy::billing::BillingPolicy;
/// use tenancy::billing::stripe::StripeWebhook;
///
/// fn webhook(stripe: StripeWebhook) -> StripeWebhook {
///     let week = Duration::from_secs(7 * 24 * 60 * 60);
///     stripe.policy(BillingPolicy::new().past_due_grace(week).suspend_disputed())
/// }
/// ```
///
/// After you change the policy of a running program, call
/// [`recompute`](super::stripe::StripeWebhook::recompute) for each tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BillingPolicy {
    pub(super) past_due_grace: Option<Duration>,
    pub(super) deactivates_unpaid: bool,
    pub(super) suspends_paused_collection: bool,
    pub(super) suspends_disputed: bool,
}

pub(super) static DEFAULT_POLICY: BillingPolicy = BillingPolicy::new();

impl BillingPolicy {
    /// The default: `past_due` stays open, `unpaid` is suspended, `pause_collection` and disputes are only recorded.
    pub const fn new() -> Self {
        Self {
            past_due_grace: None,
            deactivates_unpaid: false,
            suspends_paused_collection: false,
            suspends_disputed: false,
        }
    }

    /// Suspends a tenant that has been past due for this time; zero suspends it at once. By default it stays open until
    /// Stripe ends the subscription or marks it `unpaid`.
    ///
    /// [`apply_due`](super::stripe::StripeWebhook::apply_due) suspends the tenants whose time is over.
    #[must_use]
    pub fn past_due_grace(self, grace: Duration) -> Self {
        Self { past_due_grace: Some(grace), ..self }
    }

    /// Deactivates a tenant whose subscription is `unpaid`, instead of suspending it.
    #[must_use]
    pub fn deactivate_unpaid(self) -> Self {
        Self { deactivates_unpaid: true, ..self }
    }

    /// Suspends a tenant while the collection of payments is paused (`pause_collection`), as if the subscription were
    /// paused.
    #[must_use]
    pub fn suspend_paused_collection(self) -> Self {
        Self { suspends_paused_collection: true, ..self }
    }

    /// Suspends a tenant while a dispute of its customer is open, and after one is lost.
    ///
    /// Stripe's dispute events name a charge and usually no customer.
    /// [`StripeBilling::webhook`](super::stripe::StripeBilling::webhook) reads the charge; without an API such an event is
    /// ignored.
    #[must_use]
    pub fn suspend_disputed(self) -> Self {
        Self { suspends_disputed: true, ..self }
    }
}
