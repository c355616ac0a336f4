//! The targets and details of audit events about what is only recorded.

use super::event::{PaymentFacts, RecordedFacts};
use crate::audit::AuditEvent;

/// Adds the facts of a payment.
pub(super) fn payment(mut record: AuditEvent, facts: &PaymentFacts) -> AuditEvent {
    if let Some(invoice) = &facts.invoice {
        record = record.target("invoice", invoice);
    }
    if let Some(amount) = facts.amount {
        record = record.detail("amount", amount);
    }
    if let Some(currency) = &facts.currency {
        record = record.detail("currency", currency);
    }
    if let Some(attempt) = facts.attempt {
        record = record.detail("attempt", attempt);
    }
    record
}

/// Adds the facts of an event that is only recorded.
pub(super) fn recorded(mut record: AuditEvent, facts: &RecordedFacts) -> AuditEvent {
    if let Some((kind, id)) = &facts.target {
        record = record.target(*kind, id);
    }
    for (name, value) in &facts.details {
        record = record.detail(*name, value);
    }
    record
}
