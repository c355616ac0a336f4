//! The rules of holds: reservations and concurrency limits.

use futures_util::future::join_all;
use uuid::Uuid;

use super::case::{Case, MINUTE, charged};
use crate::plan::Limit;
use crate::quota::meter::{ChargeLine, HoldEnd, Meter, ResolveOutcome};

/// Q12: each hold has its own expiry, which no other charge moves.
pub(super) async fn holds_count_until_they_end(meter: &dyn Meter) {
    let mut case = Case::new(meter);
    let ten = Limit::AtMost(10);
    let (_, first) = case.hold(vec![case.line("t", 4, ten)], MINUTE).await;
    let (second, _) = case.hold(vec![case.line("t", 5, ten)], MINUTE * 3).await;
    assert!(charged(&first), "promise broken: a hold that fits is held");
    assert_eq!(case.state("t").await, (0, 9), "promise broken: live holds are added up");
    assert_eq!(case.read("t").await, (0, 9), "promise broken: a counter can be read alone");
    assert_eq!(case.read("absent").await, (0, 0), "promise broken: a counter that does not exist is empty");
    assert!(
        !charged(&case.charge(vec![case.line("t", 2, ten)]).await),
        "promise broken: a hold takes its amount"
    );
    assert!(
        charged(&case.charge(vec![case.line("t", 1, ten)]).await),
        "promise broken: what is left can be charged"
    );
    case.now = case.now.after(MINUTE);
    assert_eq!(case.state("t").await, (1, 5), "promise broken: an expired hold holds nothing");
    assert!(
        charged(&case.charge(vec![case.line("t", 4, ten)]).await),
        "promise broken: it can be charged again"
    );
    assert!(
        !charged(&case.charge(vec![case.line("t", 1, ten)]).await),
        "promise broken: the live hold still counts"
    );
    let released = case.resolve(second, HoldEnd::Release, vec![case.line("t", 0, ten)]).await;
    assert!(matches!(released, ResolveOutcome::Resolved(_)), "promise broken: a live hold can be released");
    assert_eq!(case.state("t").await, (5, 0), "promise broken: a released hold holds nothing");
}

/// Q10: a second end changes nothing.
pub(super) async fn ends_a_hold_once(meter: &dyn Meter) {
    let (case, other) = (Case::new(meter), Case::new(meter));
    let ten = Limit::AtMost(10);
    for (first, second, used) in [
        (HoldEnd::Commit, HoldEnd::Commit, 3),
        (HoldEnd::Release, HoldEnd::Commit, 0),
        (HoldEnd::Release, HoldEnd::Release, 0),
        (HoldEnd::Commit, HoldEnd::CommitAnyway, 3),
    ] {
        let feature = format!("{first:?}-{second:?}");
        let (hold, _) = case.hold(vec![case.line(&feature, 7, ten)], MINUTE).await;
        let line = || vec![case.line(&feature, 3, ten)];
        assert_eq!(
            other.resolve(hold, HoldEnd::Release, line()).await,
            ResolveOutcome::Expired,
            "promise broken: another tenant has no such hold"
        );
        let ends = join_all([case.resolve(hold, first, line()), case.resolve(hold, first, line())]).await;
        let resolved = ends.iter().filter(|end| matches!(end, ResolveOutcome::Resolved(_))).count();
        assert_eq!(resolved, 1, "promise broken: of two ends at once one counts");
        let again = case.resolve(hold, second, line()).await;
        assert_eq!(again, ResolveOutcome::AlreadyResolved, "promise broken: a hold ends once");
        assert_eq!(case.state(&feature).await, (used, 0), "promise broken: {first:?} counts {used}");
    }
}

/// Q9: after its expiry a hold is not committed, unless the caller insists.
pub(super) async fn refuses_a_late_commit(meter: &dyn Meter) {
    let mut case = Case::new(meter);
    let five = Limit::AtMost(5);
    let (hold, _) = case.hold(vec![case.line("t", 4, five)], MINUTE).await;
    case.now = case.now.after(MINUTE);
    assert!(
        charged(&case.charge(vec![case.line("t", 4, five)]).await),
        "promise broken: it was granted again"
    );
    let late = case.resolve(hold, HoldEnd::Commit, vec![case.line("t", 4, five)]).await;
    assert_eq!(late, ResolveOutcome::Expired, "promise broken: a late commit counts nothing");
    assert_eq!(case.state("t").await, (4, 0));
    let anyway = case.resolve(hold, HoldEnd::CommitAnyway, vec![case.line("t", 4, five)]).await;
    assert!(
        matches!(anyway, ResolveOutcome::Resolved(_)),
        "promise broken: work that is done can be counted"
    );
    assert_eq!(case.state("t").await, (8, 0), "promise broken: it is counted beyond the limit");
    let unknown = case.resolve(Uuid::now_v7(), HoldEnd::CommitAnyway, vec![case.line("t", 1, five)]).await;
    assert_eq!(unknown, ResolveOutcome::Expired, "promise broken: what was never held is not counted");
}

