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
//! | `canceled`, and no other is live | active on the catalog's `fallback` plan; without one, deactivated |
//! | one that this version does not know | none; reported as a [`ReviewItem`] |
//!
//! A price that is missing from the catalog never changes a plan. A closed status that an operator set is never
//! lifted: the plan changes, the status does not, and the audit event contains the reason. The same holds for a
//! tenant that is still [`Provisioning`](crate::tenant::TenantStatus::Provisioning).
//!
//! An event whose tenant is unknown, or that contradicts the stored state, goes to a quarantine, and the response is
//! `200`. The transaction that links a customer to a tenant also processes the quarantined events of that customer.

mod decision;
mod event;
mod ordering;
mod process;
mod provider;
mod store;
pub mod stripe;
mod subscription;

pub use self::decision::{Decision, EventOrder, ReviewItem, decide};
pub use self::event::{
    BillingEvent, CheckoutFacts, CheckoutMode, EventSubjects, Fact, PaymentFacts, SubscriptionEventKind,
    SubscriptionFacts,
};
pub use self::process::{EventOutcome, process};
pub use self::provider::Provider;
pub use self::store::{BillingStore, BillingTx, Quarantined};
pub use self::subscription::{
    PreviousAttributes, Price, Subscription, SubscriptionState, SubscriptionStatus, Watermark,
};
