//! [`BillingEvent`]: one event of a billing system, parsed, and the facts in it.

use std::borrow::Cow;
use std::fmt;

use super::notification::NotificationKind;
use super::outcome::EventOutcome;
use super::state::{PreviousAttributes, SubscriptionState, Watermark};
use crate::clock::Timestamp;

/// One event of a billing system, in a form that is the same for every billing system.
///
/// A [`Provider`](super::Provider) parses it; [`process`](super::process()) applies it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BillingEvent {
    /// The event's id, which is the same for each delivery of the event.
    pub id: String,
    /// When the billing system created the event, in whole seconds.
    pub created: Timestamp,
    /// The type of the event, as the billing system writes it.
    pub kind: String,
    /// Whether it is a live event, about real money.
    pub livemode: bool,
    /// The connected account that it happened in; `None` for your own.
    pub account: Option<String>,
    /// The facts in the event.
    pub fact: Fact,
    /// Why to ignore the event if its tenant is unknown: another program on the same account wrote its tenant id, or the
    /// event would only be recorded. `None`: such an event goes to the quarantine.
    pub ignored_if_unknown: Option<&'static str>,
    /// The event as received, for the quarantine.
    pub raw: Vec<u8>,
}

impl BillingEvent {
    /// A test-mode event of your own account, without raw bytes.
    pub fn new(id: impl Into<String>, created: Timestamp, kind: impl Into<String>, fact: Fact) -> Self {
        Self {
            id: id.into(),
            created,
            kind: kind.into(),
            livemode: false,
            account: None,
            fact,
            ignored_if_unknown: None,
            raw: Vec::new(),
        }
    }

    /// The event with the ids that are stored, if it happened in a connected account: ids are unique in their account
    /// only, so they are stored as `account/id`.
    pub(super) fn in_account(&self) -> Cow<'_, Self> {
        let Some(account) = self.account.as_deref() else { return Cow::Borrowed(self) };
        let mut event = self.clone();
        let scope = |id: &mut String| *id = format!("{account}/{id}");
        match &mut event.fact {
            Fact::Subscription(facts) => {
                scope(&mut facts.id);
                scope(&mut facts.customer);
            }
            Fact::CheckoutCompleted(facts) => {
                [&mut facts.id, &mut facts.customer, &mut facts.subscription]
                    .into_iter()
                    .flatten()
                    .for_each(scope);
            }
            Fact::PaymentSucceeded(facts) | Fact::PaymentFailed(facts) => {
                [&mut facts.customer, &mut facts.subscription].into_iter().flatten().for_each(scope);
            }
            Fact::Recorded(facts) => {
                let checkout = facts.target.as_mut().filter(|(kind, _)| *kind == CHECKOUT).map(|(_, id)| id);
                let ids = [&mut facts.customer, &mut facts.subscription];
                let dispute = facts.dispute.as_mut().map(|(id, _)| id);
                let notice = match &mut facts.notice {
                    Some(NotificationKind::PaymentActionRequired { subscription, .. }) => {
                        subscription.as_mut()
                    }
                    _ => None,
                };
                ids.into_iter().flatten().chain(dispute).chain(notice).chain(checkout).for_each(scope);
            }
            Fact::CustomerDeleted { customer } => scope(customer),
            Fact::Ignored { .. } | Fact::Unreadable { .. } => {}
        }
        Cow::Owned(event)
    }

    /// Whether the event is the end of a subscription.
    pub(super) fn ends_subscription(&self) -> bool {
        matches!(&self.fact, Fact::Subscription(facts) if facts.state.status.is_final())
    }

    /// Whether there is no event behind it: this program read a subscription on its own.
    pub(super) fn is_read(&self) -> bool {
        self.raw.is_empty()
            && matches!(&self.fact, Fact::Subscription(facts) if facts.kind == SubscriptionEventKind::Read)
    }

    /// Whether the event is a checkout that was applied. It contains no state of the subscription that it sold.
    pub(super) fn is_purchase(&self, outcome: &EventOutcome) -> bool {
        matches!(self.fact, Fact::CheckoutCompleted(_))
            && matches!(outcome, EventOutcome::Applied { .. } | EventOutcome::Unchanged)
    }

    /// Whether the event may link its customer to a tenant.
    pub(super) fn may_link(&self) -> bool {
        !matches!(self.fact, Fact::Recorded(_) | Fact::CustomerDeleted { .. })
    }

    /// The customer, subscription and tenant that the event is about.
    pub fn subjects(&self) -> EventSubjects<'_> {
        match &self.fact {
            Fact::Subscription(facts) => EventSubjects {
                customer: Some(&facts.customer),
                subscription: Some(&facts.id),
                tenant: facts.tenant.as_deref(),
                ..EventSubjects::default()
            },
            Fact::CheckoutCompleted(facts) => EventSubjects {
                customer: facts.customer.as_deref(),
                subscription: facts.subscription.as_deref(),
                tenant: facts.tenant.as_deref(),
                reference: facts.reference.as_deref(),
                checkout: facts.id.as_deref(),
            },
            Fact::PaymentSucceeded(facts) | Fact::PaymentFailed(facts) => EventSubjects {
                customer: facts.customer.as_deref(),
                subscription: facts.subscription.as_deref(),
                tenant: facts.tenant.as_deref(),
                ..EventSubjects::default()
            },
            Fact::Recorded(facts) => EventSubjects {
                customer: facts.customer.as_deref(),
                subscription: facts.subscription.as_deref(),
                tenant: facts.tenant.as_deref(),
                checkout: match &facts.target {
                    Some((CHECKOUT, id)) => Some(id),
                    _ => None,
                },
                ..EventSubjects::default()
            },
            Fact::CustomerDeleted { customer } => {
                EventSubjects { customer: Some(customer), ..EventSubjects::default() }
            }
            Fact::Ignored { .. } | Fact::Unreadable { .. } => EventSubjects::default(),
        }
    }
}

