//! A gauge is exact: under concurrency, after rollbacks, and after a change of plan.

use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, Postgres};
use tenancy::audit::{AuditEvent, AuditPolicy};
use tenancy::plan::Limit;
use tenancy::quota::Gauge;
use tenancy::scope::row::SupportsRow;
use tenancy::tenant::TenantStore;
use tenancy::{ErrorKind, TenantContext, TenantDb, TenantScoped};
use uuid::Uuid;

use crate::common::{Fixture, Order, TestBackend};

const PROJECTS: Gauge = Gauge::new("projects");

async fn of_a_hundred_tasks_that_race_for_five_places_exactly_five_win<DB: TestBackend>() {
    let fixture = Fixture::<DB>::with(AuditPolicy::Optional, 16).await;
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (db, acme) = (fixture.db.clone(), fixture.acme.clone());
            tokio::spawn(async move {
                let mut tx = db.begin(&acme).await.unwrap();
                match PROJECTS.acquire(&mut tx, 1).await {
                    Ok(usage) => {
                        assert!(usage.used <= 5);
                        tx.commit().await.unwrap();
                        true
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::LimitReached, "{error:?}");
                        let denial = error.plan_denial().unwrap();
                        assert_eq!((denial.limit, denial.used), (Some(5), Some(5)));
                        assert_eq!(denial.upgrade_url.as_deref(), Some("/upgrade"));
                        false
                    }
                }
            })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += usize::from(task.await.unwrap());
    }
    assert_eq!(won, 5);
    assert_eq!(PROJECTS.usage(&fixture.db.scope(&fixture.acme)).await.unwrap().used, 5);
    assert_eq!(
        PROJECTS.usage(&fixture.db.scope(&fixture.globex)).await.unwrap().used,
        0,
        "globex took nothing"
    );
}

