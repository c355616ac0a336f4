//! The application's migrations in every place: one that fails stops only itself, and what is missing is rejected.

use futures_util::StreamExt;
use tenancy::ErrorKind;
use tenancy::placement::{MigratedPlace, Migrations};
use tenancy::tenant::TenantStore;
use tokio::task::JoinSet;

use crate::place_fixture::{App, TestPlaces, failures, migrator};

/// What happened in each place, by name.
async fn run<DB: TestPlaces>(migrations: Migrations<DB>) -> Vec<(String, Result<Vec<i64>, ErrorKind>)> {
    let places: Vec<_> = migrations.run().map(Result::unwrap).collect().await;
    let named = |place: MigratedPlace| (place.to_string(), place.result.map_err(|error| error.kind()));
    let mut named: Vec<_> = places.into_iter().map(named).collect();
    named[1..].sort_by(|one, other| one.0.cmp(&other.0));
    named
}

/// Two tenants for each kind of place.
async fn tenants<DB: TestPlaces>(app: &mut App<DB>) -> Vec<std::sync::Arc<tenancy::tenant::Tenant>> {
    let provisioner = app.provisioner(&[DB::PROJECTS]);
    let mut tenants = Vec::new();
    for (n, kind) in DB::kinds().into_iter().enumerate() {
        for slug in [format!("acme-{n}"), format!("globex-{n}")] {
            tenants.push(app.create(&provisioner, &slug, kind).await.unwrap());
        }
    }
    tenants
}

const EXTRA: &str =
    "CREATE TABLE extra (tenant_id text NOT NULL, id bigint NOT NULL, PRIMARY KEY (tenant_id, id))";

async fn a_place_that_fails_stops_nothing_else<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    let tenants = tenants(&mut app).await;
    // The place of one tenant has the table already.
    let broken = &tenants[0];
    let blocked = app.provisioner(&[DB::PROJECTS, "CREATE TABLE extra (id bigint)"]);
    let only = run(blocked.migrations().canary(broken.id().clone()).parallel(1)).await;
    assert_eq!(only[0], (broken.slug().to_string(), Ok(vec![2])));

    let new = app.provisioner(&[DB::PROJECTS, "SELECT 1", EXTRA]);
    let found = run(new.migrations().parallel(3)).await;
    // Every place took `extra` under version 2, so this program does not know what they have.
    assert!(found.iter().all(|(_, result)| *result == Err(ErrorKind::Misconfigured)), "{found:?}");
    let drift = new.migrations().drift().await.unwrap();
    assert_eq!(drift.len(), tenants.len() + 1);
    assert!(drift.iter().all(|drift| drift.altered == [2] && drift.missing == [3]), "{drift:?}");

    let next =
        app.provisioner(&[DB::PROJECTS, "CREATE TABLE extra (id bigint)", "CREATE TABLE one (id bigint)"]);
    let place = app.place(broken);
    DB::raw(&place, "CREATE TABLE one (id bigint)").await.unwrap();
    let found = run(next.migrations().parallel(3)).await;
    for (place, result) in &found {
        let expected = if place == broken.slug().as_str() { Err(ErrorKind::Database) } else { Ok(vec![3]) };
        assert_eq!(*result, expected, "{place}");
    }
    assert_eq!(found.len(), tenants.len() + 1, "the shared tables too");
    for tenant in &tenants {
        let failed = failures(&app, tenant).await;
        assert_eq!((failed[&2], failed[&3]), (false, tenant.id() == broken.id()), "{failed:?}");
    }
    // The second run repeats what failed, and finds the rest done.
    DB::raw(&place, "DROP TABLE one").await.unwrap();
    for (place, result) in run(next.migrations()).await {
        assert_eq!(result, Ok(if place == broken.slug().as_str() { vec![3] } else { vec![] }), "{place}");
    }
    assert!(next.migrations().drift().await.unwrap().is_empty());
    assert!(failures(&app, broken).await.values().all(|failed| !failed));
}

