//! The rows of billing; the tenants are in `tenants.rs`.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::audit::AuditEvent;
use crate::billing::{Quarantined, Subscription};
use crate::tenant::TenantId;

/// The id of an event, with the connected account that it happened in.
type EventKey = (Option<String>, String);

#[derive(Debug, Default, Clone)]
pub(in crate::store::memory) struct BillingRows {
    /// The number of committed transactions.
    pub(in crate::store::memory) generation: u64,
    pub(in crate::store::memory) seen: HashSet<EventKey>,
    pub(in crate::store::memory) customers: HashMap<String, TenantId>,
    pub(in crate::store::memory) subscriptions: BTreeMap<String, Subscription>,
    pub(in crate::store::memory) quarantine: BTreeMap<EventKey, Quarantined>,
    pub(in crate::store::memory) audit: Vec<AuditEvent>,
}
