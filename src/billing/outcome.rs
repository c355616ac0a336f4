//! [`EventOutcome`]: the result of one event.

use std::sync::Arc;

use crate::tenant::Tenant;

/// The outcome of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum EventOutcome {
    /// Something changed: the tenant, or the customer that is linked to it.
    Applied {
        /// The tenant after the event.
        tenant: Arc<Tenant>,
    },
    /// The event changed nothing.
    Unchanged,
    /// The event was processed before.
    Duplicate,
    /// The event is older than the stored state.
    Stale,
    /// Two events of one second, whose order cannot be known: the tenant does not change until the next event, or
    /// until a person reviews it.
    NeedsRefresh,
    /// The event is of a type, mode or account that this program does not use.
    Ignored {
        /// Why.
        reason: &'static str,
    },
    /// The event is in the quarantine.
    Quarantined {
        /// Why.
        reason: &'static str,
    },
}

impl EventOutcome {
    /// The outcome as a stable word in kebab case, for logs and responses.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "applied",
            Self::Unchanged => "unchanged",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::NeedsRefresh => "needs-refresh",
            Self::Ignored { .. } => "ignored",
            Self::Quarantined { .. } => "quarantined",
        }
    }
}
