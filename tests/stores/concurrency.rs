//! Concurrency limits on every store: never more in work than the limit, and every place comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenancy::context::Actor;
use tenancy::quota::{Concurrency, Quotas, Reservation};
use tenancy::web::Problem;
use tenancy::{ErrorKind, TenantContext};

use crate::node::until;
use crate::quota_fixture::{self, Meters, World, at_once, clock, on_every_meter};

const EXPORTS: Concurrency = Concurrency::new("exports");
const OF_USER: Concurrency = Concurrency::new("of_user");
const OF_SUBJECT: Concurrency = Concurrency::new("of_subject");

const CATALOG: &str = r#"
version = 1
[features]
exports    = { kind = "concurrency", lease_seconds = 30, timeout_ms = 60000 }
of_user    = { kind = "concurrency", per = "user", timeout_ms = 60000 }
of_subject = { kind = "concurrency", per = "subject", timeout_ms = 60000 }
[plans.free]
features = { exports = 2, of_user = 1, of_subject = 1 }
[plans.none]
features = { exports = 0, of_user = 1, of_subject = 1 }
[plans.unlimited]
features = { exports = "unlimited", of_user = 1, of_subject = 1 }
"#;

/// How many places are held.
async fn held(quotas: &Quotas, ctx: &TenantContext) -> u64 {
    let snapshot = quotas.snapshot(ctx).await.unwrap();
    snapshot.feature("exports").unwrap().held.unwrap()
}

async fn is_full(quotas: &Quotas, ctx: &TenantContext) -> bool {
    quota_fixture::is_full(quotas, ctx, EXPORTS).await
}

async fn q12_a_full_limit_is_denied_with_its_numbers_until_a_place_ends(meters: Meters) {
    let (world, [quotas, other]) = (World::new(CATALOG).await, meters.quotas(&clock()));
    let first = quotas.acquire(&world.acme, EXPORTS).await.unwrap();
    let second = other.acquire(&world.acme, EXPORTS).await.unwrap();
    assert_eq!((first.decisions()[0].held, second.decisions()[0].held), (1, 2));
    assert_eq!(second.decisions()[0].remaining(), Some(0));
    for quotas in [&quotas, &other] {
        let full = quotas.acquire(&world.acme, EXPORTS).await.unwrap_err();
        assert_eq!((full.kind(), Problem::from(&full).status()), (ErrorKind::ConcurrencyLimit, 429));
        let denial = full.plan_denial().unwrap();
        assert_eq!((denial.limit, denial.used, denial.resets_at), (Some(2), Some(2), None));
        assert_eq!(denial.retry_after, Some(Duration::from_secs(1)));
        assert!(!full.to_string().contains("globex"), "{full}");
    }
    let of_globex = quotas.acquire(&world.globex, EXPORTS).await.unwrap();
    first.release().await.unwrap();
    assert_eq!((held(&other, &world.acme).await, held(&other, &world.globex).await), (1, 1));
    let third = other.acquire(&world.acme, EXPORTS).await.unwrap();
    assert!(is_full(&quotas, &world.acme).await && !is_full(&quotas, &world.globex).await);
    drop((second, third));
    until("dropped places are free", async || held(&quotas, &world.acme).await == 0).await;
    assert_eq!(held(&quotas, &world.globex).await, 1, "the place of the other tenant stays");
    of_globex.release().await.unwrap();
    assert_eq!(held(&quotas, &world.globex).await, 0);
    // A place that ended is not counted as used.
    assert!(quotas.counters(&world.acme, None, 10).await.unwrap().iter().all(|one| one.used == 0));
}

/// The clock of the first node stands still, as that of a process that was killed. Its place ends by the clock of the
/// others, however often they renew theirs.
async fn q12_an_orphan_ends_by_its_own_lease(meters: Meters) {
    let (world, time) = (World::new(CATALOG).await, clock());
    let [dead, _] = meters.quotas(&clock());
    let [_, alive] = meters.quotas(&time);
    let lease = Duration::from_secs(30);
    let orphan = dead.acquire(&world.acme, EXPORTS).await.unwrap();
    let orphan_of_globex = dead.acquire(&world.globex, EXPORTS).await.unwrap();
    time.advance_seconds(10);
    let mut place = alive.acquire(&world.acme, EXPORTS).await.unwrap();
    let mut of_globex = alive.acquire(&world.globex, EXPORTS).await.unwrap();
    time.advance_seconds(10);
    for _ in 0..5 {
        place.renew(lease).await.unwrap();
        of_globex.renew(lease * 2).await.unwrap();
        assert!(is_full(&alive, &world.acme).await, "20 of 30 seconds, and each request is denied");
    }
    time.advance_seconds(10);
    let next =
        alive.acquire(&world.acme, EXPORTS).await.expect("the orphan has ended, and its place is free");
    assert!(is_full(&alive, &world.acme).await, "the place that was renewed has not");
    assert_eq!((held(&alive, &world.acme).await, held(&alive, &world.globex).await), (2, 1));
    // Without renewals, each ends by its own time.
    time.advance_seconds(20);
    assert_eq!((held(&alive, &world.acme).await, held(&alive, &world.globex).await), (1, 1));
    time.advance_seconds(10);
    assert_eq!((held(&alive, &world.acme).await, held(&alive, &world.globex).await), (0, 1));
    drop((orphan, orphan_of_globex, next));
}

