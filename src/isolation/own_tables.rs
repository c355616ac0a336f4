//! The names of this crate's own tables. Their migrations create their policies.

/// The prefix of their names.
pub(super) const PREFIX: &str = "tenancy_";

/// The table of audit events.
pub(super) const AUDIT_EVENTS: &str = "tenancy_audit_events";
