//! A gauge is exact: under concurrency, across rollbacks, and after a change of plan.

mod common;

use common::{TestBackend, World};
use tenancy::ErrorKind;
use tenancy::audit::AuditPolicy;
use tenancy::plan::Cap;
use tenancy::quota::Gauge;
use tenancy::tenant::TenantStore;

const PROJECTS: Gauge = Gauge::new("projects");

async fn of_a_hundred_tasks_that_race_for_five_places_exactly_five_win<DB: TestBackend>() {
    let world = World::<DB>::with(AuditPolicy::Optional, 16).await;
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (db, acme) = (world.db.clone(), world.acme.clone());
            tokio::spawn(async move {
                let mut tx = db.begin(&acme).await.unwrap();
                match PROJECTS.take(&mut tx, 1).await {
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
    assert_eq!(PROJECTS.usage(&world.db.scope(&world.acme)).await.unwrap().used, 5);
    assert_eq!(PROJECTS.usage(&world.db.scope(&world.globex)).await.unwrap().used, 0, "globex took nothing");
}

async fn a_place_comes_back_with_the_rollback_and_with_the_row<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    let mut tx = world.db.begin(&world.acme).await.unwrap();
    assert_eq!(PROJECTS.take(&mut tx, 5).await.unwrap().remaining(), Some(0));
    drop(tx);
    assert_eq!(PROJECTS.usage(&world.db.scope(&world.acme)).await.unwrap().used, 0);

    let mut tx = world.db.begin(&world.acme).await.unwrap();
    PROJECTS.take(&mut tx, 5).await.unwrap();
    assert_eq!(PROJECTS.take(&mut tx, 1).await.unwrap_err().kind(), ErrorKind::LimitReached);
    PROJECTS.give_back(&mut tx, 2).await.unwrap();
    assert_eq!(PROJECTS.take(&mut tx, 1).await.unwrap().used, 4);
    tx.commit().await.unwrap();

    let mut tx = world.db.begin(&world.acme).await.unwrap();
    assert_eq!(PROJECTS.give_back(&mut tx, 5).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    tx.rollback().await.unwrap();
    assert_eq!(PROJECTS.usage(&world.db.scope(&world.acme)).await.unwrap().used, 4);
}

async fn amounts_that_make_no_sense_are_refused_before_the_store<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    let mut tx = world.db.begin(&world.acme).await.unwrap();
    for n in [0, u64::MAX, 1 << 53] {
        assert_eq!(PROJECTS.take(&mut tx, n).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(PROJECTS.give_back(&mut tx, n).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(PROJECTS.take(&mut tx, 6).await.unwrap_err().kind(), ErrorKind::LimitReached);
    for wrong in [Gauge::new("projcts"), Gauge::new("export")] {
        assert_eq!(wrong.take(&mut tx, 1).await.unwrap_err().kind(), ErrorKind::UnknownFeature);
        assert_eq!(wrong.usage(&mut tx).await.unwrap_err().kind(), ErrorKind::UnknownFeature);
    }
    tx.commit().await.unwrap();
    assert_eq!(PROJECTS.usage(&world.db.scope(&world.acme)).await.unwrap().used, 0);
}

async fn after_a_downgrade_what_exists_stays_and_nothing_is_added<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    let mut tx = world.db.begin(&world.globex).await.unwrap();
    assert_eq!(PROJECTS.take(&mut tx, 40).await.unwrap().cap, Cap::AtMost(50));
    tx.commit().await.unwrap();

    world.store.update(&world.globex.tenant().with_plan("free")).await.unwrap();
    let globex = world.again(&world.globex).await.unwrap();
    let usage = PROJECTS.usage(&world.db.scope(&globex)).await.unwrap();
    assert_eq!((usage.used, usage.cap, usage.remaining()), (40, Cap::AtMost(5), Some(0)));
    let mut tx = world.db.begin(&globex).await.unwrap();
    assert_eq!(PROJECTS.take(&mut tx, 1).await.unwrap_err().kind(), ErrorKind::LimitReached);
    assert_eq!(PROJECTS.give_back(&mut tx, 36).await.unwrap().used, 4);
    assert_eq!(PROJECTS.take(&mut tx, 1).await.unwrap().used, 5);
    tx.commit().await.unwrap();

    world.store.update(&globex.tenant().with_plan("enterprise")).await.unwrap();
    let globex = world.again(&world.globex).await.unwrap();
    let mut tx = world.db.begin(&globex).await.unwrap();
    let usage = PROJECTS.take(&mut tx, 1_000_000).await.unwrap();
    assert_eq!((usage.used, usage.remaining()), (1_000_005, None));
}

on_every_database!(
    of_a_hundred_tasks_that_race_for_five_places_exactly_five_win,
    a_place_comes_back_with_the_rollback_and_with_the_row,
    amounts_that_make_no_sense_are_refused_before_the_store,
    after_a_downgrade_what_exists_stays_and_nothing_is_added,
);
