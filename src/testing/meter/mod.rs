//! The contract of [`Meter`].

mod case;
mod histories;
mod holds;

use futures_util::future::join_all;
use uuid::Uuid;

use self::case::{Case, MINUTE, charged};
use self::histories::does_as_the_memory_store_does;
use self::holds::{
    a_commit_with_an_earlier_clock_does_not_exceed_the_limit, commits_more_than_was_held_if_it_fits,
    ends_a_grace_period, ends_a_hold_once, holds_and_charges_race, holds_count_until_they_end,
    keeps_what_is_used_when_the_limit_falls, refuses_a_late_commit, renews_a_live_hold,
    renews_no_hold_that_a_charge_took_for_expired,
};
use super::expect::expect_ok;
use crate::error::ErrorKind;
use crate::plan::{Limit, Period};
use crate::quota::meter::{Charge, ChargeLine, ChargeOutcome, Counter, Hold, LineCount, Meter};

/// Tests a [`Meter`] against the contract of the trait. Each rule uses tenants of its own, so one store serves all.
///
/// # Panics
/// With the promise that is broken.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// tenancy::testing::meter(&tenancy::store::MemoryStore::new()).await;
/// # }
/// ```
pub async fn meter(meter: &dyn Meter) {
    charges_up_to_the_limit_in_a_race(meter).await;
    charges_all_lines_or_none(meter).await;
    never_deadlocks(meter).await;
    keeps_tenants_subjects_and_periods_apart(meter).await;
    counts_an_idempotency_key_once(meter).await;
    rejects_a_key_of_another_charge(meter).await;
    reports_each_warning_level_once(meter).await;
    holds_count_until_they_end(meter).await;
    ends_a_hold_once(meter).await;
    refuses_a_late_commit(meter).await;
    a_commit_with_an_earlier_clock_does_not_exceed_the_limit(meter).await;
    renews_a_live_hold(meter).await;
    renews_no_hold_that_a_charge_took_for_expired(meter).await;
    commits_more_than_was_held_if_it_fits(meter).await;
    keeps_what_is_used_when_the_limit_falls(meter).await;
    ends_a_grace_period(meter).await;
    counts_without_a_limit(meter).await;
    holds_and_charges_race(meter).await;
    does_as_the_memory_store_does(meter).await;
}

/// Q1: 64 charges at once, of which 40 fit.
async fn charges_up_to_the_limit_in_a_race(meter: &dyn Meter) {
    let case = Case::new(meter);
    let all = join_all((0..64).map(|_| case.charge(vec![case.line("calls", 1, Limit::AtMost(40))]))).await;
    assert_eq!(
        all.iter().filter(|outcome| charged(outcome)).count(),
        40,
        "promise broken: of charges at the same time, exactly as many succeed as fit"
    );
    assert_eq!(case.state("calls").await, (40, 0), "promise broken: what was charged is counted");
}

/// Q5: the second line does not fit, so the first is not charged.
async fn charges_all_lines_or_none(meter: &dyn Meter) {
    let case = Case::new(meter);
    let both = |a, b| vec![case.line("a", a, Limit::AtMost(100)), case.line("b", b, Limit::AtMost(10))];
    assert!(charged(&case.charge(both(5, 5)).await), "promise broken: a charge that fits is charged");
    let denied = case.charge(both(5, 6)).await;
    let count = |used| LineCount { used, ..LineCount::default() };
    assert_eq!(
        denied,
        ChargeOutcome::Denied { line: 1, counts: vec![count(5), count(5)] },
        "promise broken: a denied charge names the line and what is used"
    );
    assert_eq!(
        (case.state("a").await, case.state("b").await),
        ((5, 0), (5, 0)),
        "promise broken: a denied charge charges nothing"
    );
}

/// Q53: the same two counters in both orders.
async fn never_deadlocks(meter: &dyn Meter) {
    let case = Case::new(meter);
    let names = |n: usize| if n.is_multiple_of(2) { ["a", "b"] } else { ["b", "a"] };
    let charges = (0..40).map(|n| {
        let [one, two] = names(n);
        case.charge(vec![case.line(one, 1, Limit::Unlimited), case.line(two, 1, Limit::Unlimited)])
    });
    let all = join_all(charges).await;
    assert!(all.iter().all(charged), "promise broken: charges of the same counters wait for each other");
    assert_eq!((case.state("a").await, case.state("b").await), ((40, 0), (40, 0)));
}

/// Q49: names that are equal when they are joined, and another tenant, and another period.
async fn keeps_tenants_subjects_and_periods_apart(meter: &dyn Meter) {
    let (case, other) = (Case::new(meter), Case::new(meter));
    let one = Limit::AtMost(1);
    let names = [("a:b", "c"), ("a", "b:c"), ("a", ""), ("", "a"), ("a}", "{b"), ("a%", "é\"\n")];
    for case in [&case, &other] {
        for (feature, subject) in names {
            for period in [Period::Month, Period::Day, Period::Lifetime] {
                let line = || vec![case.line_at(feature, subject, period, 1, one)];
                assert!(
                    charged(&case.charge(line()).await),
                    "promise broken: {feature} {subject} {period:?} is its own"
                );
                assert!(
                    !charged(&case.charge(line()).await),
                    "promise broken: the limit of each counter holds"
                );
            }
        }
        let counters =
            expect_ok(meter.counters(&case.tenant, None, case.now, 100).await, "counters are listed");
        assert_eq!(counters.len(), names.len() * 3, "promise broken: every counter of the tenant is listed");
        let of_one =
            expect_ok(meter.counters(&case.tenant, Some("a"), case.now, 100).await, "counters are listed");
        assert_eq!(of_one.len(), 6, "promise broken: only the counters of the feature are listed");
        let newest = |counter: &Counter| std::cmp::Reverse(counter.start);
        assert!(counters.is_sorted_by_key(newest), "promise broken: the newest period is first");
        let limited = expect_ok(meter.counters(&case.tenant, None, case.now, 2).await, "counters are listed");
        assert_eq!(limited.len(), 2, "promise broken: at most `limit` counters are listed");
    }
}

