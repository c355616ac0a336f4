//! Leased quotas: several nodes never exceed a limit together, and lose nothing that the policy does not allow.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tenancy::clock::{ManualClock, Timestamp};
use tenancy::quota::meter::Meter;
use tenancy::quota::{CrashPolicy, DecisionSource, LeaseOptions, LeasedQuotas, Quota, Quotas};
use tenancy::store::{MemoryStore, RedisMeter};
use tenancy::{ErrorKind, Result, TenantContext};
use tokio::task::JoinSet;

use crate::common::{TestBackend, redis_url};
use crate::meters::sql_store;
use crate::node::until;
use crate::quota_fixture::{self, Flaky, World};

const CALLS: Quota = Quota::new("calls");
const FEW: Quota = Quota::new("few");
const LAST: Quota = Quota::new("last");
const OPEN: Quota = Quota::new("open");

const CATALOG: &str = r#"
version = 1
[features]
calls = { kind = "quota", period = "month", warn = [80, 100], timeout_ms = 60000 }
few   = { kind = "quota", period = "month" }
last  = { kind = "quota", period = "month", on_failure = "last_lease" }
open  = { kind = "quota", period = "month", on_failure = "open" }
[plans.free]
features = { calls = 1000, few = 3, last = 100, open = 100 }
[plans.small]
features = { calls = 10, few = 3, last = 100, open = 100 }
"#;

async fn world() -> World {
    World::new(CATALOG).await
}

fn node(meter: &Arc<dyn Meter>, options: LeaseOptions) -> LeasedQuotas {
    LeasedQuotas::new(&Quotas::new(meter.clone()), options)
}

async fn used(meter: &Arc<dyn Meter>, ctx: &TenantContext, quota: Quota) -> (u64, u64) {
    quota_fixture::used(&Quotas::new(meter.clone()), ctx, quota.feature()).await
}

/// Charges one unit `times` in each of 16 tasks on each node. Returns how many succeeded.
async fn flood(nodes: &[LeasedQuotas], ctx: &TenantContext, times: usize) -> u64 {
    let mut tasks = JoinSet::new();
    for node in nodes {
        for _ in 0..16 {
            let (node, ctx) = (node.clone(), ctx.clone());
            tasks.spawn(async move {
                let mut charged = 0;
                for _ in 0..times {
                    match node.charge(&ctx, CALLS, 1).await {
                        Ok(_) => charged += 1,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}"),
                    }
                }
                charged
            });
        }
    }
    tasks.join_all().await.into_iter().sum()
}

