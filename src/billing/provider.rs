//! [`Provider`]: what a billing system must implement.

use std::fmt;

use super::event::BillingEvent;
use crate::error::Result;

/// Parses the events of one billing system.
pub trait Provider: Send + Sync + fmt::Debug {
    /// The billing system's name: the actor of its audit events.
    fn name(&self) -> &'static str;

    /// Parses an event whose signature is verified.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the bytes are not an event,
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if this program cannot use such events.
    ///
    /// # Security
    /// The caller must have verified that `raw` comes from the billing system.
    fn read(&self, raw: &[u8]) -> Result<BillingEvent>;
}