/// Omits the raw event, which contains names and addresses.
impl fmt::Debug for BillingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BillingEvent")
            .field("id", &self.id)
            .field("created", &self.created)
            .field("kind", &self.kind)
            .field("livemode", &self.livemode)
            .field("account", &self.account)
            .field("fact", &self.fact)
            .field("ignored_if_unknown", &self.ignored_if_unknown)
            .finish_non_exhaustive()
    }
}

/// The kind of target of a checkout in [`RecordedFacts`].
pub(super) const CHECKOUT: &str = "checkout";

/// The customer, subscription and tenant that an event names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventSubjects<'a> {
    /// The id of the customer.
    pub customer: Option<&'a str>,
    /// The id of the subscription.
    pub subscription: Option<&'a str>,
    /// The tenant id that your program wrote into the object's metadata.
    pub tenant: Option<&'a str>,
    /// The tenant id in the signed reference of the checkout. Weaker evidence than the metadata: the reference is valid
    /// for every purchase, and a member of the tenant may have given it to somebody else.
    pub reference: Option<&'a str>,
    /// The id of the checkout. If this program created it, it belongs to the tenant that it was created for.
    pub checkout: Option<&'a str>,
}

/// The facts in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// The current state of a subscription. Only this fact, and the end of all subscriptions of a deleted customer, change
    /// a tenant's plan and status.
    Subscription(SubscriptionFacts),
    /// A checkout was completed. If it [links](CheckoutFacts::links), its customer belongs to the tenant from now on.
    CheckoutCompleted(CheckoutFacts),
    /// A payment succeeded. Only recorded: access follows the subscription.
    PaymentSucceeded(PaymentFacts),
    /// A payment failed. Only recorded: access follows the subscription.
    PaymentFailed(PaymentFacts),
    /// A customer was deleted: all its live subscriptions have ended. The customer stays linked to the tenant.
    CustomerDeleted {
        /// The id of the customer.
        customer: String,
    },
    /// Something that is only recorded as an audit event. It links no customer.
    Recorded(RecordedFacts),
    /// An event that changes nothing.
    Ignored {
        /// Why.
        reason: &'static str,
    },
    /// An event of a known type that is malformed. It goes to the quarantine for a person to review.
    Unreadable {
        /// What is missing.
        reason: &'static str,
    },
}

/// The type of an event about a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubscriptionEventKind {
    /// The subscription was created.
    Created,
    /// The subscription changed.
    Updated,
    /// The event states the subscription without a change of its own: the change, if any, is in an event
    /// [`Updated`](Self::Updated) of the same second.
    Stated,
    /// The subscription ended.
    Deleted,
    /// No event: this program read the subscription from the billing system.
    Read,
}