/// Q37: a repeated charge counts once, also if all repetitions run at once.
async fn counts_an_idempotency_key_once(meter: &dyn Meter) {
    let (case, other) = (Case::new(meter), Case::new(meter));
    let key = Some(("request 1".to_owned(), case.now.after(MINUTE)));
    for case in [&case, &other] {
        let line = case.line("calls", 3, Limit::AtMost(100));
        let charge = Charge { key: key.clone(), ..case.charge_of(vec![line]) };
        let all = join_all((0..12).map(|_| meter.charge(&charge))).await;
        let all: Vec<_> =
            all.into_iter().map(|outcome| expect_ok(outcome, "a repeated charge succeeds")).collect();
        let first = all.iter().filter(|outcome| charged(outcome)).count();
        let repeated = |outcome: &&ChargeOutcome| matches!(outcome, ChargeOutcome::Repeated(counts) if counts[0].used == 3);
        assert_eq!(
            (first, all.iter().filter(repeated).count()),
            (1, 11),
            "promise broken: one charge counts, and the others return its counts"
        );
        assert_eq!(case.state("calls").await, (3, 0), "promise broken: a key counts once, in its tenant");
    }
    let later = Case { meter, tenant: case.tenant.clone(), now: case.now.after(MINUTE) };
    let line = later.line("calls", 3, Limit::AtMost(100));
    let charge = Charge {
        key: Some(("request 1".to_owned(), later.now.after(MINUTE))),
        ..later.charge_of(vec![line])
    };
    // A store may forget a key later than asked, by its own clock.
    expect_ok(meter.charge(&charge).await, "a key can be used again");
}

async fn rejects_a_key_of_another_charge(meter: &dyn Meter) {
    let case = Case::new(meter);
    let key = Some(("k".to_owned(), case.now.after(MINUTE)));
    let charge = |amount| Charge {
        key: key.clone(),
        ..case.charge_of(vec![case.line("calls", amount, Limit::AtMost(100))])
    };
    expect_ok(meter.charge(&charge(1)).await, "a charge with a key succeeds");
    let conflict = meter.charge(&charge(2)).await.map_err(|error| error.kind());
    assert_eq!(conflict, Err(ErrorKind::Conflict), "promise broken: a key stands for one charge");
    let hold = Some(Hold { id: Uuid::now_v7(), expires: case.now.after(MINUTE) });
    let outcome = meter.charge(&Charge { hold, ..charge(1) }).await.map_err(|error| error.kind());
    assert_eq!(outcome, Err(ErrorKind::Conflict), "promise broken: a hold is not a charge");
    let full = Charge {
        key: Some(("full".to_owned(), case.now.after(MINUTE))),
        ..case.charge_of(vec![case.line("calls", 100, Limit::AtMost(100))])
    };
    for _ in 0..2 {
        let denied = expect_ok(meter.charge(&full).await, "a denied charge has an outcome");
        assert!(
            matches!(denied, ChargeOutcome::Denied { .. }),
            "promise broken: a denied charge leaves no key"
        );
    }
}

/// Q41: 40 charges at once reach 80 and 100 percent once each.
async fn reports_each_warning_level_once(meter: &dyn Meter) {
    let case = Case::new(meter);
    let line = || ChargeLine { warn: vec![(80, 32), (100, 40)], ..case.line("calls", 1, Limit::AtMost(40)) };
    let all = join_all((0..44).map(|_| case.charge(vec![line()]))).await;
    let mut reached = Vec::new();
    for outcome in all {
        if let ChargeOutcome::Charged(counts) = outcome {
            reached.extend(counts[0].reached.iter().copied());
        }
    }
    reached.sort_unstable();
    assert_eq!(reached, [80, 100], "promise broken: one charge gets each warning level");
    let jump = Case::new(meter);
    let line = ChargeLine { warn: vec![(80, 80), (100, 100)], ..jump.line("calls", 101, Limit::AtMost(200)) };
    let outcome = jump.charge(vec![line]).await;
    let ChargeOutcome::Charged(counts) = outcome else {
        panic!("promise broken: a charge that fits is charged")
    };
    assert_eq!(counts[0].reached, [80, 100], "promise broken: a jump reaches every level that it passes");
}

/// Q16 and Q20: without a limit everything is counted, up to the largest number that every store counts exactly.
async fn counts_without_a_limit(meter: &dyn Meter) {
    let case = Case::new(meter);
    let line = |amount| vec![case.line("t", amount, Limit::Unlimited)];
    assert!(charged(&case.charge(line((1 << 53) - 2)).await));
    assert!(charged(&case.charge(line(1)).await));
    assert_eq!(case.state("t").await, ((1 << 53) - 1, 0), "promise broken: large counts are exact");
    assert!(!charged(&case.charge(line(1)).await), "promise broken: a count beyond 2^53 - 1 is rejected");
}
