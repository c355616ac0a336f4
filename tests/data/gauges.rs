//! Gauges by id, soft deletion, transfers between tenants, recounts and warning levels, always of two tenants.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::{Postgres, Sqlite};
use tenancy::audit::AuditPolicy;
use tenancy::context::TenantDirectory;
use tenancy::plan::{Catalog, Limit};
use tenancy::quota::Gauge;
use tenancy::scope::StoredEvent;
use tenancy::scope::row::SupportsRow;
use tenancy::web::Problem;
use tenancy::{ErrorKind, TenantContext, TenantScoped};

use crate::common::{Fixture, Order, TestBackend};

const PROJECTS: Gauge = Gauge::new("projects");

#[derive(Debug, Clone, Copy, PartialEq, sqlx::Type)]
#[sqlx(transparent)]
struct Seconds(i64);

impl From<SystemTime> for Seconds {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed()))
    }
}

#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "projects")]
struct Project {
    #[tenant(id)]
    id: i64,
    #[tenant(soft_delete)]
    deleted_at: Option<Seconds>,
}

trait Projects: TestBackend + SupportsRow<Project> + SupportsRow<Order> {
    const TENANT: &'static str;
}

impl Projects for Sqlite {
    const TENANT: &'static str = "BLOB";
}

impl Projects for Postgres {
    const TENANT: &'static str = "uuid";
}

async fn with_projects<DB: Projects>() -> Fixture<DB> {
    let fixture = Fixture::<DB>::new().await;
    let sql = format!(
        "CREATE TABLE projects (tenant_id {} NOT NULL, id bigint NOT NULL, deleted_at bigint, PRIMARY KEY (tenant_id, id))",
        DB::TENANT
    );
    fixture.raw(&sql).await.unwrap();
    fixture
}

fn project(id: i64) -> Project {
    Project { id, deleted_at: None }
}

async fn used<DB: TestBackend>(fixture: &Fixture<DB>, ctx: &TenantContext) -> u64 {
    PROJECTS.usage(&fixture.db.scope(ctx)).await.unwrap().used
}

async fn both<DB: TestBackend>(fixture: &Fixture<DB>) -> (u64, u64) {
    (used(fixture, &fixture.acme).await, used(fixture, &fixture.globex).await)
}

async fn acquire<DB: TestBackend>(fixture: &Fixture<DB>, ctx: &TenantContext, n: u64) {
    let mut tx = fixture.db.begin(ctx).await.unwrap();
    PROJECTS.acquire(&mut tx, n).await.unwrap();
    tx.commit().await.unwrap();
}

/// The details of the recounts of a tenant, oldest first: the reason, and the numbers before and after.
async fn recounts<DB: TestBackend>(
    fixture: &Fixture<DB>,
    ctx: &TenantContext,
) -> Vec<(String, String, String)> {
    let events = StoredEvent::newest(&fixture.db.scope(ctx), None, 100).await.unwrap();
    let mut found = Vec::new();
    for event in events.iter().rev() {
        let event: serde_json::Value = serde_json::from_str(event.json()).unwrap();
        assert_eq!(event["action"], "tenancy.gauge_recount");
        assert_eq!(event["target"], serde_json::json!({"kind": "gauge", "id": "projects"}));
        assert_eq!(event["tenant"], ctx.tenant_id().to_string());
        let detail = |name: &str| event["details"][name].as_str().unwrap().to_owned();
        found.push((detail("reason"), detail("old"), detail("new")));
    }
    found
}