/// Every process migrates the shared tables at its start.
async fn processes_that_start_at_once_wait_for_each_other<DB: TestPlaces>() {
    let app = App::<DB>::new().await;
    let texts = [DB::PROJECTS, "CREATE TABLE one (id bigint)", EXTRA];
    let mut processes = JoinSet::new();
    for _ in 0..6 {
        processes.spawn(run(app.provisioner(&texts).migrations()));
    }
    let mut migrated = Vec::new();
    for found in processes.join_all().await {
        let [(_, result)] = &found[..] else { panic!("{found:?}") };
        migrated.extend(result.clone().unwrap());
    }
    assert_eq!(migrated, [2, 3], "each ran once");
}

async fn a_canary_that_fails_stops_the_rest<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    let tenants = tenants(&mut app).await;
    let canary = tenants[1].id().clone();
    let bad = app.provisioner(&[DB::PROJECTS, "CREATE TABLE projects (id bigint)"]);
    let found = run(bad.migrations().canary(canary.clone())).await;
    assert_eq!(found, [(tenants[1].slug().to_string(), Err(ErrorKind::Database))]);
    let good = app.provisioner(&[DB::PROJECTS, "CREATE TABLE extra (id bigint)"]);
    let found = run(good.migrations().canary(canary)).await;
    assert_eq!(found[0].0, tenants[1].slug().to_string(), "the canary is first");
    assert_eq!(found.len(), tenants.len() + 1);
    assert!(found.iter().all(|(_, result)| *result == Ok(vec![2])), "{found:?}");
    let shared = app.create(&good, "commons", |new| new).await.unwrap();
    let migrations = good.migrations().canary(shared.id().clone());
    let first = std::pin::pin!(migrations.run()).next().await.unwrap();
    assert_eq!(first.unwrap_err().kind(), ErrorKind::TenantUnknown, "it has no place of its own");
}

/// A run that is stopped finishes the places in work, and the next run migrates the others.
async fn a_run_that_is_stopped_yields_what_it_finished<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    let old = app.provisioner(&[DB::PROJECTS]);
    for n in 0..6 {
        app.create(&old, &format!("tenant-{n}"), DB::kinds()[0]).await.unwrap();
    }
    let new = app.provisioner(&[DB::PROJECTS, "CREATE TABLE extra (id bigint)"]);
    let mut places = new.migrations().parallel(1).run();
    let first = places.next().await.unwrap().unwrap();
    assert_eq!((first.to_string(), first.result.unwrap()), ("shared tables".to_owned(), vec![2]));
    places.stop();
    // One can be done already and a second one wait for the reader, but no third is begun.
    let more: Vec<_> = places.map(|place| place.unwrap().result.unwrap()).collect().await;
    assert!(more.len() <= 2 && more.iter().all(|versions| versions == &[2]), "{more:?}");
    assert_eq!(new.migrations().drift().await.unwrap().len(), 6 - more.len());
    let rest = run(new.migrations()).await;
    assert_eq!(rest.iter().filter(|(_, result)| *result == Ok(vec![2])).count(), 6 - more.len(), "{rest:?}");
    assert!(new.migrations().drift().await.unwrap().is_empty());
}

/// A tenant that is created while the others are migrated is not left behind.
async fn a_tenant_that_is_inserted_meanwhile_is_migrated<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    let before = tenants(&mut app).await.len();
    let (old, new) = (
        app.provisioner(&[DB::PROJECTS]),
        app.provisioner(&[DB::PROJECTS, "CREATE TABLE extra (id bigint)"]),
    );
    let migrations = new.migrations().parallel(2);
    let mut places = Box::pin(migrations.run());
    let mut found = 0;
    while let Some(place) = places.next().await {
        assert_eq!(place.unwrap().result.unwrap(), [2]);
        found += 1;
        // The list is read again after the last place was sent, and two of three are still to be read.
        if found == 1 {
            // A node that still runs the old program.
            app.create(&old, "late", DB::kinds()[0]).await.unwrap();
        }
    }
    assert_eq!(found, before + 2);
    assert!(new.migrations().drift().await.unwrap().is_empty());
}

