//! How reservations end, on every store: once, in time or too late, by a drop anywhere, and those of a batch together.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tenancy::quota::{Concurrency, Quota, Quotas, Reservation};
use tenancy::{ErrorKind, TenantContext};

use crate::node::until;
use crate::quota_fixture::{Flaky, Meters, World, clock, on_every_meter, used};

const TOKENS: Quota = Quota::new("tokens");
const EXPORTS: Concurrency = Concurrency::new("exports");
const MINUTE: Duration = Duration::from_mins(1);

const CATALOG: &str = r#"
version = 1
[features]
tokens  = { kind = "quota", period = "month", timeout_ms = 60000 }
exports = { kind = "concurrency", lease_seconds = 60, timeout_ms = 60000 }
[plans.free]
features = { tokens = 100, exports = 1 }
"#;

/// A commit that comes too late is an error and counts nothing. What it held was free again, and may be used by others.
async fn q09_a_late_commit_is_an_error_or_counted_as_overage(meters: Meters) {
    let (world, clock) = (World::new(CATALOG).await, clock());
    let [quotas, other] = meters.quotas(&clock);
    let mut late = quotas.reserve(&world.acme, TOKENS, 60, MINUTE).await.unwrap();
    let mut in_time = quotas.reserve(&world.globex, TOKENS, 60, MINUTE * 2).await.unwrap();
    clock.advance_seconds(60);
    assert_eq!(other.charge(&world.acme, TOKENS, 80).await.unwrap().used, 80, "the hold has ended");
    for _ in 0..2 {
        assert_eq!(late.commit(50).await.unwrap_err().kind(), ErrorKind::Expired);
        assert_eq!(used(&quotas, &world.acme, "tokens").await, (80, 0));
    }
    // The work is done, so the application counts it: beyond the limit, and once.
    for _ in 0..2 {
        late.commit_anyway(50).await.unwrap();
        assert_eq!(used(&quotas, &world.acme, "tokens").await, (130, 0));
    }
    assert_eq!(other.charge(&world.acme, TOKENS, 1).await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    in_time.commit(50).await.unwrap();
    assert_eq!(used(&quotas, &world.globex, "tokens").await, (50, 0));
    // A late release is no error: it has nothing left to release.
    let released = quotas.reserve(&world.globex, TOKENS, 10, MINUTE).await.unwrap();
    clock.advance_seconds(60);
    released.release().await.unwrap();
    assert_eq!(used(&quotas, &world.globex, "tokens").await, (50, 0));
}

async fn q10_a_reservation_ends_once(meters: Meters) {
    let (world, [quotas, other]) = (World::new(CATALOG).await, meters.quotas(&clock()));
    let counted = async |ctx| used(&other, ctx, "tokens").await;
    // A commit twice.
    let mut twice = quotas.reserve(&world.acme, TOKENS, 30, MINUTE).await.unwrap();
    let mut of_globex = quotas.reserve(&world.globex, TOKENS, 30, MINUTE).await.unwrap();
    for used in [20, 20, 30] {
        twice.commit(used).await.unwrap();
        assert_eq!((counted(&world.acme).await, counted(&world.globex).await), ((20, 0), (0, 30)));
    }
    twice.commit_anyway(5).await.unwrap();
    assert_eq!(counted(&world.acme).await, (20, 0));
    // A release, and a drop, after a commit.
    twice.release().await.unwrap();
    let mut dropped = quotas.reserve(&world.acme, TOKENS, 30, MINUTE).await.unwrap();
    dropped.commit(10).await.unwrap();
    dropped.used_so_far(25);
    drop(dropped);
    assert_eq!(counted(&world.acme).await, (30, 0));
    // Two releases of one amount would free a part of another hold.
    let kept = quotas.reserve(&world.acme, TOKENS, 40, MINUTE).await.unwrap();
    quotas.reserve(&world.acme, TOKENS, 30, MINUTE).await.unwrap().release().await.unwrap();
    assert_eq!((counted(&world.acme).await, counted(&world.globex).await), ((30, 40), (0, 30)));
    of_globex.commit(30).await.unwrap();
    kept.release().await.unwrap();
    assert_eq!((counted(&world.acme).await, counted(&world.globex).await), ((30, 0), (30, 0)));
}

/// Reserves for each job of a batch, or for none.
async fn reserve_all(
    quotas: &Quotas,
    ctx: &TenantContext,
    jobs: &[u64],
) -> tenancy::Result<Vec<Reservation>> {
    let mut reserved = Vec::new();
    for amount in jobs {
        reserved.push(quotas.reserve(ctx, TOKENS, *amount, MINUTE).await?);
    }
    Ok(reserved)
}

async fn q13_a_batch_that_fails_in_the_middle_holds_nothing(meters: Meters) {
    let (world, [quotas, _]) = (World::new(CATALOG).await, meters.quotas(&clock()));
    let of_globex = reserve_all(&quotas, &world.globex, &[30, 30, 30]).await.unwrap();
    let failed = reserve_all(&quotas, &world.acme, &[40, 90, 40]).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::QuotaExceeded);
    until("the first job is released", async || used(&quotas, &world.acme, "tokens").await == (0, 0)).await;
    // All three at the same time: the second is denied, the first and the third are not.
    let [one, two, three] = [40, 90, 40].map(|n| quotas.reserve(&world.acme, TOKENS, n, MINUTE));
    let (one, two, three) = (one.await, two.await, three.await);
    assert!(one.is_ok() && three.is_ok());
    assert_eq!(two.as_ref().unwrap_err().kind(), ErrorKind::QuotaExceeded);
    assert_eq!(used(&quotas, &world.acme, "tokens").await, (0, 80));
    let batch: tenancy::Result<Vec<_>> = [one, two, three].into_iter().collect();
    assert!(batch.is_err());
    until("jobs 1 and 3 are released", async || used(&quotas, &world.acme, "tokens").await == (0, 0)).await;
    assert_eq!(used(&quotas, &world.globex, "tokens").await, (0, 90));
    assert_eq!(reserve_all(&quotas, &world.acme, &[50, 50]).await.unwrap().len(), 2);
    drop(of_globex);
}