/// A commit whose clock is behind finds that a charge with a later clock did not count its hold.
pub(super) async fn a_commit_with_an_earlier_clock_does_not_exceed_the_limit(meter: &dyn Meter) {
    let (mut case, five) = (Case::new(meter), Limit::AtMost(5));
    let start = case.now;
    let (hold, _) = case.hold(vec![case.line("t", 4, five)], MINUTE).await;
    case.now = start.after(MINUTE);
    assert!(
        charged(&case.charge(vec![case.line("t", 5, five)]).await),
        "promise broken: the hold has expired"
    );
    case.now = start;
    let late = case.resolve(hold, HoldEnd::Commit, vec![case.line("t", 4, five)]).await;
    assert!(
        !matches!(late, ResolveOutcome::Resolved(_)),
        "promise broken: an expired hold is not live again"
    );
    assert_eq!(case.state("t").await, (5, 0), "promise broken: the limit holds whatever the clocks are");
}

/// A hold that is renewed before its end is held for longer. One that has ended, in any way, stays so.
pub(super) async fn renews_a_live_hold(meter: &dyn Meter) {
    let (mut case, mut other) = (Case::new(meter), Case::new(meter));
    let line = |case: &Case<'_>| vec![case.line("t", 4, Limit::AtMost(5))];
    let (hold, _) = case.hold(line(&case), MINUTE).await;
    let (of_other, _) = other.hold(line(&other), MINUTE).await;
    assert!(
        !other.renew(hold, line(&other), MINUTE).await,
        "promise broken: another tenant has no such hold"
    );
    assert!(case.renew(hold, line(&case), MINUTE * 3).await, "promise broken: a live hold is renewed");
    assert!(
        case.renew(hold, line(&case), MINUTE / 2).await,
        "promise broken: an earlier time changes nothing"
    );
    (case.now, other.now) = (case.now.after(MINUTE), other.now.after(MINUTE));
    assert!(!charged(&case.charge(line(&case)).await), "promise broken: a renewed hold still holds");
    assert_eq!(case.state("t").await, (0, 4), "promise broken: a renewal changes no amount");
    assert_eq!(other.state("t").await, (0, 0), "promise broken: one hold is renewed, and no other");
    assert!(
        !other.renew(of_other, line(&other), MINUTE).await,
        "promise broken: an expired hold is not renewed"
    );
    assert!(charged(&other.charge(line(&other)).await), "promise broken: an expired hold holds nothing");
    assert!(!case.renew(Uuid::now_v7(), line(&case), MINUTE).await, "promise broken: no hold is created");
    case.now = case.now.after(MINUTE * 2);
    assert!(!case.renew(hold, line(&case), MINUTE).await, "promise broken: a renewed hold expires");
    let (released, _) = case.hold(line(&case), MINUTE).await;
    case.resolve(released, HoldEnd::Release, line(&case)).await;
    assert!(
        !case.renew(released, line(&case), MINUTE).await,
        "promise broken: a released hold is not renewed"
    );
    assert_eq!(case.state("t").await, (0, 0));
}

/// Of a hold of two counters, one was charged after the expiry, by a later clock: neither is renewed.
pub(super) async fn renews_no_hold_that_a_charge_took_for_expired(meter: &dyn Meter) {
    let (mut case, five) = (Case::new(meter), Limit::AtMost(5));
    let start = case.now;
    let both = |case: &Case<'_>| vec![case.line("a", 4, five), case.line("b", 4, five)];
    let (hold, _) = case.hold(both(&case), MINUTE).await;
    case.now = start.after(MINUTE);
    assert!(
        charged(&case.charge(vec![case.line("b", 5, five)]).await),
        "promise broken: the hold has expired"
    );
    case.now = start;
    assert!(
        !case.renew(hold, both(&case), MINUTE * 3).await,
        "promise broken: an expired hold is not live again"
    );
    case.now = start.after(MINUTE * 2);
    assert_eq!(
        (case.state("a").await, case.state("b").await),
        ((0, 0), (5, 0)),
        "promise broken: a hold is renewed completely or not at all"
    );
}

