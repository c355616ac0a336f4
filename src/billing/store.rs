//! [`BillingStore`] and [`BillingTx`]: the storage of billing. Implementations are in [`crate::store`].

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::dispute::Dispute;
use super::event::BillingEvent;
use super::notification::OutboxRow;
use super::subscription::Subscription;
use super::usage_error::UsageError;
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::tenant::{Tenant, TenantId};

/// Stores customers, checkouts, subscriptions, the ids of processed events and the quarantine, in the database of the tenants.
#[async_trait]
pub trait BillingStore: Send + Sync + fmt::Debug {
    /// Opens a transaction. Dropping it without a [`commit`](BillingTx::commit) rolls it back.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`](crate::ErrorKind::StoreUnavailable).
    async fn begin(&self) -> Result<Box<dyn BillingTx + '_>>;
}

/// One open transaction of a [`BillingStore`]. It reads and writes rows; the rules are in
/// [`process`](super::process()).
///
/// Every method can fail with [`ErrorKind::StoreUnavailable`](crate::ErrorKind::StoreUnavailable), or with
/// [`ErrorKind::Retryable`](crate::ErrorKind::Retryable) if the transaction conflicts with another one: then it is
/// dropped and run again. Each method sees what the methods before it wrote.
#[async_trait]
pub trait BillingTx: Send {
    /// Records an event as processed; returns `false` if it was recorded before. The unique row is the lock: a second
    /// transaction with the same event waits for the first. Keep the rows for at least 35 days.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn record_once(&mut self, event: &str, account: Option<&str>, now: Timestamp) -> Result<bool>;

    /// Forgets the ids of events that were recorded before `before`, and returns how many; and deletes the checkouts,
    /// the notifications and the invalid meter events of the time before. An event that is delivered
    /// again afterwards is processed again, which changes nothing unless the tenant was changed by hand meanwhile.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn forget_events(&mut self, before: Timestamp) -> Result<u64>;

    /// Counts a failure of an event, with the time of the last one, and returns the count.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn record_failure(&mut self, event: &str, account: Option<&str>, now: Timestamp) -> Result<u32>;

    /// Locks a customer or subscription id until the transaction ends, even if no row with the id exists yet: an
    /// advisory lock on PostgreSQL, nothing in a `BEGIN IMMEDIATE` of SQLite.
    ///
    /// Without the lock, an event could enter the quarantine just after the link that would have released it.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn advisory_lock(&mut self, key: &str) -> Result<()>;

    /// Returns the tenant of a stored subscription.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn tenant_of_subscription(&mut self, subscription: &str) -> Result<Option<TenantId>>;

    /// Returns the tenant that a customer is linked to.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn tenant_of_customer(&mut self, customer: &str) -> Result<Option<TenantId>>;

    /// Returns the tenant, locked for update: a second transaction with the same tenant waits here.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn lock_tenant(&mut self, id: &TenantId) -> Result<Option<Tenant>>;

    /// Returns every subscription of a tenant, ended ones included, sorted by id.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn subscriptions(&mut self, tenant: &TenantId) -> Result<Vec<Subscription>>;

    /// Returns up to `limit` subscriptions that [need a refresh](Subscription::needs_refresh), those that wait longest
    /// first.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn unclear_subscriptions(&mut self, limit: u16) -> Result<Vec<Subscription>>;

    /// Inserts a subscription, or replaces the one with the same id.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if the stored one belongs to another tenant.
    async fn save_subscription(&mut self, subscription: &Subscription) -> Result<()>;

    /// Links a customer to a tenant, unless the customer is linked already. Returns the tenant that the customer is
    /// linked to afterwards.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn link_customer(&mut self, customer: &str, tenant: &TenantId, now: Timestamp) -> Result<TenantId>;

    /// Returns the customers of a tenant, the one that was linked last first.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn customers(&mut self, tenant: &TenantId) -> Result<Vec<String>>;

    /// Inserts a checkout that this program created for a tenant. A customer can still pay it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if it is stored already.
    async fn save_checkout(&mut self, checkout: &str, tenant: &TenantId, now: Timestamp) -> Result<()>;

    /// Returns the tenant that a stored checkout was created for.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn tenant_of_checkout(&mut self, checkout: &str) -> Result<Option<TenantId>>;

    /// Returns the checkouts of a tenant that a customer can still pay, sorted by id.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn open_checkouts(&mut self, tenant: &TenantId) -> Result<Vec<String>>;

    /// Marks a checkout as completed or expired. Nothing changes if it is not stored.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn close_checkout(&mut self, checkout: &str, now: Timestamp) -> Result<()>;

    /// Updates a tenant and returns its next version, as [`TenantStore::update`](crate::tenant::TenantStore::update)
    /// does.
    ///
    /// # Errors
    /// [`ErrorKind::StaleVersion`](crate::ErrorKind::StaleVersion) if the stored version is another one.
    async fn save_tenant(&mut self, tenant: &Tenant) -> Result<Arc<Tenant>>;

    /// Writes an audit event, which is committed together with the transaction.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn record(&mut self, event: &AuditEvent) -> Result<()>;