async fn a_rollback_or_a_release_frees_the_gauge<DB: TestBackend>() {
    let fixture = Fixture::<DB>::new().await;
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    assert_eq!(PROJECTS.acquire(&mut tx, 5).await.unwrap().remaining(), Some(0));
    drop(tx);
    assert_eq!(PROJECTS.usage(&fixture.db.scope(&fixture.acme)).await.unwrap().used, 0);

    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    PROJECTS.acquire(&mut tx, 5).await.unwrap();
    assert_eq!(PROJECTS.acquire(&mut tx, 1).await.unwrap_err().kind(), ErrorKind::LimitReached);
    PROJECTS.release_places(&mut tx, 2).await.unwrap();
    assert_eq!(PROJECTS.acquire(&mut tx, 1).await.unwrap().used, 4);
    tx.commit().await.unwrap();

    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    assert_eq!(PROJECTS.release_places(&mut tx, 5).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    tx.rollback().await.unwrap();
    assert_eq!(PROJECTS.usage(&fixture.db.scope(&fixture.acme)).await.unwrap().used, 4);
}

async fn invalid_amounts_are_rejected_before_the_store<DB: TestBackend>() {
    let fixture = Fixture::<DB>::new().await;
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    for n in [0, u64::MAX, 1 << 53] {
        assert_eq!(PROJECTS.acquire(&mut tx, n).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(PROJECTS.release_places(&mut tx, n).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(PROJECTS.acquire(&mut tx, 6).await.unwrap_err().kind(), ErrorKind::LimitReached);
    for wrong in [Gauge::new("projcts"), Gauge::new("export")] {
        assert_eq!(wrong.acquire(&mut tx, 1).await.unwrap_err().kind(), ErrorKind::UnknownFeature);
        assert_eq!(wrong.usage(&mut tx).await.unwrap_err().kind(), ErrorKind::UnknownFeature);
    }
    tx.commit().await.unwrap();
    assert_eq!(PROJECTS.usage(&fixture.db.scope(&fixture.acme)).await.unwrap().used, 0);
}

async fn after_a_downgrade_what_exists_stays_and_nothing_is_added<DB: TestBackend>() {
    let fixture = Fixture::<DB>::new().await;
    let mut tx = fixture.db.begin(&fixture.globex).await.unwrap();
    assert_eq!(PROJECTS.acquire(&mut tx, 40).await.unwrap().limit, Limit::AtMost(50));
    tx.commit().await.unwrap();

    fixture.store.update(&fixture.globex.tenant().with_plan("free")).await.unwrap();
    let globex = fixture.again(&fixture.globex).await.unwrap();
    let usage = PROJECTS.usage(&fixture.db.scope(&globex)).await.unwrap();
    assert_eq!((usage.used, usage.limit, usage.remaining()), (40, Limit::AtMost(5), Some(0)));
    let mut tx = fixture.db.begin(&globex).await.unwrap();
    assert_eq!(PROJECTS.acquire(&mut tx, 1).await.unwrap_err().kind(), ErrorKind::LimitReached);
    assert_eq!(PROJECTS.release_places(&mut tx, 36).await.unwrap().used, 4);
    assert_eq!(PROJECTS.acquire(&mut tx, 1).await.unwrap().used, 5);
    tx.commit().await.unwrap();

    fixture.store.update(&globex.tenant().with_plan("enterprise")).await.unwrap();
    let globex = fixture.again(&fixture.globex).await.unwrap();
    let mut tx = fixture.db.begin(&globex).await.unwrap();
    let usage = PROJECTS.acquire(&mut tx, 1_000_000).await.unwrap();
    assert_eq!((usage.used, usage.remaining()), (1_000_005, None));
}

impl<DB: TestBackend + SupportsRow<Order>> Fixture<DB> {
    /// Inserts orders and acquires one unit of the gauge for each.
    async fn with_places(&self, ctx: &TenantContext, count: u64) -> Vec<Uuid> {
        let mut tx = self.db.begin(ctx).await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..count {
            let order = Order { id: Uuid::now_v7(), status: "open".to_owned(), total: 1 };
            PROJECTS.acquire(&mut tx, 1).await.unwrap();
            Order::insert(&mut tx, &order).await.unwrap();
            ids.push(order.id);
        }
        tx.commit().await.unwrap();
        ids
    }

    /// The usage of the gauge, and the number of orders.
    async fn used(&self, ctx: &TenantContext) -> (u64, u64) {
        let scope = self.db.scope(ctx);
        (PROJECTS.usage(&scope).await.unwrap().used, Order::count(&scope).await.unwrap())
    }
}

async fn only_deleted_rows_release_the_gauge<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let ours = fixture.with_places(&fixture.acme, 5).await;
    let theirs = fixture.with_places(&fixture.globex, 3).await;

    // An id without a row, the id of a deleted row, and the id of another tenant's row.
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    for (id, used) in [(Uuid::now_v7(), 5), (theirs[0], 5), (ours[0], 4), (ours[0], 4), (Uuid::now_v7(), 4)] {
        let deleted = Order::delete(&mut tx, id).await.unwrap();
        assert_eq!(PROJECTS.release(&mut tx, deleted).await.unwrap().used, used);
    }
    tx.commit().await.unwrap();
    assert_eq!((fixture.used(&fixture.acme).await, fixture.used(&fixture.globex).await), ((4, 4), (3, 3)));

    // Several rows in one delete.
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    let some = || Order::select().filter(Order::ID.is_in([ours[1], ours[2], theirs[0], Uuid::now_v7()]));
    let deleted = some().delete(&mut tx).await.unwrap();
    assert_eq!((deleted.rows(), deleted.found()), (2, true));
    assert_eq!(PROJECTS.release(&mut tx, deleted).await.unwrap().used, 2);
    let deleted = some().delete(&mut tx).await.unwrap();
    assert_eq!((deleted.rows(), deleted.found()), (0, false));
    assert_eq!(PROJECTS.release(&mut tx, deleted).await.unwrap().used, 2);
    tx.commit().await.unwrap();
    assert_eq!((fixture.used(&fixture.acme).await, fixture.used(&fixture.globex).await), ((2, 2), (3, 3)));

    // Rows that one tenant deleted release nothing of another tenant's gauge.
    let deleted = Order::delete(&fixture.db.scope(&fixture.globex), theirs[1]).await.unwrap();
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    let error = PROJECTS.release(&mut tx, deleted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    tx.rollback().await.unwrap();
    assert_eq!(fixture.used(&fixture.acme).await, (2, 2));
}

async fn the_result_of_a_write_shows_whether_a_row_existed<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let ids = fixture.with_places(&fixture.globex, 1).await;
    for (ctx, there) in [(&fixture.acme, false), (&fixture.globex, true)] {
        let scope = fixture.db.scope(ctx);
        let order = Order { id: ids[0], status: "paid".to_owned(), total: 2 };
        let updated = Order::update(&scope, &order).await.unwrap();
        assert_eq!((updated.found(), updated.rows()), (there, u64::from(there)));
        let all = Order::select().update(&scope, [Order::TOTAL.set(3)]).await.unwrap();
        assert_eq!(all, updated);
        let deleted = Order::delete(&scope, ids[0]).await.unwrap();
        assert_eq!((deleted.found(), deleted.rows()), (there, u64::from(there)));
        for answer in [updated.or_not_found(), deleted.or_not_found()] {
            assert_eq!(
                answer.map_err(|error| error.kind()),
                if there { Ok(()) } else { Err(ErrorKind::NotFound) }
            );
        }
    }
}

async fn a_gauge_that_moves_is_a_change<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::with(AuditPolicy::Required, 4).await;
    let used = async |ctx| PROJECTS.usage(&fixture.db.scope(ctx)).await.unwrap().used;
    for ctx in [&fixture.acme, &fixture.globex] {
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        PROJECTS.acquire(&mut tx, 2).await.unwrap();
        assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Unaudited);
        assert_eq!(used(ctx).await, 0);

        let mut tx = fixture.db.begin(ctx).await.unwrap();
        PROJECTS.acquire(&mut tx, 2).await.unwrap();
        tx.record(AuditEvent::new(ctx, "project.create")).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        PROJECTS.release_places(&mut tx, 1).await.unwrap();
        assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Unaudited);
        assert_eq!(used(ctx).await, 2);

        let mut tx = fixture.db.begin(ctx).await.unwrap();
        PROJECTS.usage(&mut tx).await.unwrap();
        let none = Order::select().filter(Order::TOTAL.gt(7)).count(&mut tx).await.unwrap();
        assert_eq!(none, 0);
        tx.commit().await.expect("to look is no change");
    }
}

