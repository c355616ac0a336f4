//! [`Notification`]: what your program is notified of, as the outbox keeps it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::command::LifecycleCommand;
use super::review::ReviewItem;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// Something about a tenant's billing that your program acts on. It was committed together with the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notification {
    /// The notification's id, which is the same at each attempt. Use it as an idempotency key.
    pub id: String,
    /// The tenant.
    pub tenant: TenantId,
    /// The id of the event that caused it; `None` if none did, as in a recomputation.
    pub event: Option<String>,
    /// What it is about.
    pub kind: NotificationKind,
    /// When it was written.
    pub created: Timestamp,
}

/// What a [`Notification`] is about. As JSON it has the key `type`; keys are added, never renamed.
///
/// ```
/// use tenancy::billing::{LifecycleCommand, NotificationKind};
///
/// let kind = NotificationKind::Lifecycle(LifecycleCommand::Suspend);
/// assert_eq!(serde_json::to_string(&kind)?, r#"{"type":"lifecycle","command":"suspend"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotificationKind {
    /// A step in the life of the tenant.
    Lifecycle(LifecycleCommand),
    /// A trial ends soon.
    #[non_exhaustive]
    TrialEnding {
        /// The subscription.
        subscription: String,
        /// When the trial ends.
        at: Timestamp,
    },
    /// A payment failed. Access follows from the lifecycle commands, not from this.
    #[non_exhaustive]
    PaymentFailed {
        /// The subscription that the payment is for.
        subscription: Option<String>,
        /// The invoice.
        invoice: Option<String>,
        /// The amount due, in the currency's smallest unit.
        amount: Option<i64>,
        /// The currency code.
        currency: Option<String>,
        /// The number of attempts so far.
        attempt: Option<u64>,
        /// When the billing system tries again; `None` if it does not.
        next_attempt: Option<Timestamp>,
    },
    /// The customer must confirm a payment.
    #[non_exhaustive]
    PaymentActionRequired {
        /// The subscription that the payment is for.
        subscription: Option<String>,
        /// The invoice.
        invoice: Option<String>,
        /// The number of attempts so far.
        attempt: Option<u64>,
        /// The page of the billing system where the customer confirms it.
        hosted_url: Option<String>,
    },
    /// Something that a person should review arose.
    Review(ReviewItem),
}

impl NotificationKind {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers are always JSON")
    }

    /// What it is about, if several events can report the same.
    pub(super) fn key(&self) -> Option<String> {
        match self {
            Self::TrialEnding { subscription, at } => {
                Some(format!("{subscription}/trial-ending/{}", at.seconds()))
            }
            Self::PaymentFailed { invoice: Some(invoice), attempt, .. } => {
                Some(format!("{invoice}/payment-failed/{}", attempt.unwrap_or_default()))
            }
            Self::PaymentActionRequired { invoice: Some(invoice), attempt, .. } => {
                Some(format!("{invoice}/action-required/{}", attempt.unwrap_or_default()))
            }
            // They follow from the difference of two states.
            Self::Lifecycle(_)
            | Self::Review(_)
            | Self::PaymentFailed { .. }
            | Self::PaymentActionRequired { .. } => None,
        }
    }
}

/// A row of the outbox: a notification that is not delivered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a store must save every field, so a new field must break its build"
)]
pub struct OutboxRow {
    /// The notification's id.
    pub id: String,
    /// The tenant. The rows of one tenant are delivered in the order in which they were added.
    pub tenant: TenantId,
    /// The id of the event that caused it.
    pub event: Option<String>,
    /// What it is about: the JSON of a [`NotificationKind`].
    pub kind: String,
    /// When it was written.
    pub created: Timestamp,
    /// The time of the next attempt, or the end of the lease of the node that delivers it.
    pub due: Timestamp,
    /// How often a node claimed it.
    pub claims: u32,
    /// How often it failed since it was added or retried.
    pub failures: u32,
    /// The last error.
    pub error: Option<String>,
    /// When it was given up; `None` if it was not.
    pub failed: Option<Timestamp>,
}

impl OutboxRow {
    pub(super) fn new(
        tenant: TenantId,
        event: Option<&str>,
        kind: &NotificationKind,
        now: Timestamp,
    ) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            tenant,
            event: event.map(str::to_owned),
            kind: kind.to_json(),
            created: now,
            due: now,
            claims: 0,
            failures: 0,
            error: None,
            failed: None,
        }
    }

    /// The notification.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] if this version does not know its kind.
    pub fn notification(&self) -> Result<Notification> {
        let kind = serde_json::from_str(&self.kind).map_err(|cause| {
            let text =
                "a notification has a kind that this version does not know; deliver it with a newer one";
            Error::new(ErrorKind::Database, text).with_source(cause)
        })?;
        let (id, tenant, event) = (self.id.clone(), self.tenant.clone(), self.event.clone());
        Ok(Notification { id, tenant, event, kind, created: self.created })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::TenantStatus;

    #[test]
    fn the_json_is_stable() {
        let at = Timestamp::from_seconds(5);
        let payment = NotificationKind::PaymentFailed {
            subscription: None,
            invoice: Some("in_1".to_owned()),
            amount: Some(1000),
            currency: Some("eur".to_owned()),
            attempt: Some(2),
            next_attempt: Some(at),
        };
        let action = NotificationKind::PaymentActionRequired {
            subscription: Some("sub_1".to_owned()),
            invoice: None,
            attempt: None,
            hosted_url: Some("https://invoice.stripe.com/i/1".to_owned()),
        };
        for (kind, json) in [
            (
                NotificationKind::Lifecycle(LifecycleCommand::ChangeSeats { from: Some(1), to: None }),
                r#"{"type":"lifecycle","command":"change_seats","from":1,"to":null}"#,
            ),
            (
                NotificationKind::TrialEnding { subscription: "sub_1".to_owned(), at },
                r#"{"type":"trial_ending","subscription":"sub_1","at":5000000}"#,
            ),
            (
                payment,
                r#"{"type":"payment_failed","subscription":null,"invoice":"in_1","amount":1000,"currency":"eur","attempt":2,"next_attempt":5000000}"#,
            ),
            (
                action,
                r#"{"type":"payment_action_required","subscription":"sub_1","invoice":null,"attempt":null,"hosted_url":"https://invoice.stripe.com/i/1"}"#,
            ),
            (
                NotificationKind::Review(ReviewItem::StatusHeld { wanted: TenantStatus::PastDue }),
                r#"{"type":"review","review":"status_held","wanted":"past_due"}"#,
            ),
            (
                NotificationKind::Review(ReviewItem::MissingPlan),
                r#"{"type":"review","review":"missing_plan"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), json);
            assert_eq!(serde_json::from_str::<NotificationKind>(json).unwrap(), kind);
        }
    }
}
