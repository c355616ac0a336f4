//! What `Quotas` counts, on every store and from two nodes: exactly the limit, all or nothing, once for a key.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sqlx::Sqlite;
use tenancy::context::Actor;
use tenancy::plan::Limit;
use tenancy::quota::{
    Concurrency, CrashPolicy, DecisionSource, LeaseOptions, LeasedQuotas, Quota, Quotas, Rate, Rates,
};
use tenancy::web::Problem;
use tenancy::{Error, ErrorKind, TenantContext};

use crate::quota_fixture::{Flaky, Meters, NOW, World, at_once, clock, on_every_meter, used};

const CALLS: Quota = Quota::new("calls");
const TOKENS: Quota = Quota::new("tokens");
const MINUTE: Quota = Quota::new("minute");
const SOFT: Quota = Quota::new("soft");
const PER_USER: Quota = Quota::new("per_user");
const PER_KEY: Quota = Quota::new("per_key");
const PER_SUBJECT: Quota = Quota::new("per_subject");

const CATALOG: &str = r#"
version = 1
upgrade_url = "/upgrade"
[features]
calls       = { kind = "quota", period = "month", warn = [80, 100], timeout_ms = 60000 }
tokens      = { kind = "quota", period = "month", timeout_ms = 60000 }
minute      = { kind = "quota", period = { seconds = 60 }, timeout_ms = 60000 }
soft        = { kind = "quota", period = "month", warn = [80, 100], overage = "allow", timeout_ms = 60000 }
per_user    = { kind = "quota", period = "month", per = "user", timeout_ms = 60000 }
per_key     = { kind = "quota", period = "month", per = "api_key", timeout_ms = 60000 }
per_subject = { kind = "quota", period = "month", per = "subject", timeout_ms = 60000 }
export      = { kind = "flag" }
requests    = { kind = "rate" }
[plans.free.features]
calls       = 100
tokens      = 100
minute      = 3
soft        = 100
per_user    = 2
per_key     = 2
per_subject = 2
export      = false
requests    = "unlimited"
[plans.small]
extends = "free"
features = { calls = 10, soft = 50 }
[plans.large]
extends = "free"
features = { calls = 500, soft = 1000 }
[plans.unlimited]
extends = "free"
features = { calls = "unlimited", tokens = "unlimited" }
"#;

/// The limit and the use that an error names.
fn numbers(error: &Error) -> (ErrorKind, Option<u64>, Option<u64>) {
    let denial = error.plan_denial();
    (error.kind(), denial.and_then(|denial| denial.limit), denial.and_then(|denial| denial.used))
}

async fn q01_thirty_two_tasks_on_two_nodes_charge_exactly_the_limit(meters: Meters) {
    let (world, nodes) = (World::new(CATALOG).await, meters.quotas(&clock()));
    let acme = world.on_plan(&world.acme, "large").await;
    let charged = at_once(32, |task| {
        let (quotas, acme, globex) = (nodes[task % 2].clone(), acme.clone(), world.globex.clone());
        async move {
            let mut charged = 0;
            for n in 0..50 {
                match quotas.charge(&acme, CALLS, 1).await {
                    Ok(decision) => {
                        assert!(decision.used <= 500);
                        charged += 1;
                    }
                    Err(error) => {
                        assert_eq!(numbers(&error), (ErrorKind::QuotaExceeded, Some(500), Some(500)));
                    }
                }
                if n % 25 == 0 {
                    quotas.charge(&globex, CALLS, 1).await.unwrap();
                }
            }
            charged
        }
    });
    assert_eq!(charged.await.into_iter().sum::<u64>(), 500);
    for quotas in &nodes {
        assert_eq!(used(quotas, &acme, "calls").await, (500, 0));
        assert_eq!(used(quotas, &world.globex, "calls").await, (64, 0));
    }
}