/// Of many tasks on two nodes, never more than the limit are in work.
async fn q12_never_more_are_in_work_than_the_limit(meters: Meters) {
    let (world, nodes) = (World::new(CATALOG).await, meters.quotas(&clock()));
    let in_work = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let most = at_once(16, |task| {
        let (quotas, in_work, which) = (nodes[task % 2].clone(), in_work.clone(), usize::from(task >= 12));
        let ctx = [&world.acme, &world.globex][which].clone();
        async move {
            let (mut most, mut done) = (0, 0);
            while done < 5 {
                match quotas.acquire(&ctx, EXPORTS).await {
                    Ok(place) => {
                        most = most.max(in_work[which].fetch_add(1, Ordering::SeqCst) + 1);
                        tokio::task::yield_now().await;
                        in_work[which].fetch_sub(1, Ordering::SeqCst);
                        place.release().await.unwrap();
                        done += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::ConcurrencyLimit, "{error}");
                        // The memory store never waits, so the task with the place would not run.
                        tokio::task::yield_now().await;
                    }
                }
            }
            most
        }
    });
    let most = most.await.into_iter().max().unwrap();
    assert!((1..=2).contains(&most), "{most} at a time");
    for quotas in &nodes {
        assert_eq!((held(quotas, &world.acme).await, held(quotas, &world.globex).await), (0, 0));
    }
}

async fn places_are_counted_per_user_and_per_subject(meters: Meters) {
    let (world, [quotas, other]) = (World::new(CATALOG).await, meters.quotas(&clock()));
    let bob = world.acting(&world.acme, Actor::user("bob")).await;
    let robot = world.acting(&world.acme, Actor::api_key("k1")).await;
    let mut places: Vec<Reservation> = Vec::new();
    for ctx in [&world.acme, &bob, &world.globex] {
        places.push(quotas.acquire(ctx, OF_USER).await.unwrap());
        let second = other.acquire(ctx, OF_USER).await.unwrap_err();
        assert_eq!(second.kind(), ErrorKind::ConcurrencyLimit);
    }
    assert_eq!(quotas.acquire(&robot, OF_USER).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    for (ctx, subject) in [(&world.acme, "a"), (&world.acme, "b"), (&world.globex, "a"), (&world.acme, "ada")]
    {
        places.push(quotas.acquire_for(ctx, OF_SUBJECT, Some(subject)).await.unwrap());
        for ctx in [ctx, &world.acting(ctx, Actor::user("eve")).await] {
            let second = other.acquire_for(ctx, OF_SUBJECT, Some(subject)).await.unwrap_err();
            assert_eq!(second.kind(), ErrorKind::ConcurrencyLimit, "the subject counts, and not the user");
        }
    }
    for none in [None, Some("")] {
        let missing = quotas.acquire_for(&world.acme, OF_SUBJECT, none).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::InvalidInput);
    }
    for place in places {
        place.release().await.unwrap();
    }
    other.acquire(&bob, OF_USER).await.unwrap().release().await.unwrap();
    other.acquire_for(&world.globex, OF_SUBJECT, Some("a")).await.unwrap().release().await.unwrap();
}

async fn a_limit_of_zero_has_no_place_and_no_limit_has_every_place(meters: Meters) {
    let (world, [quotas, _]) = (World::new(CATALOG).await, meters.quotas(&clock()));
    let acme = world.on_plan(&world.acme, "none").await;
    let none = quotas.acquire(&acme, EXPORTS).await.unwrap_err();
    assert_eq!((none.kind(), none.plan_denial().unwrap().limit), (ErrorKind::ConcurrencyLimit, Some(0)));
    let globex = world.on_plan(&world.globex, "unlimited").await;
    let mut places = Vec::new();
    for n in 1..=10 {
        let place = quotas.acquire(&globex, EXPORTS).await.unwrap();
        assert_eq!((place.decisions()[0].held, place.decisions()[0].remaining()), (n, None));
        places.push(place);
    }
    // The plan falls below what is in work: nothing is stopped, and nothing is added.
    let globex = world.on_plan(&globex, "free").await;
    let full = quotas.acquire(&globex, EXPORTS).await.unwrap_err();
    assert_eq!(full.plan_denial().map(|denial| (denial.limit, denial.used)), Some((Some(2), Some(10))));
    for place in places.drain(1..) {
        place.release().await.unwrap();
    }
    assert!(!is_full(&quotas, &globex).await);
}

on_every_meter!(
    q12_a_full_limit_is_denied_with_its_numbers_until_a_place_ends,
    q12_an_orphan_ends_by_its_own_lease,
    q12_never_more_are_in_work_than_the_limit,
    places_are_counted_per_user_and_per_subject,
    a_limit_of_zero_has_no_place_and_no_limit_has_every_place,
);