/// Three nodes admit exactly the limit, and the store has counted exactly that when they have ended.
async fn nodes_admit_exactly_the_limit(meter: Arc<dyn Meter>) {
    let world = world().await;
    let options = LeaseOptions::new(CrashPolicy::Strict, 50).nodes(3);
    let nodes = [(); 3].map(|()| node(&meter, options));
    // 1440 are asked for. A node is denied while another still has a part of its lease.
    let first = flood(&nodes, &world.acme, 30).await;
    assert!((900..=1_000).contains(&first), "{first}");
    assert_eq!(flood(&nodes[..1], &world.globex, 10).await, 160, "a count of its own");
    for node in &nodes {
        node.shut_down().await;
    }
    assert_eq!(used(&meter, &world.acme, CALLS).await, (first, 0), "what was spent is counted");
    assert_eq!(used(&meter, &world.globex, CALLS).await, (160, 0));
    let rest = flood(&[node(&meter, options)], &world.acme, 30).await;
    assert_eq!(first + rest, 1_000, "and what was not spent was returned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_admit_exactly_the_limit_in_memory() {
    nodes_admit_exactly_the_limit(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_admit_exactly_the_limit_in_redis() {
    let client = redis::Client::open(redis_url()).expect("TEST_REDIS_URL reads");
    nodes_admit_exactly_the_limit(Arc::new(RedisMeter::connect(client).await.unwrap())).await;
}

async fn nodes_admit_exactly_the_limit_in_sql<DB: TestBackend>() {
    let (store, _cleanup) = sql_store::<DB>(8).await;
    nodes_admit_exactly_the_limit(Arc::new(store)).await;
}

on_every_database!(nodes_admit_exactly_the_limit_in_sql);

#[tokio::test]
async fn q28_the_last_units_reach_the_nodes_that_need_them() {
    let (world, meter) = (world().await, Arc::new(MemoryStore::new()) as Arc<dyn Meter>);
    let options = LeaseOptions::new(CrashPolicy::Strict, 1_000).nodes(20);
    let nodes: Vec<_> = (0..20).map(|_| node(&meter, options)).collect();
    let mut charged = 0;
    for node in &nodes {
        charged += usize::from(node.charge(&world.acme, FEW, 1).await.is_ok());
    }
    assert_eq!(charged, 3);
}

#[tokio::test]
async fn q25_of_a_thousand_requests_one_asks_the_store() {
    let world = world().await;
    let counted = Arc::new(Flaky::default());
    let options = LeaseOptions::new(CrashPolicy::Strict, 1_000);
    let node = node(&(counted.clone() as Arc<dyn Meter>), options);
    let all = join_all((0..200).map(|_| node.charge(&world.acme, CALLS, 1))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(counted.charges.load(Ordering::SeqCst), 1, "a lease of a quarter of what is left serves all");
    let full = join_all((0..2_000).map(|_| node.charge(&world.acme, CALLS, 1))).await;
    assert_eq!(full.iter().filter(|charged| charged.is_ok()).count(), 800);
    let asked = counted.charges.load(Ordering::SeqCst);
    let refused = join_all((0..500).map(|_| node.charge(&world.acme, CALLS, 1))).await;
    assert!(refused.iter().all(Result::is_err));
    assert!(
        counted.charges.load(Ordering::SeqCst) <= asked + 4,
        "Q38: a denial is repeated without the store"
    );
}

#[tokio::test]
async fn q26_a_dead_node_takes_its_lease_along_or_gives_it_back() {
    for (policy, at_least, at_most) in
        [(CrashPolicy::Strict, 900, 1_000), (CrashPolicy::Generous, 1_000, 1_100)]
    {
        let (world, meter) = (world().await, Arc::new(MemoryStore::new()) as Arc<dyn Meter>);
        let options = LeaseOptions::new(policy, 100).lifetime(Duration::from_millis(200));
        let dead = node(&meter, options);
        let mut total = 0;
        for _ in 0..60 {
            dead.charge(&world.acme, CALLS, 1).await.unwrap();
            total += 1;
        }
        drop(dead); // without `shut_down`
        let alive = node(&meter, options);
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut refused = 0;
        // With `Generous` the lease of the dead node is granted again when it has expired.
        while refused < 400 && Instant::now() < deadline {
            if alive.charge(&world.acme, CALLS, 1).await.is_ok() {
                (total, refused) = (total + 1, 0);
            } else {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        assert!((at_least..=at_most).contains(&total), "{policy:?}: {total}");
    }
}

#[tokio::test]
async fn q29_restarts_lose_nothing() {
    let (world, meter) = (world().await, Arc::new(MemoryStore::new()) as Arc<dyn Meter>);
    let options = LeaseOptions::new(CrashPolicy::Strict, 100);
    let mut charged = 0;
    for _ in 0..50 {
        let node = node(&meter, options);
        for _ in 0..7 {
            node.charge(&world.acme, CALLS, 1).await.unwrap();
            charged += 1;
        }
        node.shut_down().await;
        assert_eq!(used(&meter, &world.acme, CALLS).await, (charged, 0));
    }
}

#[tokio::test]
async fn q24_a_lease_is_not_spent_in_the_next_period() {
    let (world, meter) = (world().await, Arc::new(MemoryStore::new()) as Arc<dyn Meter>);
    // 30 ms before 2026-12-01.
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_796_083_200_000_000 - 30_000)));
    let quotas = Quotas::new(meter.clone()).with_clock(clock.clone());
    let node = LeasedQuotas::new(&quotas, LeaseOptions::new(CrashPolicy::Strict, 100));
    node.charge(&world.acme, CALLS, 1).await.unwrap();
    clock.advance_seconds(1);
    let deadline = Instant::now() + Duration::from_secs(20);
    let periods = loop {
        node.charge(&world.acme, CALLS, 1).await.unwrap();
        let counters = quotas.counters(&world.acme, None, 10).await.unwrap();
        if counters.len() == 2 || Instant::now() > deadline {
            break counters;
        }
        tokio::task::yield_now().await;
    };
    node.shut_down().await;
    assert_eq!(periods[0].key.period, "month:2026-12");
    let counters = quotas.counters(&world.acme, None, 10).await.unwrap();
    assert!(counters.iter().all(|counter| counter.used > 0 && counter.held == 0), "{counters:?}");
}

#[tokio::test]
async fn a_lease_of_an_earlier_plan_is_not_spent() {
    let (world, meter) = (world().await, Arc::new(MemoryStore::new()) as Arc<dyn Meter>);
    let node = node(&meter, LeaseOptions::new(CrashPolicy::Strict, 500));
    for _ in 0..20 {
        node.charge(&world.acme, CALLS, 1).await.unwrap();
    }
    let tenant = world.acme.tenant().with_plan("small");
    world.directory.store().update(&tenant).await.unwrap();
    let smaller = world.directory.refresh(&world.acme).await.unwrap();
    let denied = node.charge(&smaller, CALLS, 1).await.unwrap_err();
    assert_eq!(denied.plan_denial().map(|denial| (denial.limit, denial.used)), Some((Some(10), Some(20))));
    node.charge(&world.globex, CALLS, 1).await.unwrap();
}

#[tokio::test]
async fn q30_a_node_lives_from_its_lease_while_the_store_is_down() {
    let (world, flaky) = (world().await, Arc::new(Flaky::default()));
    let options = LeaseOptions::new(CrashPolicy::Strict, 10).lifetime(Duration::from_millis(50));
    let node = node(&(flaky.clone() as Arc<dyn Meter>), options);
    for quota in [LAST, CALLS, OPEN] {
        node.charge(&world.acme, quota, 1).await.unwrap();
    }
    flaky.down.store(true, Ordering::SeqCst);
    // The lifetime of each lease passes.
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.charge(&world.acme, CALLS, 1).await.is_ok() && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.charge(&world.acme, CALLS, 1).await.unwrap_err().kind(), ErrorKind::StoreUnavailable);
    assert_eq!(node.charge(&world.globex, CALLS, 1).await.unwrap_err().kind(), ErrorKind::StoreUnavailable);
    let mut last = 1;
    while node.charge(&world.acme, LAST, 1).await.is_ok() {
        last += 1;
    }
    assert_eq!(last, 10, "`last_lease` spends what it has, and no more");
    for _ in 0..20 {
        node.charge(&world.acme, OPEN, 1).await.unwrap();
    }
    assert!(matches!(
        node.charge(&world.acme, OPEN, 1).await.unwrap(),
        DecisionSource::Fallback { age: Some(_) }
    ));
    flaky.down.store(false, Ordering::SeqCst);
    // A store that did not answer is asked again after a moment.
    until("the store is asked again", async || node.charge(&world.acme, LAST, 1).await.is_ok()).await;
    node.shut_down().await;
    let meter = flaky.clone() as Arc<dyn Meter>;
    assert_eq!(used(&meter, &world.acme, LAST).await, (11, 0), "what was spent meanwhile is counted");
}

/// A store that applies a charge and loses its answer takes no unit away.
#[tokio::test]
async fn a_lease_without_an_answer_is_released() {
    let (world, flaky) = (world().await, Arc::new(Flaky::default()));
    let meter = flaky.clone() as Arc<dyn Meter>;
    let node = node(&meter, LeaseOptions::new(CrashPolicy::Strict, 100));
    flaky.loses_answers.store(true, Ordering::SeqCst);
    for _ in 0..30 {
        let lost = node.charge(&world.acme, CALLS, 1).await.unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::StoreUnavailable);
    }
    assert!(used(&meter, &world.acme, CALLS).await.1 > 0, "the store has the holds");
    flaky.loses_answers.store(false, Ordering::SeqCst);
    node.shut_down().await;
    assert_eq!(used(&meter, &world.acme, CALLS).await, (0, 0));
}

/// What is dropped while it is committed is committed; what is dropped before counts what was used so far.
#[tokio::test]
async fn a_dropped_commit_is_not_a_release() {
    let (world, flaky) = (world().await, Arc::new(Flaky::default()));
    let meter = flaky.clone() as Arc<dyn Meter>;
    let (quotas, minute) = (Quotas::new(meter.clone()), Duration::from_mins(1));
    let mut reserved = quotas.reserve(&world.acme, CALLS, 9, minute).await.unwrap();
    flaky.down.store(true, Ordering::SeqCst);
    assert_eq!(reserved.commit(7).await.unwrap_err().kind(), ErrorKind::StoreUnavailable);
    flaky.down.store(false, Ordering::SeqCst);
    drop(reserved);
    let mut streamed = quotas.reserve(&world.acme, CALLS, 9, minute).await.unwrap();
    streamed.used_so_far(4);
    drop(streamed);
    drop(quotas.reserve(&world.acme, CALLS, 9, minute).await.unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    while used(&meter, &world.acme, CALLS).await != (11, 0) && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    assert_eq!(used(&meter, &world.acme, CALLS).await, (11, 0));
    let mut over = quotas.reserve(&world.acme, FEW, 2, minute).await.unwrap();
    assert_eq!(over.commit(9).await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    assert_eq!(over.commit_anyway(u64::MAX).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    over.commit_anyway(9).await.unwrap();
    assert_eq!(used(&meter, &world.acme, FEW).await, (9, 0), "work that is done is counted");
}

/// A request that is dropped at any point loses no unit.
#[tokio::test]
async fn a_dropped_request_strands_no_lease() {
    let (world, flaky) = (world().await, Arc::new(Flaky::default()));
    flaky.yields.store(true, Ordering::SeqCst);
    let meter = flaky.clone() as Arc<dyn Meter>;
    let node = node(&meter, LeaseOptions::new(CrashPolicy::Strict, 7));
    for polls in 0..40 {
        let charge = node.charge(&world.acme, CALLS, 3);
        tokio::select! {
            biased;
            _ = charge => {}
            () = async { for _ in 0..polls { tokio::task::yield_now().await; } } => {}
        }
    }
    // The tasks that take leases end.
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        node.shut_down().await;
        if used(&meter, &world.acme, CALLS).await.1 == 0 && flaky.in_work.load(Ordering::SeqCst) == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    node.shut_down().await;
    let (counted, held) = used(&meter, &world.acme, CALLS).await;
    assert_eq!((counted % 3, held), (0, 0), "{counted}");
}

#[tokio::test]
async fn warning_levels_are_reached_once_when_leases_end() {
    let (world, meter) = (world().await, Arc::new(MemoryStore::new()) as Arc<dyn Meter>);
    let warned = Arc::new(std::sync::Mutex::new(Vec::new()));
    let levels = warned.clone();
    let quotas = Quotas::new(meter.clone()).on_warning(move |warning| {
        levels.lock().unwrap().push((warning.context.tenant_id().clone(), warning.percent));
    });
    let nodes =
        [(); 2].map(|()| LeasedQuotas::new(&quotas, LeaseOptions::new(CrashPolicy::Strict, 40).nodes(2)));
    flood(&nodes, &world.acme, 40).await;
    for node in &nodes {
        node.shut_down().await;
    }
    flood(&nodes[..1], &world.acme, 40).await;
    nodes[0].shut_down().await;
    let acme = world.acme.tenant_id().clone();
    assert_eq!(*warned.lock().unwrap(), [(acme.clone(), 80), (acme, 100)]);
}
