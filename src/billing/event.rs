use std::fmt;

use super::{PreviousAttributes, SubscriptionState, Watermark};
use crate::clock::Timestamp;

/// One event of a billing system, in words that no billing system owns.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BillingEvent {
    /// The event's id: the same event delivered twice has the same.
    pub id: String,
    /// When the billing system made the event, in whole seconds.
    pub created: Timestamp,
    /// The billing system's name for this sort of event.
    pub kind: String,
    /// Whether it is about real money.
    pub livemode: bool,
    /// The connected account it happened in; `None` for your own.
    pub account: Option<String>,
    /// What it says.
    pub fact: Fact,
    /// The event as it came, for the quarantine.
    pub raw: Vec<u8>,
}

impl BillingEvent {
    /// An event of your own account.
    pub fn new(id: impl Into<String>, created: Timestamp, kind: impl Into<String>, fact: Fact) -> Self {
        Self {
            id: id.into(),
            created,
            kind: kind.into(),
            livemode: false,
            account: None,
            fact,
            raw: Vec::new(),
        }
    }

    /// Whom the event is about.
    pub fn subjects(&self) -> EventSubjects<'_> {
        match &self.fact {
            Fact::Subscription(facts) => EventSubjects {
                customer: Some(&facts.customer),
                subscription: Some(&facts.id),
                tenant: facts.tenant.as_deref(),
                reference: None,
            },
            Fact::CheckoutCompleted(facts) => EventSubjects {
                customer: facts.customer.as_deref(),
                subscription: facts.subscription.as_deref(),
                tenant: facts.tenant.as_deref(),
                reference: facts.reference.as_deref(),
            },
            Fact::PaymentSucceeded(facts) | Fact::PaymentFailed(facts) => EventSubjects {
                customer: facts.customer.as_deref(),
                subscription: facts.subscription.as_deref(),
                tenant: facts.tenant.as_deref(),
                reference: None,
            },
            Fact::Ignored { .. } | Fact::Unreadable { .. } => EventSubjects::default(),
        }
    }
}

/// Without the raw event, which holds names and addresses.
impl fmt::Debug for BillingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BillingEvent")
            .field("id", &self.id)
            .field("created", &self.created)
            .field("kind", &self.kind)
            .field("livemode", &self.livemode)
            .field("account", &self.account)
            .field("fact", &self.fact)
            .finish_non_exhaustive()
    }
}

/// Whom an event is about, as far as it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventSubjects<'a> {
    /// The customer.
    pub customer: Option<&'a str>,
    /// The subscription.
    pub subscription: Option<&'a str>,
    /// The tenant that your own program stamped on it.
    pub tenant: Option<&'a str>,
    /// What the visitor brought along to the checkout. Weaker than a stamp: a visitor may have edited it.
    pub reference: Option<&'a str>,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// A subscription now looks like this. The only fact that changes what a tenant may do.
    Subscription(SubscriptionFacts),
    /// A checkout was completed: from now on this customer belongs to that tenant.
    CheckoutCompleted(CheckoutFacts),
    /// A payment came. News only: access follows the subscription.
    PaymentSucceeded(PaymentFacts),
    /// A payment did not come. News only: access follows the subscription.
    PaymentFailed(PaymentFacts),
    /// Nothing to do.
    Ignored {
        /// Why.
        reason: &'static str,
    },
    /// The event should say something and does not read: it is kept for a person to look at.
    Unreadable {
        /// What is missing.
        reason: &'static str,
    },
}

/// Which sort of event told of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubscriptionEventKind {
    /// It announced the subscription.
    Created,
    /// It told of a change.
    Updated,
    /// It told of the end.
    Deleted,
}

/// What an event says of a subscription: all of it, not only what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionFacts {
    /// The subscription's id.
    pub id: String,
    /// The id of the customer who pays.
    pub customer: String,
    /// The tenant that your own program stamped on the subscription.
    pub tenant: Option<String>,
    /// When the subscription began.
    pub started: Option<Timestamp>,
    /// What it looks like after the event.
    pub state: SubscriptionState,
    /// What it looked like before, where the event changed it.
    pub previous: PreviousAttributes,
    /// Which sort of event this is.
    pub kind: SubscriptionEventKind,
    /// Which event this is.
    pub as_of: Watermark,
}

impl SubscriptionFacts {
    /// The facts of an event that names no earlier values and no tenant.
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
            previous: PreviousAttributes::default(),
            kind,
            as_of,
        }
    }
}

/// What an event says of a checkout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckoutFacts {
    /// The customer that came out of it.
    pub customer: Option<String>,
    /// The subscription that came out of it.
    pub subscription: Option<String>,
    /// The tenant that your own program stamped on the checkout.
    pub tenant: Option<String>,
    /// What the visitor brought along; `None` where a visitor could have edited it in a link.
    pub reference: Option<String>,
}

/// What an event says of a payment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PaymentFacts {
    /// The customer.
    pub customer: Option<String>,
    /// The subscription that the payment is for.
    pub subscription: Option<String>,
    /// The tenant that your own program stamped on the subscription.
    pub tenant: Option<String>,
    /// The invoice.
    pub invoice: Option<String>,
    /// How much was paid or is due, in the currency's smallest unit. A trial begins with a payment of 0.
    pub amount: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// How often it was tried.
    pub attempt: Option<u64>,
    /// When it is tried again.
    pub next_attempt: Option<Timestamp>,
}