/// `B09`: a lock of one tenant is a lock of that tenant only. SQLite has one writer for each file.
#[tokio::test]
async fn b09_a_gauge_that_one_tenant_holds_stops_no_other() {
    let fixture = Fixture::<Postgres>::new().await;
    // With one lock for all tenants, the other one would fail instead of waiting for ever.
    Postgres::raw(&fixture.pool, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET lock_timeout = 10000', current_database()); END $$")
        .await
        .unwrap();
    let db = TenantDb::postgres(
        PgPoolOptions::new().max_connections(2),
        fixture.pool.connect_options().to_url_lossy(),
    );
    let db = db.build().await.unwrap();
    for (holder, other) in [(&fixture.acme, &fixture.globex), (&fixture.globex, &fixture.acme)] {
        let mut held = db.begin(holder).await.unwrap();
        PROJECTS.acquire(&mut held, 1).await.unwrap();
        let mut tx = db.begin(other).await.unwrap();
        PROJECTS.acquire(&mut tx, 1).await.unwrap();
        tx.commit().await.unwrap();
        held.commit().await.unwrap();
    }
    for ctx in [&fixture.acme, &fixture.globex] {
        assert_eq!(PROJECTS.usage(&fixture.db.scope(ctx)).await.unwrap().used, 2);
    }
}

in_every_placement!(
    only_deleted_rows_release_the_gauge,
    the_result_of_a_write_shows_whether_a_row_existed,
    a_gauge_that_moves_is_a_change,
    of_a_hundred_tasks_that_race_for_five_places_exactly_five_win,
    a_rollback_or_a_release_frees_the_gauge,
    invalid_amounts_are_rejected_before_the_store,
    after_a_downgrade_what_exists_stays_and_nothing_is_added,
);
