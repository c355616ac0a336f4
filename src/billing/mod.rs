//! What the billing system says, and what follows for the tenant: [`process`], the [`decide`] it rests on, and
//! the [`BillingStore`] that keeps the rows. [`stripe`] reads Stripe's webhooks.
//!
//! An event is never a command. It says "this subscription now looks like this", [`decide`] compares that with
//! what is stored, and the tenant's plan and status follow from **all** its live subscriptions. So an event that
//! comes twice, late or in the wrong order does no harm: a subscription that has ended stays ended, an older
//! event never overwrites a newer one, and where the order cannot be known it says so
//! ([`EventOutcome::NeedsRefresh`]) instead of guessing.
//!
//! | the subscription is | the tenant becomes |
//! |---|---|
//! | `incomplete` | what it was |
//! | `trialing`, `active`, `past_due` | trialing, active, past due, on the plan that its price buys |
//! | `unpaid`, `paused` | suspended |
//! | `canceled`, and no other is live | active on the catalog's `fallback` plan; without one, deactivated |
//! | a word this version does not know | what it was, and a person is called |
//!
//! A price that the catalog does not know never changes a plan, and a status that an operator set to anything
//! closed is never lifted: the plan changes, the status waits, the audit event says so. That includes a tenant
//! that is still [`Provisioning`](crate::tenant::TenantStatus::Provisioning).
//!
//! An event whose tenant is not known, or that contradicts what is stored, goes to a quarantine with a `200`;
//! what is there for a customer is processed in the transaction that links the customer to a tenant.

mod decision;
mod event;
mod guard;
mod process;
pub mod stripe;
mod subscription;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::decision::{Decision, EventOrder, ReviewItem, decide};
pub use self::event::{
    BillingEvent, CheckoutFacts, EventSubjects, Fact, PaymentFacts, SubscriptionEventKind, SubscriptionFacts,
};
pub use self::process::{EventOutcome, process};
pub use self::subscription::{
    PreviousAttributes, Price, Subscription, SubscriptionState, SubscriptionStatus, Watermark,
};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::tenant::{Tenant, TenantId};

/// Reads the events of one billing system.
pub trait Provider: Send + Sync + fmt::Debug {
    /// The billing system's name: the actor of its audit events.
    fn name(&self) -> &'static str;

    /// Reads an event whose origin is proven.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is not an event at all,
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if it is of a sort that this program cannot
    /// use.
    ///
    /// # Security
    /// The caller has verified where `raw` comes from.
    fn read(&self, raw: &[u8]) -> Result<BillingEvent>;
}

/// Where customers, subscriptions, seen events and the quarantine are kept, in one database with the tenants.
#[async_trait]
pub trait BillingStore: Send + Sync + fmt::Debug {
    /// Opens a transaction. Dropping it without a [`commit`](BillingTx::commit) undoes all of it.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`](crate::ErrorKind::StoreUnavailable).
    async fn begin(&self) -> Result<Box<dyn BillingTx + '_>>;
}

/// One open transaction of a [`BillingStore`]: rows only, no rule; the rules are in [`process`].
///
/// Every method can fail with [`ErrorKind::StoreUnavailable`](crate::ErrorKind::StoreUnavailable), or with
/// [`ErrorKind::Retryable`](crate::ErrorKind::Retryable) when the transaction lost against another one: then it
/// is dropped and run again. What one method wrote, the next one reads.
#[async_trait]
pub trait BillingTx: Send {
    /// Notes an event as seen; `false` if it was already. The unique row is the lock: a second transaction with
    /// the same event waits for the first. Keep the rows for at least 35 days.
    ///
    /// # Errors
    /// As every method here.
    async fn record_once(&mut self, event: &str, account: Option<&str>, now: Timestamp) -> Result<bool>;

    /// Makes every other transaction that holds the same customer or subscription wait until this one ends, also
    /// where no row of it exists yet: an advisory lock on Postgres, nothing in a `BEGIN IMMEDIATE` of SQLite.
    ///
    /// Without it an event could go to the quarantine just after the link that would have freed it.
    ///
    /// # Errors
    /// As every method here.
    async fn advisory_lock(&mut self, key: &str) -> Result<()>;

    /// The tenant of a stored subscription.
    ///
    /// # Errors
    /// As every method here.
    async fn tenant_of_subscription(&mut self, subscription: &str) -> Result<Option<TenantId>>;

    /// The tenant that a customer is linked to.
    ///
    /// # Errors
    /// As every method here.
    async fn tenant_of_customer(&mut self, customer: &str) -> Result<Option<TenantId>>;

    /// The tenant, locked for update: a second transaction with the same tenant waits here.
    ///
    /// # Errors
    /// As every method here.
    async fn lock_tenant(&mut self, id: &TenantId) -> Result<Option<Tenant>>;

    /// Every subscription of a tenant, ended ones too, sorted by id.
    ///
    /// # Errors
    /// As every method here.
    async fn subscriptions(&mut self, tenant: &TenantId) -> Result<Vec<Subscription>>;

    /// Writes a subscription over the one of the same id, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if the stored one is another tenant's.
    async fn save_subscription(&mut self, subscription: &Subscription) -> Result<()>;

    /// Links a customer to a tenant, and answers with the tenant it is linked to: if it is linked already, that
    /// stays, whatever it is.
    ///
    /// # Errors
    /// As every method here.
    async fn link_customer(&mut self, customer: &str, tenant: &TenantId) -> Result<TenantId>;

    /// Writes a tenant over the version it was read at, and answers with the next version, as
    /// [`TenantStore::update`](crate::tenant::TenantStore::update) does.
    ///
    /// # Errors
    /// [`ErrorKind::StaleVersion`](crate::ErrorKind::StaleVersion) if it was changed meanwhile.
    async fn save_tenant(&mut self, tenant: &Tenant) -> Result<Arc<Tenant>>;

    /// Writes an audit event: it is there exactly if the transaction is.
    ///
    /// # Errors
    /// As every method here.
    async fn record(&mut self, event: &AuditEvent) -> Result<()>;

    /// Keeps an event for later, over the one of the same account and id, if there is one.
    ///
    /// # Errors
    /// As every method here.
    async fn quarantine(&mut self, held: &Quarantined) -> Result<()>;

    /// Takes what is in the quarantine for this customer or this subscription, sorted by
    /// [`created`](Quarantined::created), then by [`event`](Quarantined::event).
    ///
    /// # Errors
    /// As every method here.
    async fn take_quarantined(
        &mut self,
        customer: Option<&str>,
        subscription: Option<&str>,
    ) -> Result<Vec<Quarantined>>;

    /// Makes all of it last.
    ///
    /// # Errors
    /// As every method here; then none of it lasts.
    async fn commit(self: Box<Self>) -> Result<()>;
}

/// An event in the quarantine.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store must keep every part, and hear of a new one")]
pub struct Quarantined {
    /// The event's id.
    pub event: String,
    /// The connected account it happened in.
    pub account: Option<String>,
    /// The customer it is about.
    pub customer: Option<String>,
    /// The subscription it is about.
    pub subscription: Option<String>,
    /// Why it is here: a short, stable text for people.
    pub reason: String,
    /// When the billing system made it.
    pub created: Timestamp,
    /// When it came here.
    pub received: Timestamp,
    /// The event as it came, byte for byte.
    pub raw: Vec<u8>,
}

/// Without the raw event, which holds names and addresses.
impl fmt::Debug for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quarantined")
            .field("event", &self.event)
            .field("account", &self.account)
            .field("customer", &self.customer)
            .field("subscription", &self.subscription)
            .field("reason", &self.reason)
            .field("created", &self.created)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
