//! [`commands`]: which commands lead from one stored state of a tenant to the next. A pure function.

use super::command::LifecycleCommand;
use super::rules::Rules;
use super::standing::{Access, deciding};
use super::subscription::Subscription;
use crate::clock::Timestamp;
use crate::tenant::{StatusSource, Tenant, TenantStatus};

/// The commands that lead from one stored state of a tenant to the next, in the order in which they are carried out.
pub(super) fn commands(
    (old, old_subscriptions): (&Tenant, &[Subscription]),
    (new, new_subscriptions): (&Tenant, &[Subscription]),
    rules: &Rules<'_>,
) -> Vec<LifecycleCommand> {
    let old = Standing::of(old, old_subscriptions, rules);
    Standing::of(new, new_subscriptions, rules).after(&old)
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
    fn of(tenant: &Tenant, all: &[Subscription], rules: &Rules<'_>) -> Self {
        let live = deciding(all, rules);
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

    fn letter(command: &LifecycleCommand) -> char {
        match command {
            LifecycleCommand::Activate => 'A',
            LifecycleCommand::Reactivate => 'R',
            LifecycleCommand::Deactivate => 'D',
            LifecycleCommand::EnterPastDue => 'P',
            LifecycleCommand::Suspend => 'S',
            LifecycleCommand::Recover => 'C',
            LifecycleCommand::Pause => 'Z',
            LifecycleCommand::Resume => 'M',
            other => panic!("{other:?}"),
        }
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
        let table = "
            -  -  A  AP AS AZ S  S  D
            -  -  R  RP RS RZ S  S  D
            D  D  -  P  S  Z  DS DS D
            D  D  C  -  S  Z  DS DS D
            D  D  C  P  -  Z  D  D  D
            D  D  M  P  S  -  DS DS D
            C  C  AC AP A  AZ -  -  D
            C  C  RC RP R  RZ -  -  D
            R  R  R  RP RS RZ RS RS -";
        let rows: Vec<Vec<&str>> =
            table.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
        assert!(rows.len() == states.len() && rows.iter().all(|row| row.len() == states.len()));
        let mut given = std::collections::BTreeSet::new();
        for (old, row) in states.iter().zip(&rows) {
            for (new, expected) in states.iter().zip(row) {
                let commands = standing(new.0, new.1).after(&standing(old.0, old.1));
                let letters: String = commands.iter().map(letter).collect();
                let letters = if letters.is_empty() { "-" } else { &letters };
                assert_eq!(letters, *expected, "{old:?} to {new:?}");
                given.extend(letters.chars());
            }
        }
        assert_eq!(given.len(), 9, "{given:?}");
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
}
