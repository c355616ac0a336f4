//! The rows of billing; the tenants are in `tenants.rs`.

use std::collections::{BTreeMap, HashMap};

use crate::audit::AuditEvent;
use crate::billing::{Dispute, OutboxRow, Quarantined, Subscription, UsageError};
use crate::clock::Timestamp;
use crate::tenant::TenantId;

/// The id of an event, with the connected account that it happened in.
type EventKey = (Option<String>, String);

#[derive(Debug, Default, Clone)]
pub(crate) struct BillingRows {
    /// The number of committed transactions.
    pub(crate) generation: u64,
    /// The processed events, each with the time of its first delivery.
    pub(crate) seen: HashMap<EventKey, Timestamp>,
    /// The failures of events that were not processed.
    pub(crate) failures: HashMap<EventKey, u32>,
    /// The customers, each with its tenant and when it was linked.
    pub(crate) customers: HashMap<String, (TenantId, Timestamp)>,
    /// The checkouts, each with its tenant, when it was created, and whether it is open.
    pub(crate) checkouts: BTreeMap<String, (TenantId, Timestamp, bool)>,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    pub(crate) quarantine: BTreeMap<EventKey, Quarantined>,
    /// In the order in which they were added.
    pub(crate) outbox: Vec<OutboxRow>,
    pub(crate) disputes: BTreeMap<String, Dispute>,
    pub(crate) audit: Vec<AuditEvent>,
    pub(crate) usage_errors: Vec<UsageError>,
}