    /// Inserts an event into the quarantine, or replaces the one with the same account and id.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn quarantine(&mut self, event: &Quarantined) -> Result<()>;

    /// Removes and returns the events in the quarantine for this customer or this subscription, sorted by
    /// [`created`](Quarantined::created), then by [`event`](Quarantined::event).
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn take_quarantined(
        &mut self,
        customer: Option<&str>,
        subscription: Option<&str>,
    ) -> Result<Vec<Quarantined>>;

    /// Removes and returns the events in the quarantine that a subscription of this tenant keeps there, in the same
    /// order.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn take_blocked(&mut self, tenant: &TenantId) -> Result<Vec<Quarantined>>;

    /// Removes and returns one event of the quarantine.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn take_event(&mut self, event: &str, account: Option<&str>) -> Result<Option<Quarantined>>;

    /// Returns up to `limit` events of the quarantine, those that were received first.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn quarantined(&mut self, limit: u16) -> Result<Vec<Quarantined>>;

    /// Adds a notification after all others of its tenant, whom the caller has locked.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn add_notification(&mut self, row: &OutboxRow) -> Result<()>;

    /// Returns the notification with the least [`due`](OutboxRow::due) of those that are due at `now`, have not
    /// [failed](OutboxRow::failed), and are the first of their tenant that have not. Of several with the same time, that
    /// of the least tenant id.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn due_notification(&mut self, now: Timestamp) -> Result<Option<OutboxRow>>;

    /// Returns the notification with this id.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn notification(&mut self, id: &str) -> Result<Option<OutboxRow>>;

    /// Returns up to `limit` notifications that have [failed](OutboxRow::failed), those that failed first.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn failed_notifications(&mut self, limit: u16) -> Result<Vec<OutboxRow>>;

    /// Writes a notification that [`notification`](Self::notification) or
    /// [`due_notification`](Self::due_notification) returned: when it is due, and the counts and the error.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn update_notification(&mut self, row: &OutboxRow) -> Result<()>;

    /// Deletes a notification.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn delete_notification(&mut self, id: &str) -> Result<()>;

    /// Returns the disputes of a tenant's customers, sorted by id.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn disputes(&mut self, tenant: &TenantId) -> Result<Vec<Dispute>>;

    /// Inserts a dispute, or replaces the one with the same id.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn save_dispute(&mut self, dispute: &Dispute) -> Result<()>;

    /// Returns up to `limit` subscriptions whose [grace ends](Subscription::grace_ends) at `now` or before, those whose
    /// grace ends first, then by id.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn due_subscriptions(&mut self, now: Timestamp, limit: u16) -> Result<Vec<Subscription>>;

    /// Commits the transaction.
    ///
    /// # Errors
    /// As for every method of this trait; then nothing is committed.
    async fn commit(self: Box<Self>) -> Result<()>;

    /// Stores that a meter event is invalid, unless that is stored already.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn add_usage_error(&mut self, error: &UsageError) -> Result<()>;

    /// Returns up to `limit` invalid meter events, those that were received first, then by identifier.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn usage_errors(&mut self, limit: u16) -> Result<Vec<UsageError>>;

    /// Deletes an invalid meter event. Nothing changes if it is not stored.
    ///
    /// # Errors
    /// As for every method of this trait.
    async fn delete_usage_error(&mut self, identifier: &str) -> Result<()>;
}

/// An event in the quarantine.
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a store must save every field, so a new field must break its build"
)]
pub struct Quarantined {
    /// The event's id.
    pub event: String,
    /// The connected account that it happened in; `None` for your own.
    pub account: Option<String>,
    /// The customer that it is about.
    pub customer: Option<String>,
    /// The subscription that it is about.
    pub subscription: Option<String>,
    /// The tenant that it names, if a live subscription of that tenant keeps it in the quarantine.
    pub tenant: Option<TenantId>,
    /// Why it is in the quarantine: a short, stable text for people.
    pub reason: String,
    /// When the billing system created it.
    pub created: Timestamp,
    /// When this program received it.
    pub received: Timestamp,
    /// The event as received, byte for byte.
    pub raw: Vec<u8>,
}

impl Quarantined {
    /// An event with the ids that are stored. `blocked_by` is the tenant whose subscription keeps it in the quarantine.
    pub(super) fn new(
        event: &BillingEvent,
        reason: &str,
        blocked_by: Option<TenantId>,
        now: Timestamp,
    ) -> Self {
        let subjects = event.subjects();
        Self {
            event: event.id.clone(),
            account: event.account.clone(),
            customer: subjects.customer.map(str::to_owned),
            subscription: subjects.subscription.map(str::to_owned),
            tenant: blocked_by,
            reason: reason.to_owned(),
            created: event.created,
            received: now,
            raw: event.raw.clone(),
        }
    }
}

/// Omits the raw event, which contains names and addresses.
impl fmt::Debug for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quarantined")
            .field("event", &self.event)
            .field("account", &self.account)
            .field("customer", &self.customer)
            .field("subscription", &self.subscription)
            .field("tenant", &self.tenant)
            .field("reason", &self.reason)
            .field("created", &self.created)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