/// The full state of a subscription in an event, not only what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionFacts {
    /// The subscription's id.
    pub id: String,
    /// The id of the customer who pays.
    pub customer: String,
    /// The tenant id that your program wrote into the subscription's metadata.
    pub tenant: Option<String>,
    /// When the subscription started.
    pub started: Option<Timestamp>,
    /// The state after the event.
    pub state: SubscriptionState,
    /// Whether [`state`](Self::state) may lack prices: the event contains only the first part of a long list, or an
    /// item without a price. A price that is missing from a partial state has not necessarily been removed.
    pub partial: bool,
    /// The previous values of what the event changed.
    pub previous: PreviousAttributes,
    /// When the trial ends, if the event announces that. A future end is recorded.
    pub trial_ends: Option<Timestamp>,
    /// The type of the event.
    pub kind: SubscriptionEventKind,
    /// The time and id of the event.
    pub as_of: Watermark,
    /// What was stored before the subscription was read, as JSON, if [`kind`](Self::kind) is
    /// [`Read`](SubscriptionEventKind::Read).
    pub(super) stored_before: Option<String>,
}

impl SubscriptionFacts {
    /// Facts without previous values and without a tenant.
    pub fn new(
        id: impl Into<String>,
        customer: impl Into<String>,
        state: SubscriptionState,
        kind: SubscriptionEventKind,
        as_of: Watermark,
    ) -> Self {
        Self {
            id: id.into(),
            customer: customer.into(),
            tenant: None,
            started: None,
            state,
            partial: false,
            previous: PreviousAttributes::default(),
            trial_ends: None,
            kind,
            as_of,
            stored_before: None,
        }
    }

    /// The facts of a subscription that this program read from the billing system. `stored` is what was stored before:
    /// if something else is stored now, the read may be the older of the two.
    pub(super) fn read(self, stored: Option<String>) -> Self {
        Self { kind: SubscriptionEventKind::Read, stored_before: stored, ..self }
    }
}

/// The facts of a completed checkout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckoutFacts {
    /// The id of the checkout.
    pub id: Option<String>,
    /// The kind of purchase.
    pub mode: CheckoutMode,
    /// Whether it is paid, or needs no payment; `None` if the event does not contain it.
    pub paid: Option<bool>,
    /// The customer that the checkout created or used.
    pub customer: Option<String>,
    /// The subscription that the checkout created.
    pub subscription: Option<String>,
    /// The tenant id that your program wrote into the checkout's metadata.
    pub tenant: Option<String>,
    /// The tenant id in the reference of the checkout, if your program signed the reference.
    pub reference: Option<String>,
}

impl CheckoutFacts {
    /// Whether the checkout links its customer to a tenant: it sold a subscription, and is not unpaid.
    ///
    /// ```
    /// use tenancy::billing::{CheckoutFacts, CheckoutMode};
    ///
    /// let mut facts = CheckoutFacts::default();
    /// assert!(!facts.links());
    /// facts.mode = CheckoutMode::Subscription;
    /// assert!(facts.links());
    /// facts.paid = Some(false);
    /// assert!(!facts.links());
    /// ```
    pub fn links(&self) -> bool {
        self.mode == CheckoutMode::Subscription && self.paid != Some(false)
    }
}

/// The kind of purchase in a checkout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckoutMode {
    /// A subscription.
    Subscription,
    /// A single payment.
    Payment,
    /// No purchase: a payment method is stored for later.
    Setup,
    /// A kind that this version does not know.
    #[default]
    Unknown,
}

/// The facts of a payment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PaymentFacts {
    /// The id of the customer.
    pub customer: Option<String>,
    /// The subscription that the payment is for.
    pub subscription: Option<String>,
    /// The tenant id that your program wrote into the subscription's metadata.
    pub tenant: Option<String>,
    /// The id of the invoice.
    pub invoice: Option<String>,
    /// The amount paid or due, in the currency's smallest unit. A trial starts with a payment of 0.
    pub amount: Option<i64>,
    /// The currency code.
    pub currency: Option<String>,
    /// The number of attempts so far.
    pub attempt: Option<u64>,
    /// When the billing system tries again.
    pub next_attempt: Option<Timestamp>,
}

/// The facts of an event that is only recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedFacts {
    /// The action of the audit event: `billing.charge_refunded`.
    pub action: &'static str,
    /// The kind and the id of the object that the event is about.
    pub target: Option<(&'static str, String)>,
    /// The id of the customer.
    pub customer: Option<String>,
    /// The subscription that the object belongs to.
    pub subscription: Option<String>,
    /// The tenant id that your program wrote into the object's metadata or its signed reference.
    pub tenant: Option<String>,
    /// The details of the audit event. They contain no names and addresses.
    pub details: Vec<(&'static str, String)>,
    /// The id and the status of the dispute, if the event is about one.
    pub dispute: Option<(String, String)>,
    /// What your program is notified of, if it is.
    pub notice: Option<NotificationKind>,
}

impl RecordedFacts {
    /// Facts with this action and nothing else.
    pub fn new(action: &'static str) -> Self {
        Self { action, ..Self::default() }
    }
}