async fn the_same_id_counts_once<DB: TestBackend>() {
    let fixture = Fixture::<DB>::with(AuditPolicy::Required, 8).await;
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    for (id, wanted) in [("a", 1), ("a", 1), ("b", 2), ("a", 2), ("c", 3), ("d", 4), ("e", 5)] {
        assert_eq!(PROJECTS.acquire_for(&mut tx, id).await.unwrap().used, wanted, "{id}");
    }
    // At the limit a new id is rejected and leaves nothing; one that is counted needs no place.
    let full = PROJECTS.acquire_for(&mut tx, "f").await.unwrap_err();
    assert_eq!((full.kind(), full.plan_denial().unwrap().used), (ErrorKind::LimitReached, Some(5)));
    assert!(!PROJECTS.holds(&mut tx, "f").await.unwrap());
    let again = PROJECTS.acquire_for(&mut tx, "e").await.unwrap();
    assert_eq!((again.used, again.limit, again.remaining()), (5, Limit::AtMost(5), Some(0)));
    tx.commit_unaudited("a test").await.unwrap();

    // The same ids of another tenant are other resources.
    let mut tx = fixture.db.begin(&fixture.globex).await.unwrap();
    assert!(!PROJECTS.holds(&mut tx, "a").await.unwrap());
    assert!(!PROJECTS.release_for(&mut tx, "a").await.unwrap());
    assert_eq!(PROJECTS.acquire_for(&mut tx, "a").await.unwrap().used, 1);
    tx.commit_unaudited("a test").await.unwrap();
    assert_eq!(both(&fixture).await, (5, 1));

    // What changes nothing is no change: it needs no audit event.
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    PROJECTS.acquire_for(&mut tx, "a").await.unwrap();
    assert!(!PROJECTS.release_for(&mut tx, "f").await.unwrap());
    PROJECTS.lock(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    for moves in [true, false] {
        let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
        assert!(PROJECTS.release_for(&mut tx, "a").await.unwrap());
        if moves {
            PROJECTS.acquire_for(&mut tx, "f").await.unwrap();
        }
        assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Unaudited);
    }

    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    assert!(PROJECTS.release_for(&mut tx, "a").await.unwrap());
    assert!(!PROJECTS.release_for(&mut tx, "a").await.unwrap(), "released once");
    tx.commit_unaudited("a test").await.unwrap();
    assert_eq!(both(&fixture).await, (4, 1));
    assert!(PROJECTS.holds(&fixture.db.scope(&fixture.globex), "a").await.unwrap());
    assert!(!PROJECTS.holds(&fixture.db.scope(&fixture.acme), "a").await.unwrap());
}

async fn fifty_tasks_count_the_same_id_once_and_other_ids_to_the_limit<DB: TestBackend>() {
    let fixture = Fixture::<DB>::with(AuditPolicy::Optional, 16).await;
    let race = async |name: fn(usize) -> String| {
        let tasks: Vec<_> = (0..50)
            .map(|i| {
                let (db, acme) = (fixture.db.clone(), fixture.acme.clone());
                tokio::spawn(async move {
                    let mut tx = db.begin(&acme).await.unwrap();
                    match PROJECTS.acquire_for(&mut tx, name(i)).await {
                        Ok(usage) => {
                            assert!(usage.used <= 5);
                            tx.commit().await.unwrap();
                            1
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::LimitReached, "{error:?}");
                            0
                        }
                    }
                })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            won += task.await.unwrap();
        }
        won
    };
    assert_eq!(race(|_| "same".to_owned()).await, 50);
    assert_eq!(both(&fixture).await, (1, 0));
    assert_eq!(race(|i| format!("member-{i}")).await, 4);
    assert_eq!(both(&fixture).await, (5, 0));
    let scope = fixture.db.scope(&fixture.acme);
    let mut held = 0;
    for i in 0..50 {
        held += u64::from(PROJECTS.holds(&scope, format!("member-{i}")).await.unwrap());
    }
    assert_eq!(held, 4);
}

async fn a_rollback_forgets_the_id<DB: TestBackend>() {
    let fixture = Fixture::<DB>::new().await;
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    PROJECTS.acquire_for(&mut tx, 1).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(!PROJECTS.holds(&fixture.db.scope(&fixture.acme), 1).await.unwrap());
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    PROJECTS.acquire_for(&mut tx, 1).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    assert!(PROJECTS.release_for(&mut tx, 1).await.unwrap());
    drop(tx);
    assert!(PROJECTS.holds(&fixture.db.scope(&fixture.acme), 1).await.unwrap());
    assert_eq!(both(&fixture).await, (1, 0));
}

