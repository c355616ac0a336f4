//! Leases beside the plain case: a changed limit, many counters, many requests at once, a silent store, idle nodes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenancy::quota::meter::Meter;
use tenancy::quota::{CrashPolicy, LeaseOptions, LeasedQuotas, Quota, Quotas};
use tenancy::store::MemoryStore;
use tenancy::{ErrorKind, TenantContext};

use crate::node::until;
use crate::quota_fixture::{Flaky, Meters, World, at_once, clock, on_every_meter, used};

const CALLS: Quota = Quota::new("calls");
const SILENT: Quota = Quota::new("silent");
const MINUTE: Quota = Quota::new("minute");
const PER_SUBJECT: Quota = Quota::new("per_subject");

const CATALOG: &str = r#"
version = 1
[features]
calls       = { kind = "quota", period = "month", timeout_ms = 60000 }
silent      = { kind = "quota", period = "month", timeout_ms = 20 }
minute      = { kind = "quota", period = { seconds = 60 }, timeout_ms = 60000 }
per_subject = { kind = "quota", period = "month", per = "subject", timeout_ms = 60000 }
[plans.free]
features = { calls = 200, silent = 1000, minute = 20, per_subject = 2 }
[plans.small]
extends = "free"
features = { calls = 10 }
[plans.large]
extends = "free"
features = { calls = 100000 }
"#;

fn leased(meter: &Arc<dyn Meter>, options: LeaseOptions) -> LeasedQuotas {
    LeasedQuotas::new(&Quotas::new(meter.clone()).with_clock(clock()), options)
}

async fn charge_times(node: &LeasedQuotas, ctx: &TenantContext, times: u64) -> u64 {
    let mut charged = 0;
    for _ in 0..times {
        charged += u64::from(node.charge(ctx, CALLS, 1).await.is_ok());
    }
    charged
}

async fn q17_q18_a_node_follows_a_changed_limit_and_keeps_what_is_used(meters: Meters) {
    let (world, [quotas, _]) = (World::new(CATALOG).await, meters.quotas(&clock()));
    let node = leased(&meters.nodes[1], LeaseOptions::new(CrashPolicy::Strict, 50));
    for ctx in [&world.acme, &world.globex] {
        assert_eq!(charge_times(&node, ctx, 40).await, 40);
    }
    // Lowered below what is used: what the node has left of its lease is not spent.
    let acme = world.on_plan(&world.acme, "small").await;
    for _ in 0..3 {
        let denied = node.charge(&acme, CALLS, 1).await.unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::QuotaExceeded);
        let denial = denied.plan_denial().unwrap();
        assert_eq!((denial.limit, denial.used), (Some(10), Some(40)));
    }
    assert_eq!(used(&quotas, &acme, "calls").await, (40, 0));
    let snapshot = quotas.snapshot(&acme).await.unwrap();
    assert_eq!(snapshot.feature("calls").unwrap().remaining(), Some(0));
    // Raised: room at once, although the denial was a moment ago.
    let acme = world.on_plan(&acme, "large").await;
    assert_eq!(charge_times(&node, &acme, 500).await, 500);
    // The other tenant has its old limit, and has used a part of it.
    assert_eq!(charge_times(&node, &world.globex, 170).await, 160);
    node.shut_down().await;
    assert_eq!(used(&quotas, &acme, "calls").await, (540, 0));
    assert_eq!(used(&quotas, &world.globex, "calls").await, (200, 0));
}

on_every_meter!(q17_q18_a_node_follows_a_changed_limit_and_keeps_what_is_used);

