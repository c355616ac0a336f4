//! Applies the events of a billing system to tenants: [`process()`] handles one event, [`decide`] contains the rules,
//! and a [`BillingStore`] stores the rows. [`stripe`] receives Stripe's webhooks.
//!
//! An event is never a command. It states what a subscription looks like now; [`decide`] compares that with the
//! stored state, and the tenant's plan and status follow from **all** its live subscriptions. So events that arrive
//! twice, late or out of order do no harm: an ended subscription stays ended, and an older event never overwrites a
//! newer one. If the order of two events cannot be known, the result is [`EventOutcome::NeedsRefresh`], not a guess.
//!
//! | status of the subscription | effect on the tenant |
//! |---|---|
//! | `incomplete` | none |
//! | `trialing`, `active`, `past_due` | trialing, active or past due, on the plan of the subscription's price |
//! | `unpaid`, `paused` | suspended |
//! | `canceled` after it was live, and no other is live | active on the [granted plan](crate::tenant::Tenant::granted_plan), else on the catalog's `fallback`; without either, deactivated |
//! | one that this version does not know | that of the last known status; the subscription needs a refresh |
//!
//! A [`BillingPolicy`] changes that for overdue payments, paused collection and disputes.
//!
//! The deletion of a customer ends all its live subscriptions. Payments, refunds and the like are recorded as audit
//! events, and never change access; disputes only by the policy.
//!
//! A subscription whose prices were never in the catalog has no say. If its prices leave the catalog, its last known plan
//! stays; after a change of the catalog, call [`recompute`]. A plan that an operator granted is never lowered, and a closed
//! status that an operator set is never lifted: the audit event contains the reason. A tenant that is being deleted does
//! not change.
//!
//! An event whose tenant is unknown, or that contradicts the stored state, goes to a quarantine, and the response is
//! `200`. The transaction that links a customer to a tenant also processes the quarantined events of that customer, and
//! the end of a subscription those that it blocked. [`replay`] applies one event again.
//!
//! What your program does about a change is a [`LifecycleCommand`]. Commands and other notifications are written in the
//! same transaction into an outbox, from which [`deliver_notifications`](stripe::StripeWebhook::deliver_notifications)
//! passes each [`Notification`] to your program at least once.
//!
//! What a tenant uses is recorded by a `UsageMeter` in the transaction that uses it, and sent by
//! `stripe::UsageSender` once a minute is over.
//!
//! Ids of a connected account are stored as `account/id`, because they are unique in their account only.

mod command;
mod context;
mod decision;
mod dispute;
mod effects;
mod event;
mod history;
mod notification;
mod ordering;
mod outbox;
mod outcome;
mod overdue;
mod owner;
mod policy;
mod process;
mod provider;
mod purchase;
mod records;
mod repeat;
mod review;
mod rules;
mod standing;
mod state;
mod store;
pub mod stripe;
mod subscription;
mod transition;
#[cfg(feature = "cli")]
mod unsent_usage;
mod usage_error;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod usage_meter;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod usage_rows;

pub use self::command::LifecycleCommand;
pub use self::context::BillingContext;
pub use self::decision::{Decision, decide};
pub use self::dispute::Dispute;
pub use self::event::{
    BillingEvent, CheckoutFacts, CheckoutMode, EventSubjects, Fact, PaymentFacts, RecordedFacts,
    SubscriptionEventKind, SubscriptionFacts,
};
pub use self::history::EventOrder;
pub use self::notification::{Notification, NotificationKind, OutboxRow};
pub use self::outcome::EventOutcome;
pub use self::policy::BillingPolicy;
pub use self::process::{process, recompute, replay};
pub use self::provider::Provider;
pub use self::review::ReviewItem;
pub use self::rules::Rules;
pub use self::state::{PreviousAttributes, Price, SubscriptionState, SubscriptionStatus, Watermark};
pub use self::store::{BillingStore, BillingTx, Quarantined};
pub use self::subscription::Subscription;
#[cfg(feature = "cli")]
pub(crate) use self::unsent_usage::{UnsentUsage, unsent_usage};
pub use self::usage_error::UsageError;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::usage_meter::UsageMeter;
