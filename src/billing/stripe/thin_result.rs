//! [`ThinResult`]: what a thin event led to.

use crate::billing::{BillingEvent, EventOutcome};

/// What a thin event led to.
pub(super) enum ThinResult {
    /// The event with its object.
    Event(Box<BillingEvent>),
    /// The event is handled.
    Done(EventOutcome),
    /// The body is not an event, for this reason.
    NotAnEvent(&'static str),
}