pub(super) async fn commits_more_than_was_held_if_it_fits(meter: &dyn Meter) {
    let case = Case::new(meter);
    let ten = Limit::AtMost(10);
    let (hold, _) = case.hold(vec![case.line("t", 4, ten)], MINUTE).await;
    let over = case.resolve(hold, HoldEnd::Commit, vec![case.line("t", 11, ten)]).await;
    assert!(matches!(over, ResolveOutcome::Denied { line: 0, .. }), "promise broken: 11 of 10 do not fit");
    assert_eq!(case.state("t").await, (0, 4), "promise broken: the hold is still there");
    let fits = case.resolve(hold, HoldEnd::Commit, vec![case.line("t", 10, ten)]).await;
    assert!(matches!(fits, ResolveOutcome::Resolved(_)), "promise broken: 10 of 10 fit");
    assert_eq!(case.state("t").await, (10, 0));
}

/// Q17: a lower limit deletes nothing and allows nothing, and what was held before can still be committed.
pub(super) async fn keeps_what_is_used_when_the_limit_falls(meter: &dyn Meter) {
    let case = Case::new(meter);
    let line = |amount, limit| vec![case.line("t", amount, Limit::AtMost(limit))];
    let (hold, _) = case.hold(line(10, 100), MINUTE).await;
    assert!(charged(&case.charge(line(40, 100)).await));
    assert!(!charged(&case.charge(line(1, 10)).await), "promise broken: a lower limit holds at once");
    assert_eq!(case.state("t").await, (40, 10), "promise broken: what is used stays");
    let kept = case.resolve(hold, HoldEnd::Commit, line(10, 10)).await;
    assert!(matches!(kept, ResolveOutcome::Resolved(_)), "promise broken: what was held can be committed");
    assert_eq!(case.state("t").await, (50, 0));
    assert!(charged(&case.charge(line(50, 100)).await), "promise broken: a higher limit gives room at once");
}

pub(super) async fn ends_a_grace_period(meter: &dyn Meter) {
    let mut case = Case::new(meter);
    let line = |case: &Case<'_>, amount| {
        let line = case.line("t", amount, Limit::AtMost(10));
        vec![ChargeLine { hard_limit: Limit::AtMost(20), grace: Some(MINUTE), ..line }]
    };
    assert!(charged(&case.charge(line(&case, 10)).await));
    case.now = case.now.after(MINUTE * 2);
    assert!(
        charged(&case.charge(line(&case, 2)).await),
        "promise broken: the grace starts when the limit is exceeded"
    );
    assert!(charged(&case.charge(line(&case, 2)).await), "promise broken: the grace allows more");
    assert!(
        !charged(&case.charge(line(&case, 7)).await),
        "promise broken: the hard limit holds in the grace"
    );
    case.now = case.now.after(MINUTE);
    assert!(!charged(&case.charge(line(&case, 1)).await), "promise broken: the grace ends");
    assert_eq!(case.state("t").await, (14, 0));
}

/// Charges, holds, commits and releases of one counter at once never exceed the limit, and nothing is lost.
pub(super) async fn holds_and_charges_race(meter: &dyn Meter) {
    let case = Case::new(meter);
    let line = |amount| vec![case.line("t", amount, Limit::AtMost(60))];
    let works = (0..48_u64).map(|n| {
        let case = &case;
        async move {
            if n.is_multiple_of(3) {
                return u64::from(charged(&case.charge(line(1)).await));
            }
            let (hold, outcome) = case.hold(line(2), MINUTE).await;
            if !charged(&outcome) {
                return 0;
            }
            let end = if n % 3 == 1 { HoldEnd::Commit } else { HoldEnd::Release };
            let ended = case.resolve(hold, end, line(1)).await;
            assert!(matches!(ended, ResolveOutcome::Resolved(_)), "promise broken: a live hold ends");
            u64::from(end == HoldEnd::Commit)
        }
    });
    let used: u64 = join_all(works).await.into_iter().sum();
    assert_eq!(
        case.state("t").await,
        (used, 0),
        "promise broken: the count is the sum of what was charged and committed"
    );
    assert!(used >= 16, "promise broken: charges that fit are charged");
}
