//! `I30`, `I89`, `I92`: the slug of one tenant is not reassigned to another before its cool-down ends.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Postgres, Sqlite};
use tenancy::ErrorKind;
use tenancy::clock::{ManualClock, Timestamp};
use tenancy::store::{MemoryStore, SqlStore};
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantStatus, TenantStore};
use tokio::task::JoinSet;

use crate::common::TestBackend;

const DAY: i64 = 24 * 60 * 60;

fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

fn new(name: &str) -> NewTenant {
    NewTenant::new(slug(name), name, "free").status(TenantStatus::Active)
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_seconds(1_700_000_000)))
}

async fn kind(store: &dyn TenantStore, tenant: &Tenant) -> Result<(), ErrorKind> {
    store.update(tenant).await.map(|_| ()).map_err(|error| error.kind())
}

/// Acme changes its slug; globex gets the old one after `days`, and not earlier.
async fn cools_down(store: &dyn TenantStore, clock: &ManualClock, days: i64) {
    let acme = store.insert(new("acme")).await.unwrap();
    let globex = store.insert(new("globex")).await.unwrap();
    let moved = store.update(&acme.with_slug(slug("acme-corp"))).await.unwrap();
    clock.advance_seconds(days * DAY - 1);
    assert_eq!(kind(store, &globex.with_slug(slug("acme"))).await, Err(ErrorKind::Conflict));
    clock.advance_seconds(1);
    let heir = store.update(&globex.with_slug(slug("acme"))).await.unwrap();
    let found = store.by_slug(&slug("acme")).await.unwrap().unwrap();
    assert_eq!((found.id(), found.slug()), (heir.id(), heir.slug()));
    assert_ne!(found.id(), acme.id(), "what was issued for the old tenant says another id");
    assert_eq!(kind(store, &moved.with_slug(slug("acme"))).await, Err(ErrorKind::Conflict));
    // The slug is in use again, and does not become free with time.
    clock.advance_seconds(1000 * DAY);
    assert_eq!(store.insert(new("acme")).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(store.insert(new("acme-corp")).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn i30_a_released_slug_cools_down() {
    let clock = self::clock();
    cools_down(&MemoryStore::new().with_clock(clock.clone()), &clock, 90).await;
    let week = Duration::from_hours(7 * 24);
    cools_down(&MemoryStore::new().with_clock(clock.clone()).slug_cooldown(week), &clock, 7).await;
}

/// `I89`: the error for an unavailable slug does not contain the reason.
async fn i89_an_unavailable_slug_does_not_reveal_its_owner(store: &dyn TenantStore) {
    for [own, other] in [["acme", "globex"], ["initech", "umbrella"]] {
        let tenant = store.insert(new(own)).await.unwrap();
        let neighbour = store.insert(new(other)).await.unwrap();
        let in_use = store.insert(new(own)).await.unwrap_err();
        let renamed = store.update(&neighbour.with_slug(slug(own))).await.unwrap_err();
        let closed = store.update(&tenant.with_status(TenantStatus::Suspended).unwrap()).await.unwrap();
        let suspended = store.insert(new(own)).await.unwrap_err();
        store.update(&closed.with_slug(slug(&format!("{own}-corp")))).await.unwrap();
        let resting = store.insert(new(own)).await.unwrap_err();
        for error in [renamed, suspended, resting, in_use] {
            let told = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(told.starts_with("a tenant with this id or slug exists, or"), "{told}");
            for hidden in [own, other, &tenant.id().to_string(), &neighbour.id().to_string()] {
                assert!(!told.contains(hidden), "{told}");
            }
        }
        assert_eq!(store.by_id(neighbour.id()).await.unwrap(), Some(neighbour));
    }
}

#[tokio::test]
async fn i89_in_memory() {
    i89_an_unavailable_slug_does_not_reveal_its_owner(&MemoryStore::new()).await;
}

async fn i89_in_sql<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(2).await;
    let store = SqlStore::new(pool);
    store.migrate().await.unwrap();
    i89_an_unavailable_slug_does_not_reveal_its_owner(&store).await;
}

async fn i30_a_released_slug_cools_down_in_sql<DB: TestBackend>() {
    let clock = self::clock();
    let (pool, _cleanup) = DB::fresh(4).await;
    let store = SqlStore::new(pool).with_clock(clock.clone());
    store.migrate().await.unwrap();
    cools_down(&store, &clock, 90).await;
    let (pool, _cleanup) = DB::fresh(4).await;
    let store = SqlStore::new(pool).with_clock(clock.clone()).slug_cooldown(Duration::from_hours(7 * 24));
    store.migrate().await.unwrap();
    cools_down(&store, &clock, 7).await;
}

/// A tenant's row is deleted by hand; its slug stays in the cool-down.
async fn i30_the_slug_of_a_deleted_tenant_cools_down<DB: TestBackend>() {
    let clock = self::clock();
    let (pool, _cleanup) = DB::fresh(4).await;
    let store = SqlStore::new(pool.clone()).with_clock(clock.clone());
    store.migrate().await.unwrap();
    let mut acme = store.insert(new("acme")).await.unwrap();
    for status in [TenantStatus::Deactivated, TenantStatus::Deleting] {
        acme = store.update(&acme.with_status(status).unwrap()).await.unwrap();
    }
    let lost = store.insert(new("lost")).await.unwrap();
    DB::raw(&pool, "DELETE FROM tenancy_tenants").await.unwrap();
    assert_eq!(store.insert(new("acme")).await.unwrap_err().kind(), ErrorKind::Conflict);
    clock.advance_seconds(90 * DAY);
    let heir = store.insert(new("acme")).await.unwrap();
    assert_ne!(heir.id(), acme.id());
    let error = store.insert(new("lost")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{} was removed without notice: for good", lost.id());
}

/// Twenty callers insert a slug while its tenant is renamed, on real connections: none of them gets the slug.
async fn i92_no_caller_gets_a_slug_during_a_rename<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(20).await;
    let store = Arc::new(SqlStore::new(pool));
    store.migrate().await.unwrap();
    for round in 0..3 {
        let name = format!("acme-{round}");
        let acme = store.insert(new(&name)).await.unwrap();
        let mut rivals = JoinSet::new();
        for n in 0..20 {
            let (store, name) = (store.clone(), name.clone());
            let other = store.insert(new(&format!("rival-{round}-{n}"))).await.unwrap();
            rivals.spawn(async move {
                if n % 2 == 0 {
                    store.insert(new(&name)).await.map(|_| ())
                } else {
                    store.update(&other.with_slug(slug(&name))).await.map(|_| ())
                }
            });
        }
        let renamed = store.update(&acme.with_slug(slug(&format!("{name}-corp")))).await.unwrap();
        for rival in rivals.join_all().await {
            let kind = rival.expect_err("somebody took a slug that was being given up").kind();
            assert!(matches!(kind, ErrorKind::Conflict | ErrorKind::Retryable), "{kind}");
        }
        assert_eq!(store.by_slug(&slug(&name)).await.unwrap(), None);
        let found = store.by_slug(renamed.slug()).await.unwrap().unwrap();
        assert_eq!(found.id(), acme.id());
    }
}

/// `I92`: a swap in two steps is rejected and changes neither tenant.
async fn i92_two_tenants_do_not_swap_their_slugs<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(4).await;
    let store = SqlStore::new(pool);
    store.migrate().await.unwrap();
    let acme = store.insert(new("acme")).await.unwrap();
    let beta = store.insert(new("beta")).await.unwrap();
    let aside = store.update(&acme.with_slug(slug("aside"))).await.unwrap();
    assert_eq!(kind(&store, &beta.with_slug(slug("acme"))).await, Err(ErrorKind::Conflict));
    assert_eq!(store.by_id(beta.id()).await.unwrap().unwrap(), beta, "a refused update changes nothing");
    let back = store.update(&aside.with_slug(slug("acme"))).await.unwrap();
    assert_eq!((back.id(), back.slug()), (acme.id(), acme.slug()));
}

on_every_database!(
    i89_in_sql,
    i30_a_released_slug_cools_down_in_sql,
    i30_the_slug_of_a_deleted_tenant_cools_down,
    i92_no_caller_gets_a_slug_during_a_rename,
    i92_two_tenants_do_not_swap_their_slugs,
);

/// The migration upgrades the tables of the previous version, with a tenant in them.
async fn upgrades<DB: TestBackend>(before: &str, steps: &[&str]) {
    let (pool, _cleanup) = DB::fresh(4).await;
    DB::raw(&pool, before).await.unwrap();
    DB::raw(
        &pool,
        "INSERT INTO tenancy_tenants (id, slug, name, status, status_set_by, plan, placement, version) \
         VALUES ('42', 'acme', 'Acme', 'active', 'operator', 'free', '{\"kind\":\"shared\"}', 3)",
    )
    .await
    .unwrap();
    for step in steps.iter().copied() {
        DB::raw(&pool, step).await.unwrap();
    }
    let store = SqlStore::new(pool);
    let acme = store.by_slug(&slug("acme")).await.unwrap().unwrap();
    assert_eq!(store.insert(new("acme")).await.unwrap_err().kind(), ErrorKind::Conflict);
    let globex = store.insert(new("globex")).await.unwrap();
    let moved = store.update(&acme.with_slug(slug("acme-corp"))).await.unwrap();
    assert_eq!(kind(&store, &globex.with_slug(slug("acme"))).await, Err(ErrorKind::Conflict));
    assert_eq!(kind(&store, &moved.with_slug(slug("acme"))).await, Ok(()));
}

#[tokio::test]
async fn tenants_of_the_version_before_keep_their_slugs() {
    upgrades::<Sqlite>(
        include_str!("../../migrations/sqlite/0001_tenancy.sql"),
        &[
            include_str!("../../migrations/sqlite/0002_tenants_own.sql"),
            include_str!("../../migrations/sqlite/0003_placements.sql"),
            include_str!("../../migrations/sqlite/0004_billing.sql"),
            include_str!("../../migrations/sqlite/0005_billing_outbox.sql"),
            include_str!("../../migrations/sqlite/0006_checkouts.sql"),
            include_str!("../../migrations/sqlite/0007_usage.sql"),
            include_str!("../../migrations/sqlite/0008_quotas.sql"),
            include_str!("../../migrations/sqlite/0009_gauge_resources.sql"),
            include_str!("../../migrations/sqlite/0010_suspensions.sql"),
            include_str!("../../migrations/sqlite/0011_deletions.sql"),
            include_str!("../../migrations/sqlite/0012_erasure.sql"),
            include_str!("../../migrations/sqlite/0013_moves.sql"),
        ],
    )
    .await;
    upgrades::<Postgres>(
        include_str!("../../migrations/postgres/0001_tenancy.sql"),
        &[
            include_str!("../../migrations/postgres/0002_tenants_own.sql"),
            include_str!("../../migrations/postgres/0003_placements.sql"),
            include_str!("../../migrations/postgres/0004_billing.sql"),
            include_str!("../../migrations/postgres/0005_billing_outbox.sql"),
            include_str!("../../migrations/postgres/0006_checkouts.sql"),
            include_str!("../../migrations/postgres/0007_usage.sql"),
            include_str!("../../migrations/postgres/0008_quotas.sql"),
            include_str!("../../migrations/postgres/0009_gauge_resources.sql"),
            include_str!("../../migrations/postgres/0010_suspensions.sql"),
            include_str!("../../migrations/postgres/0011_deletions.sql"),
            include_str!("../../migrations/postgres/0012_erasure.sql"),
            include_str!("../../migrations/postgres/0013_moves.sql"),
        ],
    )
    .await;
}