/// A clock that goes back: each period has granted its limit once, and has counted it.
#[tokio::test]
async fn q21_leases_grant_no_period_twice_when_the_clock_goes_back() {
    let (world, clock, meters) = (World::new(CATALOG).await, clock(), Meters::memory());
    let [quotas, _] = meters.quotas(&clock);
    let node = LeasedQuotas::new(&quotas, LeaseOptions::new(CrashPolicy::Strict, 8));
    clock.advance_seconds(59);
    let mut charged = 0;
    for step in [1, -1, 1, -1, 0] {
        for _ in 0..30 {
            charged += u64::from(node.charge(&world.acme, MINUTE, 1).await.is_ok());
        }
        clock.advance_seconds(step);
    }
    node.charge(&world.globex, MINUTE, 20).await.unwrap();
    node.shut_down().await;
    let counters = quotas.counters(&world.acme, Some("minute"), 10).await.unwrap();
    assert!(
        counters.len() <= 2 && counters.iter().all(|one| one.used <= 20 && one.held == 0),
        "{counters:?}"
    );
    assert_eq!(counters.iter().map(|one| one.used).sum::<u64>(), charged);
    assert!((20..=40).contains(&charged), "{charged}");
    assert_eq!(used(&quotas, &world.globex, "minute").await, (20, 0));
}