async fn a_gauge_by_id_rejects_a_release_by_number_and_odd_ids<DB: Projects>() {
    let fixture = with_projects::<DB>().await;
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    for id in [String::new(), "a\0".to_owned(), "x".repeat(257)] {
        assert_eq!(PROJECTS.acquire_for(&mut tx, &id).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(PROJECTS.release_for(&mut tx, &id).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(PROJECTS.holds(&mut tx, &id).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let wrong = Gauge::new("projcts");
    assert_eq!(wrong.acquire_for(&mut tx, 1).await.unwrap_err().kind(), ErrorKind::UnknownFeature);
    assert_eq!(wrong.release_for(&mut tx, 1).await.unwrap_err().kind(), ErrorKind::UnknownFeature);
    assert_eq!(wrong.lock(&mut tx).await.unwrap_err().kind(), ErrorKind::UnknownFeature);

    Project::insert(&mut tx, &project(1)).await.unwrap();
    PROJECTS.acquire_for(&mut tx, 1).await.unwrap();
    let deleted = Project::delete(&mut tx, 1).await.unwrap();
    // Otherwise the id would stay, and the restored project would not count.
    let error = PROJECTS.release(&mut tx, deleted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("release_for"), "{error}");
    assert!(PROJECTS.release_for(&mut tx, 1).await.unwrap());
    tx.commit().await.unwrap();
    acquire(&fixture, &fixture.globex, 1).await;
    assert_eq!(both(&fixture).await, (0, 1));
}

async fn soft_deletes_and_restores_move_the_gauge<DB: Projects>() {
    let fixture = with_projects::<DB>().await;
    for (ctx, count) in [(&fixture.acme, 5), (&fixture.globex, 3)] {
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        for id in 1..=count {
            PROJECTS.acquire(&mut tx, 1).await.unwrap();
            Project::insert(&mut tx, &project(id)).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    // By number: released when it is marked, counted when it is restored.
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    let deleted = Project::delete(&mut tx, 1).await.unwrap();
    assert_eq!(PROJECTS.release(&mut tx, deleted).await.unwrap().used, 4);
    let restored = Project::restore(&mut tx, 1).await.unwrap();
    assert_eq!((restored.found(), restored.rows()), (true, 1));
    assert_eq!(PROJECTS.acquire_restored(&mut tx, restored).await.unwrap().used, 5);
    // Neither a row that was not deleted nor another tenant's or a missing row adds anything.
    for id in [1, 9] {
        let restored = Project::restore(&mut tx, id).await.unwrap();
        assert_eq!(PROJECTS.acquire_restored(&mut tx, restored).await.unwrap().used, 5);
    }
    let deleted = Project::select().filter(Project::ID.le(2)).delete(&mut tx).await.unwrap();
    assert_eq!(PROJECTS.release(&mut tx, deleted).await.unwrap().used, 3);
    tx.commit().await.unwrap();

    // At the limit nothing is restored: the transaction ends.
    acquire(&fixture, &fixture.acme, 1).await;
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    let restored = Project::select().only_deleted().restore(&mut tx).await.unwrap();
    assert_eq!(restored.rows(), 2);
    assert_eq!(
        PROJECTS.acquire_restored(&mut tx, restored).await.unwrap_err().kind(),
        ErrorKind::LimitReached
    );
    tx.rollback().await.unwrap();
    assert_eq!(Project::count(&fixture.db.scope(&fixture.acme)).await.unwrap(), 3);
    assert_eq!(both(&fixture).await, (4, 3));

    // Rows that one tenant restored count for no other tenant.
    let scope = fixture.db.scope(&fixture.globex);
    assert!(Project::delete(&scope, 1).await.unwrap().found());
    let restored = Project::restore(&scope, 1).await.unwrap();
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    assert_eq!(
        PROJECTS.acquire_restored(&mut tx, restored).await.unwrap_err().kind(),
        ErrorKind::Misconfigured
    );
    tx.rollback().await.unwrap();
    assert_eq!(both(&fixture).await, (4, 3));
}

async fn by_id_a_soft_delete_and_its_purge_release_once<DB: Projects>() {
    let fixture = with_projects::<DB>().await;
    for ctx in [&fixture.acme, &fixture.globex] {
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        for id in 1..=2 {
            PROJECTS.acquire_for(&mut tx, id).await.unwrap();
            Project::insert(&mut tx, &project(id)).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Project::delete(&mut tx, 1).await.unwrap().or_not_found().unwrap();
    assert!(PROJECTS.release_for(&mut tx, 1).await.unwrap());
    Project::restore(&mut tx, 1).await.unwrap().or_not_found().unwrap();
    assert_eq!(PROJECTS.acquire_for(&mut tx, 1).await.unwrap().used, 2);
    Project::delete(&mut tx, 1).await.unwrap().or_not_found().unwrap();
    assert!(PROJECTS.release_for(&mut tx, 1).await.unwrap());
    // A marked project was released before; another one is released now.
    for (id, held) in [(1, false), (2, true)] {
        Project::purge(&mut tx, id).await.unwrap().or_not_found().unwrap();
        assert_eq!(PROJECTS.release_for(&mut tx, id).await.unwrap(), held);
    }
    tx.commit().await.unwrap();
    assert_eq!(both(&fixture).await, (0, 2));
}

async fn a_transfer_moves_both_gauges_and_a_full_target_moves_neither<DB: Projects>() {
    let fixture = with_projects::<DB>().await;
    let (acme, globex) = (&fixture.acme, &fixture.globex);
    acquire(&fixture, acme, 4).await;
    acquire(&fixture, globex, 3).await;
    let mut target = fixture.db.begin(acme).await.unwrap();
    let error = PROJECTS.transfer_in(&mut target, globex, 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    let same = PROJECTS.transfer_in(&mut target, acme, 1).await.unwrap_err();
    assert_eq!(same.kind(), ErrorKind::InvalidInput);
    target.commit().await.unwrap();
    assert_eq!(both(&fixture).await, (4, 3));

    let mut target = fixture.db.begin(acme).await.unwrap();
    let transfer = PROJECTS.transfer_in(&mut target, globex, 1).await.unwrap();
    assert_eq!(transfer.usage().used, 5);
    target.commit().await.unwrap();
    // Between the two commits both count, and neither counts too little.
    assert_eq!(both(&fixture).await, (5, 3));
    let mut source = fixture.db.begin(globex).await.unwrap();
    assert_eq!(PROJECTS.transfer_out(&mut source, transfer).await.unwrap().used, 2);
    source.commit().await.unwrap();
    assert_eq!(both(&fixture).await, (5, 2));

    // Only the source of the transfer releases.
    let mut target = fixture.db.begin(globex).await.unwrap();
    let transfer = PROJECTS.transfer_in(&mut target, acme, 1).await.unwrap();
    target.commit().await.unwrap();
    let mut wrong = fixture.db.begin(globex).await.unwrap();
    let error = PROJECTS.transfer_out(&mut wrong, transfer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    wrong.rollback().await.unwrap();
    assert_eq!(both(&fixture).await, (5, 3));
}

/// Moves a project from globex to acme; it stops between the two commits if `stops`.
async fn transfer_by_id<DB: Projects>(fixture: &Fixture<DB>, id: i64, stops: bool) -> tenancy::Result<()> {
    let mut target = fixture.db.begin(&fixture.acme).await?;
    let transfer = PROJECTS.transfer_in_for(&mut target, &fixture.globex, id).await?;
    Project::upsert(&mut target, &project(id)).await?;
    target.commit().await?;
    if stops {
        drop(transfer);
        return Ok(());
    }
    let mut source = fixture.db.begin(&fixture.globex).await?;
    let _ = Project::purge(&mut source, id).await?;
    PROJECTS.transfer_out(&mut source, transfer).await?;
    source.commit().await
}

async fn a_transfer_that_stops_between_its_commits_is_run_again<DB: Projects>() {
    let fixture = with_projects::<DB>().await;
    let scopes = [fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex)];
    let mut tx = fixture.db.begin(&fixture.globex).await.unwrap();
    for id in 1..=7 {
        PROJECTS.acquire_for(&mut tx, id).await.unwrap();
        Project::insert(&mut tx, &project(id)).await.unwrap();
    }
    tx.commit().await.unwrap();
    transfer_by_id(&fixture, 1, true).await.unwrap();
    // Both have the project and count it: the counts are those of the rows.
    assert_eq!(both(&fixture).await, (1, 7));
    for scope in &scopes {
        let rows = Project::count(scope).await.unwrap();
        assert!(PROJECTS.reconcile(scope, rows).await.unwrap().is_exact());
        assert!(PROJECTS.holds(scope, 1).await.unwrap());
    }
    transfer_by_id(&fixture, 1, false).await.unwrap();
    transfer_by_id(&fixture, 1, false).await.unwrap();
    assert_eq!(both(&fixture).await, (1, 6));
    for id in 2..=5 {
        transfer_by_id(&fixture, id, false).await.unwrap();
    }
    assert_eq!(transfer_by_id(&fixture, 6, false).await.unwrap_err().kind(), ErrorKind::LimitReached);
    assert_eq!(both(&fixture).await, (5, 2));
    let [ours, theirs] =
        [Project::count(&scopes[0]).await.unwrap(), Project::count(&scopes[1]).await.unwrap()];
    assert_eq!((ours, theirs), (5, 2));
}

async fn rows_from_before_the_gauge_are_recounted<DB: Projects>() {
    let fixture = with_projects::<DB>().await;
    for (ctx, count) in [(&fixture.acme, 8), (&fixture.globex, 2)] {
        let rows: Vec<_> = (1..=count).map(project).collect();
        Project::insert_many(&fixture.db.scope(ctx), &rows).await.unwrap();
    }
    // An old row cannot be released. That is a fault of the program, not of its client.
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    let deleted = Project::delete(&mut tx, 1).await.unwrap();
    let error = PROJECTS.release(&mut tx, deleted).await.unwrap_err();
    assert_eq!((error.kind(), Problem::from(&error).status()), (ErrorKind::Misconfigured, 500));
    assert!(error.to_string().contains("recount"), "{error}");
    tx.rollback().await.unwrap();

    let drift = PROJECTS.reconcile(&fixture.db.scope(&fixture.acme), 8).await.unwrap();
    assert_eq!((drift.used, drift.counted, drift.drift(), drift.is_exact()), (0, 8, -8, false));
    assert_eq!(both(&fixture).await, (0, 0), "a comparison changes nothing");
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    for (counted, reason) in [(8, " "), (u64::MAX, "x"), (1 << 53, "x")] {
        let error = PROJECTS.recount(&mut tx, counted, reason).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    PROJECTS.lock(&mut tx).await.unwrap();
    let rows = Project::count(&mut tx).await.unwrap();
    // Also above the limit: what exists stays, and nothing is added.
    let usage = PROJECTS.recount(&mut tx, rows, "added to a table with rows").await.unwrap();
    assert_eq!((usage.used, usage.remaining(), usage.over_by()), (8, Some(0), 3));
    assert_eq!(PROJECTS.acquire(&mut tx, 1).await.unwrap_err().kind(), ErrorKind::LimitReached);
    PROJECTS.recount(&mut tx, rows, "again, which changes nothing").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(both(&fixture).await, (8, 0));

    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    let deleted = Project::select().filter(Project::ID.le(4)).delete(&mut tx).await.unwrap();
    assert_eq!(PROJECTS.release(&mut tx, deleted).await.unwrap().over_by(), 0);
    tx.commit().await.unwrap();
    // A lower count needs a recount as well, with its event.
    let drift = PROJECTS.reconcile(&fixture.db.scope(&fixture.acme), 3).await.unwrap();
    assert_eq!(drift.drift(), 1);
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    PROJECTS.recount(&mut tx, 3, "a row was deleted by hand").await.unwrap();
    tx.commit().await.unwrap();
    let text = |reason: &str, old: &str, new: &str| (reason.to_owned(), old.to_owned(), new.to_owned());
    assert_eq!(
        recounts(&fixture, &fixture.acme).await,
        [text("added to a table with rows", "0", "8"), text("a row was deleted by hand", "4", "3")]
    );
    assert_eq!(recounts(&fixture, &fixture.globex).await, []);
    // A recount that is rolled back leaves neither.
    let mut tx = fixture.db.begin(&fixture.globex).await.unwrap();
    PROJECTS.recount(&mut tx, 2, "rolled back").await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!((both(&fixture).await, recounts(&fixture, &fixture.globex).await.len()), ((3, 0), 0));
}

async fn a_recount_by_id_replaces_the_ids<DB: Projects>() {
    let fixture = with_projects::<DB>().await;
    for ctx in [&fixture.acme, &fixture.globex] {
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        for id in [1, 1000] {
            PROJECTS.acquire_for(&mut tx, id).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    let error = PROJECTS.recount(&mut tx, 3, "by number").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("recount_for"), "{error}");
    let ids = (1..=450).chain(1..=450);
    let usage = PROJECTS.recount_for(&mut tx, ids, "from the table").await.unwrap();
    assert_eq!((usage.used, usage.over_by()), (450, 445));
    tx.commit().await.unwrap();
    let scope = fixture.db.scope(&fixture.acme);
    for (id, held) in [(1, true), (200, true), (201, true), (450, true), (451, false), (1000, false)] {
        assert_eq!(PROJECTS.holds(&scope, id).await.unwrap(), held, "{id}");
    }
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    assert!(PROJECTS.release_for(&mut tx, 450).await.unwrap());
    PROJECTS.recount_for(&mut tx, [7], "one is left").await.unwrap();
    assert_eq!(
        PROJECTS.recount_for(&mut tx, Vec::<i64>::new(), " ").await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(PROJECTS.recount_for(&mut tx, [""], "x").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    tx.commit().await.unwrap();
    assert_eq!(both(&fixture).await, (1, 2));
    let numbers: Vec<_> =
        recounts(&fixture, &fixture.acme).await.into_iter().map(|(_, old, new)| (old, new)).collect();
    assert_eq!(numbers, [("2".to_owned(), "450".to_owned()), ("449".to_owned(), "1".to_owned())]);
    let theirs = fixture.db.scope(&fixture.globex);
    assert!(PROJECTS.holds(&theirs, 1).await.unwrap() && PROJECTS.holds(&theirs, 1000).await.unwrap());
    assert_eq!(recounts(&fixture, &fixture.globex).await, []);
}

/// Projects that are created while recounts run count exactly once.
async fn a_recount_under_the_lock_loses_no_project<DB: Projects>() {
    let fixture = with_projects::<DB>().await;
    let mut tasks = Vec::new();
    for i in 0..40 {
        let (db, globex) = (fixture.db.clone(), fixture.globex.clone());
        tasks.push(tokio::spawn(async move {
            let mut tx = db.begin(&globex).await.unwrap();
            if i % 4 == 0 {
                PROJECTS.lock(&mut tx).await.unwrap();
                let rows = Project::count(&mut tx).await.unwrap();
                assert!(PROJECTS.reconcile(&mut tx, rows).await.unwrap().is_exact());
                PROJECTS.recount(&mut tx, rows, "a test").await.unwrap();
            } else if i % 2 == 0 {
                // The row first, so that it is not committed yet while another task counts.
                Project::insert(&mut tx, &project(i)).await.unwrap();
                PROJECTS.acquire(&mut tx, 1).await.unwrap();
            } else {
                PROJECTS.acquire(&mut tx, 1).await.unwrap();
                Project::insert(&mut tx, &project(i)).await.unwrap();
            }
            tx.commit().await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(both(&fixture).await, (0, 30));
    assert_eq!(recounts(&fixture, &fixture.globex).await, [], "there was no drift");
}

const WARNING: &str = r#"
version = 1
[features]
projects = { kind = "gauge", warn = [80, 100] }
[plans.free]
features = { projects = { limit = 5, overage = { grace = { percent = 20 } } } }
[plans.pro]
features = { projects = { limit = 20, overage = "allow" } }
"#;

/// The contexts of both tenants under another catalog.
async fn under<DB: TestBackend>(fixture: &Fixture<DB>, catalog: &str) -> [TenantContext; 2] {
    let directory =
        TenantDirectory::new(fixture.store.clone(), Arc::new(Catalog::from_toml(catalog).unwrap()));
    let acme = directory.context(fixture.acme.tenant_id(), fixture.acme.actor().clone()).await.unwrap();
    let globex = directory.context(fixture.globex.tenant_id(), fixture.globex.actor().clone()).await.unwrap();
    [acme, globex]
}

async fn each_warning_level_is_reached_once_and_overage_is_counted<DB: TestBackend>() {
    let fixture = Fixture::<DB>::with(AuditPolicy::Optional, 16).await;
    let [acme, globex] = under(&fixture, WARNING).await;
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let (db, globex) = (fixture.db.clone(), globex.clone());
            tokio::spawn(async move {
                let mut tx = db.begin(&globex).await.unwrap();
                let usage = PROJECTS.acquire(&mut tx, 1).await.unwrap();
                // What is rolled back reached nothing.
                if i % 10 == 0 {
                    tx.rollback().await.unwrap();
                    return (usage.used, Vec::new(), 0);
                }
                tx.commit().await.unwrap();
                assert_eq!(usage.over_by(), usage.used.saturating_sub(20));
                (usage.used, usage.reached, 1)
            })
        })
        .collect();
    let (mut reached, mut committed, mut seen) = (Vec::new(), 0, BTreeSet::new());
    for task in tasks {
        let (used, levels, kept) = task.await.unwrap();
        reached.extend(levels);
        committed += kept;
        seen.insert(used);
    }
    reached.sort_unstable();
    assert_eq!((reached, committed), (vec![80, 100], 36));
    assert!(seen.len() > 35);
    let usage = PROJECTS.usage(&fixture.db.scope(&globex)).await.unwrap();
    assert_eq!((usage.used, usage.over_by(), usage.remaining(), usage.reached), (36, 16, Some(0), vec![]));

    // Both levels at once, and again after the count fell below one of them.
    let mut tx = fixture.db.begin(&acme).await.unwrap();
    for (n, levels) in [(3, vec![]), (2, vec![80, 100]), (1, vec![])] {
        assert_eq!(PROJECTS.acquire(&mut tx, n).await.unwrap().reached, levels);
    }
    // The plan allows 20 % more than 5, and names its own limit in the error.
    let full = PROJECTS.acquire(&mut tx, 1).await.unwrap_err();
    let denial = full.plan_denial().unwrap();
    assert_eq!((full.kind(), denial.limit, denial.used), (ErrorKind::LimitReached, Some(5), Some(6)));
    let usage = PROJECTS.release_places(&mut tx, 2).await.unwrap();
    assert_eq!((usage.used, usage.reached.len()), (4, 0));
    assert_eq!(PROJECTS.acquire(&mut tx, 1).await.unwrap().reached, [100]);
    assert!(PROJECTS.recount(&mut tx, 0, "a test").await.unwrap().reached.is_empty());
    assert_eq!(PROJECTS.recount(&mut tx, 4, "a test").await.unwrap().reached, [80]);
    for (id, levels) in [(1, vec![100]), (1, vec![])] {
        assert_eq!(PROJECTS.acquire_for(&mut tx, id).await.unwrap().reached, levels);
    }
    tx.commit().await.unwrap();
    assert_eq!(both(&fixture).await, (5, 36));
}

async fn a_cross_tenant_read_compares_and_locks_nothing<DB: Projects>() {
    let fixture = with_projects::<DB>().await;
    for (ctx, rows, counted) in [(&fixture.acme, 3, 1), (&fixture.globex, 2, 2)] {
        let rows: Vec<_> = (1..=rows).map(project).collect();
        Project::insert_many(&fixture.db.scope(ctx), &rows).await.unwrap();
        acquire(&fixture, ctx, counted).await;
    }
    let reason = tenancy::scope::Reason::new("drift of gauges").unwrap();
    let actor = tenancy::context::Actor::system("nightly");
    let across = fixture.db.cross_tenant(&fixture.directory, &*fixture.store, reason, actor).unwrap();
    let drifts = across
        .read(async |tenant| {
            let rows = Project::count(&mut *tenant).await?;
            PROJECTS.reconcile(tenant, rows).await
        })
        .await
        .unwrap();
    let mut found: Vec<_> =
        drifts.iter().map(|one| (one.tenant.slug().as_str().to_owned(), one.value.drift())).collect();
    found.sort();
    assert_eq!(found, [("acme".to_owned(), -2), ("globex".to_owned(), 0)]);
    let locked = across.read(async |tenant| PROJECTS.lock(tenant).await).await.unwrap_err();
    let held = across.read(async |tenant| PROJECTS.acquire_for(tenant, 1).await).await.unwrap_err();
    for error in [locked, held] {
        assert_eq!(error.kind(), ErrorKind::SqlRejected, "{error}");
        assert!(error.to_string().contains("cannot change rows"), "{error}");
    }
    assert_eq!(both(&fixture).await, (1, 2));
}

/// Row-level security without the tenant predicate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_hides_the_ids_of_every_tenant_from_a_query_without_one() {
    let fixture = Fixture::<Postgres>::new().await;
    for ctx in [&fixture.acme, &fixture.globex] {
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        PROJECTS.acquire_for(&mut tx, "p1").await.unwrap();
        tx.commit().await.unwrap();
    }
    let count = "SELECT count(*) FROM tenancy_gauge_resources";
    assert_eq!(Postgres::number(&fixture.pool, count).await, 0);
    Postgres::raw(&fixture.pool, "DELETE FROM tenancy_gauge_resources").await.unwrap();
    let steal = format!(
        "INSERT INTO tenancy_gauge_resources VALUES ('{}', 'projects', 'p2')",
        fixture.acme.tenant_id()
    );
    assert!(Postgres::raw(&fixture.pool, &steal).await.is_err());
    let as_globex = format!("SET LOCAL app.tenant_id = '{}'", fixture.globex.tenant_id());
    // Not on a connection of the pool: the transaction stays open there, and fails for the next user of it.
    let mut own = fixture.pool.acquire().await.unwrap().detach();
    let stolen = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("BEGIN; {as_globex}; {steal}; COMMIT")));
    assert!(stolen.execute(&mut own).await.is_err());
    drop(own);
    for ctx in [&fixture.acme, &fixture.globex] {
        let mut conn = fixture.pool.acquire().await.unwrap();
        let set = format!("BEGIN; SET LOCAL app.tenant_id = '{}'", ctx.tenant_id());
        sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *conn).await.unwrap();
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT tenant_id, resource FROM tenancy_gauge_resources")
                .fetch_all(&mut *conn)
                .await
                .unwrap();
        assert_eq!(rows, [(ctx.tenant_id().to_string(), "p1".to_owned())]);
        sqlx::raw_sql("ROLLBACK").execute(&mut *conn).await.unwrap();
    }
    assert_eq!(both(&fixture).await, (1, 1));
}

in_every_placement!(
    the_same_id_counts_once,
    fifty_tasks_count_the_same_id_once_and_other_ids_to_the_limit,
    a_rollback_forgets_the_id,
    a_gauge_by_id_rejects_a_release_by_number_and_odd_ids,
    soft_deletes_and_restores_move_the_gauge,
    by_id_a_soft_delete_and_its_purge_release_once,
    a_transfer_moves_both_gauges_and_a_full_target_moves_neither,
    a_transfer_that_stops_between_its_commits_is_run_again,
    rows_from_before_the_gauge_are_recounted,
    a_recount_by_id_replaces_the_ids,
    a_recount_under_the_lock_loses_no_project,
    each_warning_level_is_reached_once_and_overage_is_counted,
    a_cross_tenant_read_compares_and_locks_nothing,
);
