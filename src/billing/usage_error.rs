//! [`UsageError`]: a meter event that the billing system found invalid after it had accepted it.

use crate::clock::Timestamp;

/// A meter event that the billing system accepted and then found invalid, so that it does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a store must save every field, so a new field must break its build"
)]
pub struct UsageError {
    /// The identifier that the meter event was sent with.
    pub identifier: String,
    /// The billing system's code for the reason.
    pub code: String,
    /// The reason, for people.
    pub message: String,
    /// When this program received it.
    pub received: Timestamp,
}