/// Nothing is evicted to save memory: a counter that is live does not start again.
#[tokio::test]
async fn q14_thousands_of_counters_in_memory_are_all_kept() {
    let (world, meters) = (World::new(CATALOG).await, Meters::memory());
    let [quotas, _] = meters.quotas(&clock());
    let charge = async |ctx: &TenantContext, subject: usize| {
        quotas.request(ctx).charge(PER_SUBJECT, 1).subject(&subject.to_string()).run().await
    };
    for ctx in [&world.acme, &world.globex] {
        charge(ctx, 0).await.unwrap();
        charge(ctx, 0).await.unwrap();
    }
    for subject in 1..10_000 {
        charge(&world.acme, subject).await.unwrap();
        charge(&world.acme, subject).await.unwrap();
    }
    for subject in 0..10_000 {
        assert_eq!(
            charge(&world.acme, subject).await.unwrap_err().kind(),
            ErrorKind::QuotaExceeded,
            "{subject}"
        );
    }
    assert_eq!(charge(&world.globex, 0).await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    assert_eq!(charge(&world.globex, 1).await.unwrap()[0].used, 1, "the other tenant's subject is its own");
}

/// A node forgets counters that are idle. The store does not.
#[tokio::test]
async fn q14_hundreds_of_leases_come_and_go_and_no_limit_starts_again() {
    const SUBJECTS: usize = 700;
    let (world, meter) = (World::new(CATALOG).await, Arc::new(MemoryStore::new()) as Arc<dyn Meter>);
    let node = leased(&meter, LeaseOptions::new(CrashPolicy::Strict, 100));
    let charge = async |ctx: &TenantContext, subject: usize| {
        node.charge_for(ctx, PER_SUBJECT, Some(&subject.to_string()), 1).await
    };
    charge(&world.globex, 7).await.unwrap();
    for subject in 0..SUBJECTS {
        charge(&world.acme, subject).await.unwrap();
    }
    node.shut_down().await;
    for subject in 0..SUBJECTS {
        charge(&world.acme, subject).await.unwrap();
    }
    for subject in 0..SUBJECTS {
        let third = charge(&world.acme, subject).await.unwrap_err();
        assert_eq!(third.kind(), ErrorKind::QuotaExceeded, "{subject}");
    }
    charge(&world.globex, 7).await.unwrap();
    assert_eq!(charge(&world.globex, 7).await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn q25_a_thousand_tasks_that_find_no_lease_call_the_store_once() {
    let (world, store) = (World::new(CATALOG).await, Arc::new(Flaky::default()));
    let acme = world.on_plan(&world.acme, "large").await;
    let node = leased(&(store.clone() as Arc<dyn Meter>), LeaseOptions::new(CrashPolicy::Strict, 10_000));
    let charged = at_once(1_000, |_| {
        let (node, acme) = (node.clone(), acme.clone());
        async move { node.charge(&acme, CALLS, 1).await.is_ok() }
    });
    assert!(charged.await.into_iter().all(|charged| charged));
    assert_eq!(store.count(), 2, "one lease: what is left is read, then a part of it is held");
    // All of them find the limit used up: it is not asked for each of them either.
    let free = at_once(1_000, |_| {
        let (node, globex) = (node.clone(), world.globex.clone());
        async move { u64::from(node.charge(&globex, CALLS, 1).await.is_ok()) }
    });
    assert_eq!(free.await.into_iter().sum::<u64>(), 200);
    let asked = store.count();
    assert!(asked < 150, "{asked} calls for 200 units and 800 denials");
    node.shut_down().await;
    let quotas = Quotas::new(store).with_clock(clock());
    assert_eq!(used(&quotas, &acme, "calls").await, (1_000, 0));
    assert_eq!(used(&quotas, &world.globex, "calls").await, (200, 0));
}

/// Each waits for one answer at most, so the calls do not become more with the number of those who wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn q25_a_silent_store_is_not_called_by_each_of_those_who_wait() {
    let world = World::new(CATALOG).await;
    for waiting in [10, 100, 1_000] {
        let store = Arc::new(Flaky::default());
        store.silent.store(true, Ordering::SeqCst);
        let node = leased(&(store.clone() as Arc<dyn Meter>), LeaseOptions::new(CrashPolicy::Strict, 100));
        let kinds = at_once(waiting, |_| {
            let (node, acme) = (node.clone(), world.acme.clone());
            async move { node.charge(&acme, SILENT, 1).await.map_err(|error| error.kind()) }
        });
        let kinds = kinds.await;
        assert_eq!(kinds.len(), waiting);
        assert!(kinds.iter().all(|kind| *kind == Err(ErrorKind::StoreUnavailable)), "{kinds:?}");
        assert!(store.count() <= 5, "{} calls for {waiting}", store.count());
        store.silent.store(false, Ordering::SeqCst);
        until("the store is called again", async || node.charge(&world.acme, SILENT, 1).await.is_ok()).await;
        node.charge(&world.globex, SILENT, 1).await.unwrap();
    }
}

#[tokio::test]
async fn usage_in_a_silent_store_is_an_error_after_a_while() {
    let (world, store) = (World::new(CATALOG).await, Arc::new(Flaky::default()));
    let quotas = Quotas::new(store.clone() as Arc<dyn Meter>).with_clock(clock());
    quotas.charge(&world.acme, CALLS, 1).await.unwrap();
    store.silent.store(true, Ordering::SeqCst);
    let (acme, globex) = (&world.acme, &world.globex);
    let (one, other, counters) =
        tokio::join!(quotas.snapshot(acme), quotas.snapshot(globex), quotas.counters(acme, None, 10));
    for error in [one.unwrap_err(), other.unwrap_err(), counters.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
        assert_eq!(error.to_string(), "the store of quotas did not answer in 5000 ms");
    }
    store.silent.store(false, Ordering::SeqCst);
    assert_eq!(used(&quotas, &world.acme, "calls").await, (1, 0));
    assert_eq!(used(&quotas, &world.globex, "calls").await, (0, 0));
}

/// Nodes that have a lease and no requests return it when its lifetime ends, so one busy node can use every unit.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn q28_idle_nodes_do_not_starve_the_others() {
    let (world, meter) = (World::new(CATALOG).await, Arc::new(MemoryStore::new()) as Arc<dyn Meter>);
    let options = LeaseOptions::new(CrashPolicy::Strict, 40).nodes(2).lifetime(Duration::from_millis(100));
    let nodes: Vec<_> = (0..5).map(|_| leased(&meter, options)).collect();
    let mut returning = tokio::task::JoinSet::new();
    for node in nodes.clone() {
        returning.spawn(async move { node.run().await });
    }
    let mut charged = 0;
    for node in &nodes {
        node.charge(&world.acme, CALLS, 1).await.unwrap();
        node.charge(&world.globex, CALLS, 1).await.unwrap();
        charged += 1;
    }
    let busy = &nodes[0];
    let charge = async || {
        charged += u64::from(busy.charge(&world.acme, CALLS, 1).await.is_ok());
        charged == 200
    };
    until("every unit is used", charge).await;
    assert_eq!(busy.charge(&world.acme, CALLS, 1).await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    returning.shutdown().await;
    for node in &nodes {
        node.shut_down().await;
    }
    let quotas = Quotas::new(meter).with_clock(clock());
    assert_eq!(used(&quotas, &world.acme, "calls").await, (200, 0));
    assert_eq!(used(&quotas, &world.globex, "calls").await, (5, 0));
}
