//! [`LifecycleCommand`]: what your program does about a change of a tenant, and the pure function that finds it.

use serde::{Deserialize, Serialize};

use super::standing::{Access, deciding};
use super::subscription::Subscription;
use crate::clock::Timestamp;
use crate::tenant::{StatusSource, Tenant, TenantStatus};

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

/// The commands that lead from one stored state of a tenant to the next, in the order in which they are carried out.
pub(super) fn commands<'a>(
    (old, old_subscriptions): (&Tenant, &'a [Subscription]),
    (new, new_subscriptions): (&Tenant, impl IntoIterator<Item = &'a Subscription>),
) -> Vec<LifecycleCommand> {
    let old = Standing::of(old, old_subscriptions);
    Standing::of(new, new_subscriptions).after(&old)
}

/// What commands depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    phase: Phase,
    conduct: Conduct,
    plan: String,
    seats: Option<u64>,
    ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    NotScheduled,
    At(Option<Timestamp>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was ever live.
    Never,
    Live,
    Ended,
    /// The tenant is deactivated or being deleted.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conduct {
    Good,
    PastDue,
    Suspended,
    Paused,
}

impl Standing {
    fn of<'a>(tenant: &Tenant, subscriptions: impl IntoIterator<Item = &'a Subscription>) -> Self {
        let all: Vec<&Subscription> = subscriptions.into_iter().collect();
        let live = deciding(all.iter().copied());
        let best = live.last();
        let bought_before = || all.iter().any(|sub| sub.row.was_live && sub.plan().is_some());
        let phase = match (tenant.status(), best) {
            (TenantStatus::Deactivated | TenantStatus::Deleting, _) => Phase::Closed,
            (_, Some(_)) => Phase::Live,
            (_, None) if bought_before() => Phase::Ended,
            (_, None) => Phase::Never,
        };
        let by_operator = tenant.status_set_by() == StatusSource::Operator;
        let conduct = match (tenant.status(), best) {
            (TenantStatus::PastDue, _) => Conduct::PastDue,
            (TenantStatus::Suspended, Some((_, Access::Paused))) if !by_operator => Conduct::Paused,
            (TenantStatus::Suspended, _) => Conduct::Suspended,
            _ => Conduct::Good,
        };
        Self {
            phase,
            conduct,
            plan: tenant.plan().to_owned(),
            seats: best.and_then(|(sub, _)| sub.seats()),
            ending: match best {
                Some((sub, _)) if sub.row.state.is_ending() => Ending::At(sub.cancel_at()),
                _ => Ending::NotScheduled,
            },
        }
    }

    fn after(&self, old: &Self) -> Vec<LifecycleCommand> {
        let mut commands = Vec::new();
        let is_live = self.phase == Phase::Live;
        let step = match (old.phase, self.phase) {
            (Phase::Never, Phase::Live) => Some(LifecycleCommand::Activate),
            (Phase::Ended | Phase::Closed, Phase::Live) | (Phase::Closed, Phase::Never | Phase::Ended) => {
                Some(LifecycleCommand::Reactivate)
            }
            (Phase::Live, Phase::Never | Phase::Ended)
            | (Phase::Never | Phase::Live | Phase::Ended, Phase::Closed) => {
                Some(LifecycleCommand::Deactivate)
            }
            _ => None,
        };
        let has_ended = step == Some(LifecycleCommand::Deactivate);
        commands.extend(step);
        if self.plan != old.plan {
            commands.push(LifecycleCommand::ChangePlan { from: old.plan.clone(), to: self.plan.clone() });
        }
        if is_live && self.seats != old.seats {
            commands.push(LifecycleCommand::ChangeSeats { from: old.seats, to: self.seats });
        }
        commands.extend(match (old.conduct, self.conduct) {
            (old, new) if old == new => None,
            (_, Conduct::PastDue) => Some(LifecycleCommand::EnterPastDue),
            (_, Conduct::Suspended) => Some(LifecycleCommand::Suspend),
            (_, Conduct::Paused) => Some(LifecycleCommand::Pause),
            (_, Conduct::Good) if has_ended => None,
            (Conduct::Paused, Conduct::Good) => Some(LifecycleCommand::Resume),
            (_, Conduct::Good) => Some(LifecycleCommand::Recover),
        });
        match (old.ending, self.ending) {
            (old, Ending::At(at)) if is_live && old != Ending::At(at) => {
                commands.push(LifecycleCommand::ScheduleCancel { at });
            }
            (Ending::At(_), Ending::NotScheduled) if is_live => {
                commands.push(LifecycleCommand::UnscheduleCancel);
            }
            _ => {}
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(command: &LifecycleCommand) -> String {
        let json = serde_json::to_value(command).unwrap();
        json["command"].as_str().unwrap().to_owned()
    }

    fn standing(phase: Phase, conduct: Conduct) -> Standing {
        Standing { phase, conduct, plan: "pro".to_owned(), seats: Some(3), ending: Ending::NotScheduled }
    }

    /// Every phase and conduct against every other.
    #[test]
    fn the_table_of_old_and_new() {
        use Conduct::{Good, PastDue, Paused, Suspended};
        use Phase::{Closed, Ended, Live, Never};
        let states = [
            (Never, Good),
            (Ended, Good),
            (Live, Good),
            (Live, PastDue),
            (Live, Suspended),
            (Live, Paused),
            (Never, Suspended),
            (Ended, Suspended),
            (Closed, Good),
        ];
        // The rows are the old state, the columns the new one, both in the order of `states`.
        let a = "activate";
        let r = "reactivate";
        let d = "deactivate";
        let (p, s, z) = ("enter_past_due", "suspend", "pause");
        let table: [[&[&str]; 9]; 9] = [
            [&[], &[], &[a], &[a, p], &[a, s], &[a, z], &[s], &[s], &[d]],
            [&[], &[], &[r], &[r, p], &[r, s], &[r, z], &[s], &[s], &[d]],
            [&[d], &[d], &[], &[p], &[s], &[z], &[d, s], &[d, s], &[d]],
            [&[d], &[d], &["recover"], &[], &[s], &[z], &[d, s], &[d, s], &[d]],
            [&[d], &[d], &["recover"], &[p], &[], &[z], &[d], &[d], &[d]],
            [&[d], &[d], &["resume"], &[p], &[s], &[], &[d, s], &[d, s], &[d]],
            [&["recover"], &["recover"], &[a, "recover"], &[a, p], &[a], &[a, z], &[], &[], &[d]],
            [&["recover"], &["recover"], &[r, "recover"], &[r, p], &[r], &[r, z], &[], &[], &[d]],
            [&[r], &[r], &[r], &[r, p], &[r, s], &[r, z], &[r, s], &[r, s], &[]],
        ];
        let mut given = std::collections::BTreeSet::new();
        for (old, row) in states.iter().zip(table) {
            for (new, expected) in states.iter().zip(row) {
                let commands = standing(new.0, new.1).after(&standing(old.0, old.1));
                let names: Vec<String> = commands.iter().map(name).collect();
                assert_eq!(names, expected, "{old:?} to {new:?}");
                given.extend(names);
            }
        }
        assert_eq!(given.len(), 8, "{given:?}");
    }

    #[test]
    fn plan_seats_and_the_scheduled_end_change_on_their_own() {
        let at = |second| Ending::At(Some(Timestamp::from_seconds(second)));
        let plans = ["basic", "pro"];
        let seats = [None, Some(1), Some(2)];
        let endings = [Ending::NotScheduled, Ending::At(None), at(5), at(6)];
        let mut all = Vec::new();
        for (plan, seats, ending, phase) in combinations(&plans, &seats, &endings) {
            let plan = plan.to_owned();
            all.push(Standing { phase, conduct: Conduct::Good, plan, seats, ending });
        }
        let (mut pairs, mut schedules) = (0, 0);
        for old in &all {
            assert_eq!(old.after(old), []);
            for new in &all {
                let live = new.phase == Phase::Live;
                let mut expected = Vec::new();
                expected.extend(match (old.phase, new.phase) {
                    (Phase::Ended, Phase::Live) => Some(LifecycleCommand::Reactivate),
                    (Phase::Live, Phase::Ended) => Some(LifecycleCommand::Deactivate),
                    _ => None,
                });
                if old.plan != new.plan {
                    let (from, to) = (old.plan.clone(), new.plan.clone());
                    expected.push(LifecycleCommand::ChangePlan { from, to });
                }
                if live && old.seats != new.seats {
                    expected.push(LifecycleCommand::ChangeSeats { from: old.seats, to: new.seats });
                }
                if live && old.ending != new.ending {
                    expected.push(match new.ending {
                        Ending::At(at) => LifecycleCommand::ScheduleCancel { at },
                        Ending::NotScheduled => LifecycleCommand::UnscheduleCancel,
                    });
                    schedules += 1;
                }
                assert_eq!(new.after(old), expected, "{old:?} to {new:?}");
                pairs += 1;
            }
        }
        assert!(pairs == 48 * 48 && schedules > 500, "{pairs} {schedules}");
    }

    /// Every combination.
    fn combinations<'a>(
        plans: &'a [&'static str],
        seats: &'a [Option<u64>],
        endings: &'a [Ending],
    ) -> impl Iterator<Item = (&'static str, Option<u64>, Ending, Phase)> {
        plans.iter().flat_map(move |plan| {
            seats.iter().flat_map(move |seats| {
                endings.iter().flat_map(move |ending| {
                    [Phase::Live, Phase::Ended].map(move |phase| (*plan, *seats, *ending, phase))
                })
            })
        })
    }

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