async fn q05_of_several_quotas_all_are_charged_or_none(meters: Meters) {
    let (world, clock) = (World::new(CATALOG).await, clock());
    let [quotas, _] = meters.quotas(&clock);
    let both = async |ctx: &TenantContext, n| {
        quotas.request(ctx).charge(CALLS, n).charge(MINUTE, 1).charge(TOKENS, 2 * n).run().await
    };
    let counted = async |ctx: &TenantContext| {
        (
            used(&quotas, ctx, "calls").await,
            used(&quotas, ctx, "minute").await,
            used(&quotas, ctx, "tokens").await,
        )
    };
    for n in 1..=3 {
        let decisions = both(&world.acme, 10).await.unwrap();
        let features: Vec<_> = decisions.iter().map(|one| (one.feature, one.used)).collect();
        assert_eq!(features, [("calls", 10 * n), ("minute", n), ("tokens", 20 * n)]);
    }
    // The second of them is full.
    let full = both(&world.acme, 10).await.unwrap_err();
    assert_eq!(numbers(&full), (ErrorKind::QuotaExceeded, Some(3), Some(3)));
    assert_eq!(full.plan_denial().unwrap().feature.as_deref(), Some("minute"));
    let reserve = quotas.request(&world.acme).charge(CALLS, 1).charge(MINUTE, 1);
    assert_eq!(reserve.reserve(Duration::from_mins(1)).await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    assert_eq!(counted(&world.acme).await, ((30, 0), (3, 0), (60, 0)), "the others are unchanged");
    both(&world.globex, 5).await.unwrap();
    // A minute later the last of them does not have so much.
    clock.advance_seconds(60);
    let full = both(&world.acme, 21).await.unwrap_err();
    assert_eq!(full.plan_denial().unwrap().feature.as_deref(), Some("tokens"));
    both(&world.acme, 20).await.unwrap();
    assert_eq!(counted(&world.acme).await, ((50, 0), (1, 0), (100, 0)));
    assert_eq!(counted(&world.globex).await, ((5, 0), (1, 0), (10, 0)));
}

async fn q17_a_lowered_limit_denies_and_keeps_what_is_used(meters: Meters) {
    let (world, nodes) = (World::new(CATALOG).await, meters.quotas(&clock()));
    for ctx in [&world.acme, &world.globex] {
        nodes[0].charge(ctx, CALLS, 40).await.unwrap();
    }
    let acme = world.on_plan(&world.acme, "small").await;
    for quotas in &nodes {
        let denied = quotas.charge(&acme, CALLS, 1).await.unwrap_err();
        assert_eq!(numbers(&denied), (ErrorKind::QuotaExceeded, Some(10), Some(40)));
        let snapshot = quotas.snapshot(&acme).await.unwrap();
        let calls = snapshot.feature("calls").unwrap();
        assert_eq!((calls.limit, calls.used, calls.remaining()), (Some(10), Some(40), Some(0)));
        assert_eq!(used(quotas, &acme, "calls").await, (40, 0));
    }
    assert_eq!(nodes[1].charge(&world.globex, CALLS, 1).await.unwrap().remaining(), Some(59));
}

async fn q18_a_raised_limit_has_room_at_once(meters: Meters) {
    let (world, nodes) = (World::new(CATALOG).await, meters.quotas(&clock()));
    nodes[0].charge(&world.acme, CALLS, 100).await.unwrap();
    nodes[0].charge(&world.globex, CALLS, 100).await.unwrap();
    for quotas in &nodes {
        let denied = quotas.charge(&world.acme, CALLS, 1).await.unwrap_err();
        assert_eq!(numbers(&denied), (ErrorKind::QuotaExceeded, Some(100), Some(100)));
    }
    // Right after the denial, with the use of before.
    let acme = world.on_plan(&world.acme, "large").await;
    for (quotas, so_far) in nodes.iter().zip([101, 102]) {
        let decision = quotas.charge(&acme, CALLS, 1).await.unwrap();
        assert_eq!((decision.limit, decision.used), (Limit::AtMost(500), so_far));
    }
    assert_eq!(nodes[1].charge(&world.globex, CALLS, 1).await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
}

async fn q20_a_tenant_without_a_limit_is_counted(meters: Meters) {
    let (world, [quotas, _]) = (World::new(CATALOG).await, meters.quotas(&clock()));
    let acme = world.on_plan(&world.acme, "unlimited").await;
    for n in 1..=5 {
        let decision = quotas.charge(&acme, CALLS, 300).await.unwrap();
        assert_eq!((decision.limit, decision.remaining(), decision.used), (Limit::Unlimited, None, 300 * n));
        assert!(decision.reached.is_empty(), "no part of it is 80 %");
    }
    assert_eq!(used(&quotas, &acme, "calls").await, (1_500, 0));
    let snapshot = quotas.snapshot(&acme).await.unwrap();
    let calls = snapshot.feature("calls").unwrap();
    assert_eq!((calls.limit, calls.unlimited, calls.remaining()), (None, true, None));
    assert_eq!(quotas.charge(&world.globex, CALLS, 101).await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
}

/// The largest count is a limit of every store, so nothing overflows.
async fn q16_a_count_does_not_overflow(meters: Meters) {
    const MOST: u64 = (1 << 53) - 1;
    let (world, [quotas, _]) = (World::new(CATALOG).await, meters.quotas(&clock()));
    let acme = world.on_plan(&world.acme, "unlimited").await;
    quotas.charge(&acme, CALLS, MOST - 1).await.unwrap();
    assert_eq!(quotas.charge(&acme, CALLS, 2).await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    assert_eq!(quotas.charge(&acme, CALLS, 1).await.unwrap().used, MOST);
    for n in [1, MOST] {
        assert_eq!(quotas.charge(&acme, CALLS, n).await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    }
    let mut reserved = quotas.reserve(&acme, TOKENS, 1, Duration::from_mins(1)).await.unwrap();
    assert_eq!(reserved.commit_anyway(MOST).await.unwrap()[0].used, MOST);
    assert_eq!(
        (used(&quotas, &acme, "calls").await, used(&quotas, &acme, "tokens").await),
        ((MOST, 0), (MOST, 0))
    );
    assert_eq!(quotas.charge(&world.globex, CALLS, 1).await.unwrap().used, 1);
}

#[tokio::test]
async fn q16_amounts_that_no_store_counts_are_rejected_before_it() {
    let (world, store) = (World::new(CATALOG).await, Arc::new(Flaky::default()));
    let quotas = Quotas::new(store.clone());
    let leased = LeasedQuotas::new(&quotas, LeaseOptions::new(CrashPolicy::Strict, 10));
    let minute = Duration::from_mins(1);
    for ctx in [&world.acme, &world.globex] {
        for n in [0, 1 << 53, u64::MAX] {
            let kinds = [
                quotas.charge(ctx, CALLS, n).await.unwrap_err().kind(),
                quotas.reserve(ctx, CALLS, n, minute).await.unwrap_err().kind(),
                quotas.request(ctx).charge(TOKENS, 1).charge(CALLS, n).run().await.unwrap_err().kind(),
                leased.charge(ctx, CALLS, n).await.unwrap_err().kind(),
            ];
            assert_eq!(kinds, [ErrorKind::InvalidInput; 4], "{n}");
        }
        // Each is allowed, and the sum is not.
        for (one, two) in [((1 << 53) - 1, 1), (1 << 52, 1 << 52), ((1 << 53) - 1, (1 << 53) - 1)] {
            let sum = quotas.request(ctx).charge(CALLS, one).charge(TOKENS, 1).charge(CALLS, two).run().await;
            assert_eq!(sum.unwrap_err().kind(), ErrorKind::InvalidInput, "{one} + {two}");
        }
        assert_eq!(quotas.request(ctx).run().await.unwrap_err().kind(), ErrorKind::InvalidInput, "nothing");
    }
    assert_eq!(store.count(), 0);
}

#[tokio::test]
async fn q48_an_unknown_key_is_an_error_before_the_store() {
    let (world, store) = (World::new(CATALOG).await, Arc::new(Flaky::default()));
    let quotas = Quotas::new(store.clone());
    let leased = LeasedQuotas::new(&quotas, LeaseOptions::new(CrashPolicy::Strict, 10));
    let rates = Rates::local();
    for ctx in [&world.acme, &world.globex] {
        // A typo, and a feature of another kind.
        for name in ["cals", "export"] {
            let kinds = [
                quotas.charge(ctx, Quota::new(name), 1).await.unwrap_err().kind(),
                quotas.reserve(ctx, Quota::new(name), 1, Duration::from_mins(1)).await.unwrap_err().kind(),
                quotas
                    .request(ctx)
                    .charge(CALLS, 1)
                    .charge(Quota::new(name), 1)
                    .run()
                    .await
                    .unwrap_err()
                    .kind(),
                quotas.acquire(ctx, Concurrency::new(name)).await.unwrap_err().kind(),
                leased.charge(ctx, Quota::new(name), 1).await.unwrap_err().kind(),
                rates.check(ctx, Rate::new(name)).await.unwrap_err().kind(),
            ];
            assert_eq!(kinds, [ErrorKind::UnknownFeature; 6], "{name}");
        }
    }
    assert_eq!(store.count(), 0);
}

async fn q21_a_clock_that_goes_back_over_a_boundary_grants_nothing_twice(meters: Meters) {
    let (world, clock) = (World::new(CATALOG).await, clock());
    let nodes = meters.quotas(&clock);
    let flood = async |ctx: &TenantContext| {
        let mut charged = 0;
        for n in 0..8 {
            charged += u64::from(nodes[n % 2].charge(ctx, MINUTE, 1).await.is_ok());
        }
        charged
    };
    clock.advance_seconds(59);
    assert_eq!(flood(&world.acme).await, 3, "the last second of a minute");
    clock.advance_seconds(1);
    assert_eq!(flood(&world.acme).await, 3, "the first second of the next one");
    for step in [-1, 1, -2, 1, 1] {
        clock.advance_seconds(step);
        assert_eq!(flood(&world.acme).await, 0, "{step}");
    }
    assert_eq!(flood(&world.globex).await, 3, "the other tenant has charged nothing");
    let counters = nodes[0].counters(&world.acme, Some("minute"), 10).await.unwrap();
    let counts: Vec<_> = counters.iter().map(|one| (one.start.seconds() - NOW.seconds(), one.used)).collect();
    assert_eq!(counts.iter().map(|count| count.1).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(counts[0].0 - counts[1].0, 60);
}

async fn q37_a_key_that_is_repeated_on_two_nodes_counts_once(meters: Meters) {
    let (world, warnings) = (World::new(CATALOG).await, Arc::new(Mutex::new(Vec::new())));
    let nodes = meters.nodes.clone().map(|meter| {
        let warnings = warnings.clone();
        Quotas::new(meter).with_clock(clock()).on_warning(move |warning| {
            warnings.lock().unwrap().push((warning.context.tenant_id().clone(), warning.percent));
        })
    });
    let charge = async |quotas: Quotas, ctx: TenantContext, n, key: &'static str| {
        quotas.request(&ctx).charge(CALLS, n).charge(MINUTE, 1).idempotency_key(key).run().await
    };
    let outcomes = at_once(16, |task| charge(nodes[task % 2].clone(), world.acme.clone(), 85, "a")).await;
    let mut sources = BTreeMap::new();
    for decisions in outcomes {
        let decisions = decisions.unwrap();
        assert_eq!((decisions[0].used, decisions[1].used), (85, 1), "every repeat has the first numbers");
        *sources.entry(format!("{:?}", decisions[0].source)).or_insert(0) += 1;
    }
    assert_eq!(sources, [("Counted".to_owned(), 1), ("Repeated".to_owned(), 15)].into());
    for quotas in &nodes {
        let again = charge(quotas.clone(), world.acme.clone(), 85, "a").await.unwrap();
        assert_eq!((again[0].source, again[0].reached.len()), (DecisionSource::Repeated, 0));
        let other = charge(quotas.clone(), world.acme.clone(), 84, "a").await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Conflict, "the key of another charge");
        assert_eq!(used(quotas, &world.acme, "calls").await, (85, 0));
        assert_eq!(used(quotas, &world.acme, "minute").await, (1, 0));
    }
    let acme = world.acme.tenant_id().clone();
    assert_eq!(*warnings.lock().unwrap(), [(acme, 80)], "a repeated charge warns of nothing");
    // The same key of another tenant, and another key of the same tenant, are other charges.
    assert_eq!(charge(nodes[0].clone(), world.globex.clone(), 7, "a").await.unwrap()[0].used, 7);
    assert_eq!(charge(nodes[1].clone(), world.acme.clone(), 5, "b").await.unwrap()[0].used, 90);
}

/// A charge that was denied is not the charge of its key: it can be tried again.
async fn q37_a_denied_charge_does_not_use_up_its_key(meters: Meters) {
    let (world, [quotas, other]) = (World::new(CATALOG).await, meters.quotas(&clock()));
    quotas.charge(&world.acme, CALLS, 100).await.unwrap();
    let denied = quotas.request(&world.acme).charge(CALLS, 1).idempotency_key("k").run().await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::QuotaExceeded);
    let acme = world.on_plan(&world.acme, "large").await;
    let charge =
        async || other.request(&acme).charge(CALLS, 1).idempotency_key("k").run().await.unwrap().remove(0);
    assert_eq!(
        (charge().await.source, charge().await.source),
        (DecisionSource::Counted, DecisionSource::Repeated)
    );
    assert_eq!(used(&quotas, &acme, "calls").await, (101, 0));
    assert_eq!(used(&quotas, &world.globex, "calls").await, (0, 0));
}

async fn q38_a_denied_charge_counts_and_extends_nothing(meters: Meters) {
    let (world, clock) = (World::new(CATALOG).await, clock());
    let [quotas, _] = meters.quotas(&clock);
    quotas.charge(&world.acme, MINUTE, 3).await.unwrap();
    quotas.charge(&world.globex, MINUTE, 3).await.unwrap();
    let before = quotas.counters(&world.acme, None, 10).await.unwrap();
    let mut last = None;
    for _ in 0..10 {
        for _ in 0..5 {
            let one = quotas.charge(&world.acme, MINUTE, 1).await.unwrap_err();
            let several =
                quotas.request(&world.acme).charge(CALLS, 1).charge(MINUTE, 1).run().await.unwrap_err();
            for denied in [one, several] {
                assert_eq!(numbers(&denied), (ErrorKind::QuotaExceeded, Some(3), Some(3)));
                assert_eq!(Problem::from(&denied).status(), 429);
                let denial = denied.plan_denial().unwrap();
                assert_eq!(denial.resets_at, before[0].end);
                let wait = denial.retry_after.unwrap();
                assert!(last.is_none_or(|last| wait <= last), "a denial does not make the wait longer");
                last = Some(wait);
            }
        }
        clock.advance_seconds(1);
    }
    let after = quotas.counters(&world.acme, Some("minute"), 10).await.unwrap();
    assert_eq!(after, before);
    assert_eq!(used(&quotas, &world.acme, "calls").await, (0, 0));
    let end = before[0].end.unwrap();
    clock.advance_seconds(end.seconds() - NOW.seconds() - 10);
    assert_eq!(quotas.charge(&world.acme, MINUTE, 1).await.unwrap().used, 1, "it ends when it said");
}

async fn q41_of_forty_parallel_charges_one_reports_a_level(meters: Meters) {
    let (world, warnings) = (World::new(CATALOG).await, Arc::new(Mutex::new(Vec::new())));
    let nodes = meters.nodes.clone().map(|meter| {
        let warnings = warnings.clone();
        Quotas::new(meter).with_clock(clock()).on_warning(move |warning| {
            let (tenant, feature) = (warning.context.tenant_id().clone(), warning.decision.feature);
            warnings.lock().unwrap().push((tenant, feature, warning.percent));
        })
    });
    let seen = || std::mem::take(&mut *warnings.lock().unwrap());
    let (acme, globex) = (world.acme.tenant_id().clone(), world.globex.tenant_id().clone());
    for ctx in [&world.acme, &world.globex] {
        nodes[0].charge(ctx, CALLS, 60).await.unwrap();
    }
    let charged = at_once(40, |task| {
        let (quotas, ctx) = (nodes[task % 2].clone(), world.acme.clone());
        async move { quotas.charge(&ctx, CALLS, 1).await.unwrap().reached }
    });
    let mut reached = charged.await.concat();
    reached.sort_unstable();
    assert_eq!(reached, [80, 100]);
    let mut called = seen();
    called.sort();
    assert_eq!(
        called,
        [(acme.clone(), "calls", 80), (acme.clone(), "calls", 100)],
        "globex has reached none"
    );

    // From 70 to 101 %: both levels, once.
    nodes[0].charge(&world.globex, SOFT, 70).await.unwrap();
    assert_eq!(nodes[1].charge(&world.globex, SOFT, 31).await.unwrap().reached, [80, 100]);
    nodes[0].charge(&world.globex, SOFT, 31).await.unwrap();
    assert_eq!(seen(), [(globex.clone(), "soft", 80), (globex.clone(), "soft", 100)]);

    // A raised limit: the levels of this period were reported, and are not again.
    let large = world.on_plan(&world.globex, "large").await;
    for n in [700, 300] {
        assert!(nodes[0].charge(&large, SOFT, n).await.unwrap().reached.is_empty());
    }
    // A lowered limit: the next charge reports the levels that were not.
    nodes[0].charge(&world.acme, SOFT, 45).await.unwrap();
    let small = world.on_plan(&world.acme, "small").await;
    assert_eq!(nodes[1].charge(&small, SOFT, 1).await.unwrap().reached, [80], "46 of 50");
    assert_eq!(nodes[1].charge(&small, SOFT, 4).await.unwrap().reached, [100]);
    assert_eq!(seen(), [(acme.clone(), "soft", 80), (acme, "soft", 100)]);
}

async fn q49_users_keys_and_subjects_have_their_own_counts(meters: Meters) {
    let (world, nodes) = (World::new(CATALOG).await, meters.quotas(&clock()));
    // Texts that a name with separators would mix up.
    let names = ["ada", "bob", "a:b", "a", "b", "a\u{0}b", "per_user", "user:ada", "1-a"];
    for tenant in [&world.acme, &world.globex] {
        for name in names {
            for (actor, quota, wrong) in
                [(Actor::user(name), PER_USER, PER_KEY), (Actor::api_key(name), PER_KEY, PER_USER)]
            {
                let ctx = world.acting(tenant, actor).await;
                for n in 1..=2 {
                    let charged = nodes[n % 2].charge(&ctx, quota, 1).await;
                    // PostgreSQL stores no zero byte, so such a name is an error.
                    if name.contains('\0') && charged.is_err() {
                        continue;
                    }
                    assert_eq!(charged.unwrap().used, n as u64, "{name}");
                }
                let full = nodes[0].charge(&ctx, quota, 1).await.unwrap_err();
                assert!(name.contains('\0') || full.kind() == ErrorKind::QuotaExceeded, "{name}: {full}");
                let other = nodes[0].charge(&ctx, wrong, 1).await.unwrap_err();
                assert_eq!(other.kind(), ErrorKind::InvalidInput, "it counts another kind of actor");
            }
            let charge = async || nodes[0].request(tenant).charge(PER_SUBJECT, 1).subject(name).run().await;
            for n in 1..=2 {
                let charged = charge().await;
                if !(name.contains('\0') && charged.is_err()) {
                    assert_eq!(charged.unwrap()[0].used, n, "{name}");
                }
            }
            assert!(charge().await.is_err());
        }
        for none in [
            nodes[0].request(tenant).charge(PER_SUBJECT, 1),
            nodes[0].request(tenant).charge(PER_SUBJECT, 1).subject(""),
        ] {
            assert_eq!(none.run().await.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}

on_every_meter!(
    q01_thirty_two_tasks_on_two_nodes_charge_exactly_the_limit,
    q05_of_several_quotas_all_are_charged_or_none,
    q16_a_count_does_not_overflow,
    q17_a_lowered_limit_denies_and_keeps_what_is_used,
    q18_a_raised_limit_has_room_at_once,
    q20_a_tenant_without_a_limit_is_counted,
    q21_a_clock_that_goes_back_over_a_boundary_grants_nothing_twice,
    q37_a_key_that_is_repeated_on_two_nodes_counts_once,
    q37_a_denied_charge_does_not_use_up_its_key,
    q38_a_denied_charge_counts_and_extends_nothing,
    q41_of_forty_parallel_charges_one_reports_a_level,
    q49_users_keys_and_subjects_have_their_own_counts,
);

/// Both orders lock the counters in one order, so PostgreSQL finds no deadlock and nobody has to try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn q53_quotas_in_either_order_never_deadlock() {
    const TASKS: usize = 16;
    const TIMES: usize = 100;
    let (world, meters) = (World::new(CATALOG).await, Meters::sql::<sqlx::Postgres>().await);
    let nodes = meters.quotas(&clock());
    let acme = world.on_plan(&world.acme, "unlimited").await;
    let globex = world.on_plan(&world.globex, "unlimited").await;
    let charged = Arc::new(AtomicU64::new(0));
    at_once(TASKS, |task| {
        let (quotas, charged) = (nodes[task % 2].clone(), charged.clone());
        let (acme, globex) = (acme.clone(), globex.clone());
        async move {
            for n in 0..TIMES {
                let ctx = if n % 10 == 0 { &globex } else { &acme };
                let request = quotas.request(ctx);
                let request = if task % 2 == 0 {
                    request.charge(CALLS, 1).charge(TOKENS, 1)
                } else {
                    request.charge(TOKENS, 1).charge(CALLS, 1)
                };
                request.run().await.unwrap();
                charged.fetch_add(2, Ordering::SeqCst);
            }
        }
    })
    .await;
    let all = (TASKS * TIMES) as u64;
    assert_eq!(charged.load(Ordering::SeqCst), 2 * all);
    for feature in ["calls", "tokens"] {
        assert_eq!(used(&nodes[0], &acme, feature).await, (all / 10 * 9, 0));
        assert_eq!(used(&nodes[0], &globex, feature).await, (all / 10, 0));
    }
}

/// Random charges and steps of the clock: what was allowed in each period is what the store has counted for it.
fn q50_what_was_allowed_is_what_is_counted(meters: &Meters, runtime: &tokio::runtime::Runtime) {
    let step = (0..4_usize, 1..30_u64, prop::bool::ANY, prop_oneof![Just(0_i64), 1..45_i64]);
    let steps = prop::collection::vec(step, 1..40);
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) });
    runner
        .run(&steps, |steps| {
            runtime.block_on(async {
                let (world, clock) = (World::new(CATALOG).await, clock());
                let nodes = meters.quotas(&clock);
                let tenants = [&world.acme, &world.globex];
                let mut allowed = [BTreeMap::new(), BTreeMap::new()];
                for (at, (kind, n, is_globex, seconds)) in steps.into_iter().enumerate() {
                    clock.advance_seconds(seconds);
                    let (ctx, quotas) = (tenants[usize::from(is_globex)], &nodes[at % 2]);
                    let decisions = match kind {
                        0 => quotas.charge(ctx, CALLS, n).await.map(|one| vec![one]),
                        1 => quotas.charge(ctx, MINUTE, n % 3 + 1).await.map(|one| vec![one]),
                        2 => quotas.request(ctx).charge(SOFT, n).charge(CALLS, n).run().await,
                        _ => match quotas.reserve(ctx, CALLS, n, Duration::from_mins(1)).await {
                            Ok(mut reserved) => reserved.commit(n / 2).await,
                            Err(error) => Err(error),
                        },
                    };
                    let amount = match kind {
                        1 => n % 3 + 1,
                        3 => n / 2,
                        _ => n,
                    };
                    for decision in decisions.into_iter().flatten() {
                        let period = (decision.feature.to_owned(), decision.period.unwrap().id);
                        *allowed[usize::from(is_globex)].entry(period).or_insert(0) += amount;
                    }
                }
                for (ctx, allowed) in tenants.into_iter().zip(&mut allowed) {
                    allowed.retain(|_, amount| *amount > 0);
                    let counters = nodes[0].counters(ctx, None, 1_000).await.unwrap();
                    let counted: BTreeMap<_, _> = counters
                        .into_iter()
                        .filter(|counter| counter.used > 0)
                        .map(|counter| ((counter.key.feature, counter.key.period), counter.used))
                        .collect();
                    prop_assert_eq!(&*allowed, &counted);
                }
                Ok(())
            })
        })
        .unwrap();
}

#[test]
fn q50_what_was_allowed_is_what_is_counted_in_memory() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    q50_what_was_allowed_is_what_is_counted(&Meters::memory(), &runtime);
}

#[test]
fn q50_what_was_allowed_is_what_is_counted_in_sqlite() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let meters = runtime.block_on(Meters::sql::<Sqlite>());
    q50_what_was_allowed_is_what_is_counted(&meters, &runtime);
}
