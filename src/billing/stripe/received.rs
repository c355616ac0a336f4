//! [`Received`]: what a body of a webhook is, after its signature is verified.

use crate::billing::{BillingEvent, EventOutcome};

/// A body whose signature is verified.
pub(super) enum Received<'a> {
    Event(Box<BillingEvent>),
    NotAnEvent {
        body: &'a [u8],
        reason: &'static str,
    },
    /// There is nothing left to do.
    Handled(EventOutcome),
}

impl Received<'_> {
    pub(super) fn ignored(reason: &'static str) -> Self {
        Self::Handled(EventOutcome::Ignored { reason })
    }
}