/// A tenant whose place lacks the required migration is rejected by name, and admitted as soon as it is there.
async fn a_place_that_is_behind_is_rejected_by_name<DB: TestPlaces>() {
    let mut app = App::<DB>::requiring(Some(2)).await;
    let old = app.provisioner(&[DB::PROJECTS]);
    let new = app.provisioner(&[DB::PROJECTS, "CREATE TABLE extra (id bigint)"]);
    for (n, kind) in DB::kinds().into_iter().enumerate() {
        // The seed runs on the data plane, which rejects the place.
        let error = app.create(&old, &format!("behind-{n}"), kind).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MigrationPending, "{error:?}");
        assert!(error.is_transient() && error.to_string().contains("the migration 2"), "{error}");
        let tenant = old.unfinished().await.unwrap().pop().unwrap().tenant;
        let current = app.create(&new, &format!("current-{n}"), kind).await.unwrap();
        assert_eq!(app.projects(&current).await.unwrap().len(), 1);
        assert_eq!(old.resume(tenant.id()).await.unwrap_err().kind(), ErrorKind::MigrationPending);
        // The program that has the migration runs it, although the older one recorded that it had migrated.
        let opened = new.resume(tenant.id()).await.unwrap();
        assert_eq!(app.projects(&opened).await.unwrap().len(), 1);
    }
}

/// Between two places, the reader of the stream uses the store, whatever the other workers are doing.
async fn the_reader_of_the_stream_may_write<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    let old = app.provisioner(&[DB::PROJECTS]);
    for n in 0..12 {
        app.create(&old, &format!("tenant-{n}"), DB::kinds()[0]).await.unwrap();
    }
    let new = app.provisioner(&[DB::PROJECTS, "CREATE TABLE extra (id bigint)"]);
    let migrations = new.migrations().parallel(6);
    let mut places = Box::pin(migrations.run());
    let mut renamed = 0;
    while let Some(place) = places.next().await {
        let place = place.unwrap();
        assert_eq!(place.result.unwrap(), [2]);
        let Some(tenant) = place.tenant else { continue };
        app.store.update(&tenant.with_name("renamed")).await.unwrap();
        renamed += 1;
    }
    assert_eq!(renamed, 12);
}

/// A run that ended between the migrations of a place and its policies is finished by the next one.
async fn a_table_without_its_policies_gets_them_in_the_next_run<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    let tenants = tenants(&mut app).await;
    let texts = [DB::PROJECTS, &DB::PROJECTS.replace("projects", "table_2")];
    for tenant in &tenants {
        // What a process leaves that is killed at that moment.
        let place = app.place(tenant);
        let mut conn = place.acquire().await.unwrap();
        migrator(&texts).run_direct(None, &mut *conn, false).await.unwrap();
        assert_eq!(DB::number(&place, DB::TABLES).await, 1 << 2);
    }
    let new = app.provisioner(&texts);
    for (place, result) in run(new.migrations()).await {
        assert_eq!(result, Ok(if place == "shared tables" { vec![2] } else { vec![] }), "{place}");
    }
    for tenant in &tenants {
        let place = app.place(tenant);
        assert_eq!(DB::number(&place, DB::PROTECTED).await, 1 << 2, "{}", tenant.slug());
        assert!(!failures(&app, tenant).await[&2]);
    }
}

on_every_database!(
    the_reader_of_the_stream_may_write,
    a_table_without_its_policies_gets_them_in_the_next_run,
    a_place_that_fails_stops_nothing_else,
    processes_that_start_at_once_wait_for_each_other,
    a_canary_that_fails_stops_the_rest,
    a_run_that_is_stopped_yields_what_it_finished,
    a_tenant_that_is_inserted_meanwhile_is_migrated,
    a_place_that_is_behind_is_rejected_by_name,
);
