//! [`LifecycleCommand`]: what your program does about a change of a tenant.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// One step in the life of a tenant, for your program: to set something up, to write a mail, to release resources.
///
/// The tenant's own row is already changed when a command is delivered. Commands follow from the difference of two
/// stored states, so an event that changes nothing gives none.
///
/// ```
/// use tenancy::billing::LifecycleCommand;
///
/// let command = LifecycleCommand::ChangePlan { from: "free".to_owned(), to: "pro".to_owned() };
/// let json = serde_json::to_string(&command)?;
/// assert_eq!(json, r#"{"command":"change_plan","from":"free","to":"pro"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LifecycleCommand {
    /// The tenant's first subscription is live: paid for, or in trial.
    Activate,
    /// The tenant is on another plan.
    ChangePlan {
        /// The key of the plan before.
        from: String,
        /// The key of the plan now.
        to: String,
    },
    /// The subscription that decides has another number of seats; `None` is metered, or no subscription before.
    ChangeSeats {
        /// The number before.
        from: Option<u64>,
        /// The number now.
        to: Option<u64>,
    },
    /// A payment is overdue; the tenant is open, also if it was suspended or paused before.
    EnterPastDue,
    /// The tenant is closed until it pays.
    Suspend,
    /// The tenant is open again after [`Suspend`](Self::Suspend), or nothing is overdue any more.
    Recover,
    /// The subscription that decides is scheduled to end.
    ScheduleCancel {
        /// When it ends; `None` with its period, whose end is not known.
        at: Option<Timestamp>,
    },
    /// The subscription that decides is no longer scheduled to end.
    UnscheduleCancel,
    /// The tenant is closed until its subscription is resumed.
    Pause,
    /// The tenant is open again after [`Pause`](Self::Pause).
    Resume,
    /// The last live subscription ended: the tenant is on its granted or the fallback plan, or closed.
    Deactivate,
    /// A subscription is live again after [`Deactivate`](Self::Deactivate), or the closed tenant is open again.
    Reactivate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_stable() {
        let at = Some(Timestamp::from_seconds(5));
        for (command, json) in [
            (LifecycleCommand::Activate, r#"{"command":"activate"}"#),
            (LifecycleCommand::EnterPastDue, r#"{"command":"enter_past_due"}"#),
            (
                LifecycleCommand::ChangeSeats { from: None, to: Some(3) },
                r#"{"command":"change_seats","from":null,"to":3}"#,
            ),
            (LifecycleCommand::ScheduleCancel { at }, r#"{"command":"schedule_cancel","at":5000000}"#),
        ] {
            assert_eq!(serde_json::to_string(&command).unwrap(), json);
            assert_eq!(serde_json::from_str::<LifecycleCommand>(json).unwrap(), command);
        }
    }
}