on_every_meter!(
    q09_a_late_commit_is_an_error_or_counted_as_overage,
    q10_a_reservation_ends_once,
    q13_a_batch_that_fails_in_the_middle_holds_nothing,
);

#[test]
fn q08_a_drop_outside_a_runtime_does_not_panic_and_ends_by_its_lifetime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (meters, clock) = (Meters::memory(), clock());
    let [quotas, _] = meters.quotas(&clock);
    let world = runtime.block_on(World::new(CATALOG));
    let mut reserved = Vec::new();
    for ctx in [&world.acme, &world.globex] {
        reserved.push(runtime.block_on(quotas.reserve(ctx, TOKENS, 60, MINUTE)).unwrap());
        reserved.push(runtime.block_on(quotas.acquire(ctx, EXPORTS)).unwrap());
    }
    let of_globex = reserved.split_off(2);
    drop(reserved);
    let held = |ctx| {
        let snapshot = runtime.block_on(quotas.snapshot(ctx)).unwrap();
        ["tokens", "exports"].map(|key| snapshot.feature(key).unwrap().held)
    };
    assert_eq!((held(&world.acme), held(&world.globex)), ([Some(60), Some(1)], [Some(60), Some(1)]));
    clock.advance_seconds(60);
    assert_eq!((held(&world.acme), held(&world.globex)), ([Some(0), Some(0)], [Some(0), Some(0)]));
    runtime.block_on(async {
        drop(quotas.reserve(&world.acme, TOKENS, 100, MINUTE).await.unwrap());
        drop(quotas.acquire(&world.acme, EXPORTS).await.unwrap());
    });
    // After the runtime has ended, too.
    drop(runtime);
    drop(of_globex);
}

#[tokio::test]
async fn q08_a_request_that_is_dropped_while_it_reserves_ends_by_its_lifetime() {
    let (world, store, clock) = (World::new(CATALOG).await, Arc::new(Flaky::default()), clock());
    let quotas = Quotas::new(store.clone()).with_clock(clock.clone());
    let held = async |ctx| {
        store.mute.store(false, Ordering::SeqCst);
        let snapshot = quotas.snapshot(ctx).await.unwrap();
        ["tokens", "exports"].map(|key| snapshot.feature(key).unwrap().held)
    };
    let of_globex = quotas.reserve(&world.globex, TOKENS, 60, MINUTE * 2).await.unwrap();
    store.mute.store(true, Ordering::SeqCst);
    assert!(
        quotas.reserve(&world.acme, TOKENS, 60, MINUTE).now_or_never().is_none(),
        "it waits for the answer"
    );
    assert!(quotas.acquire(&world.acme, EXPORTS).now_or_never().is_none());
    assert_eq!(held(&world.acme).await, [Some(60), Some(1)], "the store has done it");
    let full = quotas.reserve(&world.acme, TOKENS, 60, MINUTE).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::QuotaExceeded);
    clock.advance_seconds(60);
    assert_eq!(
        (held(&world.acme).await, held(&world.globex).await),
        ([Some(0), Some(0)], [Some(60), Some(0)])
    );
    quotas.acquire(&world.acme, EXPORTS).await.unwrap().release().await.unwrap();
    of_globex.release().await.unwrap();
}
