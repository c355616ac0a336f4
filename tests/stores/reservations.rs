//! Reservations and the places of concurrency limits, while work takes long and while the store does not answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenancy::clock::{Clock, ManualClock, SystemClock};
use tenancy::quota::meter::Meter;
use tenancy::quota::{Concurrency, Quota, Quotas, Reservation};
use tenancy::store::{MemoryStore, RedisMeter};
use tenancy::{ErrorKind, TenantContext};

use crate::common::{TestBackend, redis_url};
use crate::meters::sql_store;
use crate::node::until;
use crate::quota_fixture::{self, Flaky, World};

const EXPORTS: Concurrency = Concurrency::new("exports");
const TOKENS: Quota = Quota::new("tokens");

const CATALOG: &str = r#"
version = 1
[features]
exports = { kind = "concurrency", lease_seconds = 2 }
tokens  = { kind = "quota", period = "lifetime", timeout_ms = 20 }
[plans.free]
features = { exports = 1, tokens = 100 }
"#;

async fn contexts() -> [TenantContext; 2] {
    let World { acme, globex, .. } = World::new(CATALOG).await;
    [acme, globex]
}

async fn is_full(quotas: &Quotas, ctx: &TenantContext) -> bool {
    quota_fixture::is_full(quotas, ctx, EXPORTS).await
}

/// The clock is set by hand, so the place expires only if it is not renewed.
async fn a_place_is_renewed_while_it_is_in_use(meter: Arc<dyn Meter>) {
    let [acme, globex] = contexts().await;
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let quotas = Quotas::new(meter).with_clock(clock.clone());
    let place = quotas.acquire(&acme, EXPORTS).await.unwrap();
    let of_globex = quotas.acquire(&globex, EXPORTS).await.unwrap();
    let first = place.expires();
    for _ in 0..3 {
        clock.advance_seconds(1);
        let is_renewed = |place: &Reservation| place.expires() == clock.now().after(Duration::from_secs(2));
        until("places are renewed", async || is_renewed(&place) && is_renewed(&of_globex)).await;
    }
    assert!(clock.now() > first, "the work takes longer than the lease");
    assert!(is_full(&quotas, &acme).await && is_full(&quotas, &globex).await);
    drop(place);
    until("a dropped place is free", async || !is_full(&quotas, &acme).await).await;
    assert!(is_full(&quotas, &globex).await, "the place of another tenant is not");
    of_globex.release().await.unwrap();
    assert!(!is_full(&quotas, &globex).await);
}

/// The store did not answer for longer than the lease, and another took the place.
async fn a_lost_place_is_named(meter: Arc<dyn Meter>) {
    let [acme, globex] = contexts().await;
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let quotas = Quotas::new(meter).with_clock(clock.clone());
    let mut place = quotas.acquire(&acme, EXPORTS).await.unwrap();
    let mut of_globex = quotas.acquire(&globex, EXPORTS).await.unwrap();
    of_globex.renew(Duration::from_mins(1)).await.unwrap();
    clock.advance_seconds(10);
    let next = quotas.acquire(&acme, EXPORTS).await.unwrap();
    let lost = place.renew(Duration::from_mins(1)).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Expired);
    place.release().await.unwrap();
    assert!(is_full(&quotas, &acme).await, "the end of a lost place does not free the place of another");
    assert!(is_full(&quotas, &globex).await);
    next.release().await.unwrap();
    assert!(!is_full(&quotas, &acme).await);
}

async fn places_are_renewed(meter: Arc<dyn Meter>) {
    a_place_is_renewed_while_it_is_in_use(meter.clone()).await;
    a_lost_place_is_named(meter).await;
}

#[tokio::test]
async fn places_are_renewed_in_memory() {
    places_are_renewed(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn places_are_renewed_in_redis() {
    let client = redis::Client::open(redis_url()).expect("TEST_REDIS_URL reads");
    places_are_renewed(Arc::new(RedisMeter::connect(client).await.unwrap())).await;
}

async fn places_are_renewed_in_sql<DB: TestBackend>() {
    let (store, _cleanup) = sql_store::<DB>(4).await;
    places_are_renewed(Arc::new(store)).await;
}

on_every_database!(places_are_renewed_in_sql);

#[tokio::test]
async fn an_ended_reservation_is_not_renewed() {
    let quotas = Quotas::new(Arc::new(MemoryStore::new()));
    let [acme, globex] = contexts().await;
    let minute = Duration::from_mins(1);
    let mut ended = quotas.reserve(&acme, TOKENS, 60, minute).await.unwrap();
    let mut live = quotas.reserve(&globex, TOKENS, 60, minute).await.unwrap();
    let before = live.expires();
    ended.commit(50).await.unwrap();
    assert_eq!(ended.renew(minute).await.unwrap_err().kind(), ErrorKind::Expired);
    live.renew(minute * 5).await.unwrap();
    assert!(live.expires() > before);
    live.commit(60).await.unwrap();
}

/// A store that never answers delays the end of a reservation by the time of its rule, and a repeated end counts once.
#[tokio::test]
async fn the_end_of_a_reservation_waits_no_longer_than_its_rule_says() {
    let flaky = Arc::new(Flaky::default());
    let quotas = Quotas::new(flaky.clone() as Arc<dyn Meter>);
    let [acme, globex] = contexts().await;
    let minute = Duration::from_mins(1);
    let mut used = quotas.reserve(&acme, TOKENS, 60, minute).await.unwrap();
    let released = quotas.reserve(&globex, TOKENS, 60, minute).await.unwrap();
    flaky.silent.store(true, Ordering::SeqCst);
    for error in [used.commit(50).await.unwrap_err(), used.renew(minute).await.unwrap_err()] {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::StoreUnavailable, true), "{error}");
    }
    assert!(released.release().await.unwrap_err().is_transient());
    flaky.silent.store(false, Ordering::SeqCst);
    used.commit(50).await.unwrap();
    let counted = async |ctx| quotas.counters(ctx, None, 1).await.unwrap()[0].clone();
    assert_eq!((counted(&acme).await.used, counted(&acme).await.held), (50, 0));
    assert_eq!(counted(&globex).await.used, 0);
}
