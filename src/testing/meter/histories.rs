//! Random histories, with the memory store as the model.

use std::time::Duration;

use uuid::Uuid;

use super::case::{Case, MINUTE};
use crate::plan::Limit;
use crate::quota::meter::{ChargeLine, Hold, HoldEnd, Meter, Resolution};
use crate::store::MemoryStore;
use crate::testing::expect::expect_ok;

/// Random histories have the same outcomes as in the memory store.
pub(super) async fn does_as_the_memory_store_does(meter: &dyn Meter) {
    let model = MemoryStore::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..6 {
        let (mut case, mut holds) = (Case::new(meter), Vec::new());
        for _ in 0..40 {
            case.now = case.now.after(Duration::from_secs(random.below(40)));
            let lines: Vec<_> = ["a", "b"].into_iter().take(1 + usize::from(random.below(2) == 1)).collect();
            let lines: Vec<_> =
                lines.iter().map(|feature| random_line(&mut random, &case, feature)).collect();
            if let (Some(hold), 0..4) = (pick(&mut random, &holds), random.below(10)) {
                let end = [HoldEnd::Commit, HoldEnd::Release, HoldEnd::CommitAnyway]
                    [usize::try_from(random.below(3)).unwrap_or(0)];
                let (hold, lines) = resolved_lines(&mut random, hold);
                let resolution = Resolution { tenant: case.tenant.clone(), hold, lines, end, now: case.now };
                let outcomes = (meter.resolve(&resolution).await, model.resolve(&resolution).await);
                let (real, wanted) =
                    (expect_ok(outcomes.0, "an outcome"), expect_ok(outcomes.1, "an outcome"));
                assert_eq!(real, wanted, "promise broken: {resolution:?} has one outcome");
                continue;
            }
            let mut charge = case.charge_of(lines);
            if random.below(2) == 0 {
                let expires = case.now.after(Duration::from_secs(1 + random.below(120)));
                let hold = Hold { id: Uuid::now_v7(), expires };
                holds.push((hold.id, charge.lines.clone()));
                charge.hold = Some(hold);
            }
            let outcomes = (meter.charge(&charge).await, model.charge(&charge).await);
            let (real, wanted) = (expect_ok(outcomes.0, "an outcome"), expect_ok(outcomes.1, "an outcome"));
            assert_eq!(real, wanted, "promise broken: {charge:?} has one outcome");
        }
        let counters = (
            meter.counters(&case.tenant, None, case.now, 100).await,
            model.counters(&case.tenant, None, case.now, 100).await,
        );
        assert_eq!(
            expect_ok(counters.0, "counters are listed"),
            expect_ok(counters.1, "counters are listed"),
            "promise broken: a history ends with the same counters"
        );
    }
}

fn random_line(random: &mut Random, case: &Case<'_>, feature: &str) -> ChargeLine {
    let line = case.line(feature, 1 + random.below(6), Limit::AtMost(20 + random.below(4)));
    let grace = (random.below(3) == 0).then_some(MINUTE);
    let hard_limit = if grace.is_some() { Limit::AtMost(30) } else { line.limit };
    ChargeLine { hard_limit, grace, warn: vec![(50, 10), (80, 16)], ..line }
}

/// The lines of a hold with what was really used.
fn resolved_lines(random: &mut Random, (hold, lines): &(Uuid, Vec<ChargeLine>)) -> (Uuid, Vec<ChargeLine>) {
    let used = random.below(9);
    (*hold, lines.iter().map(|line| ChargeLine { amount: used, ..line.clone() }).collect())
}

fn pick<'a, T>(random: &mut Random, all: &'a [T]) -> Option<&'a T> {
    let at = random.below(u64::try_from(all.len().max(1)).unwrap_or(1));
    all.get(usize::try_from(at).unwrap_or(0))
}

/// A small generator, so that each run has the same histories.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}
