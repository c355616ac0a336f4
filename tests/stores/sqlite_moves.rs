//! Moves between the shared tables and a file of the tenant's own, on SQLite, while rows are written.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use sqlx::Sqlite;
use tenancy::audit::AuditEvent;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::operations::{MoveStep, UnfinishedMove};
use tenancy::placement::SqliteFiles;
use tenancy::quota::Gauge;
use tenancy::scope::select::PageRequest;
use tenancy::store::{CacheOptions, CachedStore, MemoryStore};
use tenancy::tenant::{NewTenant, Placement, PlacementName, Slug, Tenant, TenantId, TenantStore};
use tenancy::{ErrorKind, TenantContext, TenantDb, TenantScoped};

use crate::common::TestBackend;
use crate::place_fixture::{App, Project, TestPlaces};

async fn insert(db: &TenantDb<Sqlite>, ctx: &TenantContext, id: i64) -> tenancy::Result<()> {
    let mut tx = db.begin(ctx).await?;
    Project::insert(&mut tx, &Project { id, name: format!("row {id}") }).await?;
    tx.record(AuditEvent::new(ctx, "project.create").target("project", id)).await?;
    tx.commit().await
}

async fn rows(app: &App<Sqlite>, tenant: &Tenant) -> BTreeMap<i64, String> {
    let ctx = app.context(tenant).await.unwrap();
    let (mut rows, mut after) = (BTreeMap::new(), None);
    loop {
        let request = after.map_or_else(|| PageRequest::first(200), |id| PageRequest::after(id, 200));
        let page = Project::list(&app.db.scope(&ctx), request).await.unwrap();
        let Some(last) = page.items.last() else { return rows };
        after = Some(last.id);
        rows.extend(page.items.into_iter().map(|project| (project.id, project.name)));
    }
}

/// Writes rows until it is stopped, and returns their ids.
async fn write(
    db: TenantDb<Sqlite>,
    directory: TenantDirectory,
    tenant: Tenant,
    task: i64,
    stop: Arc<AtomicBool>,
) -> Vec<i64> {
    let context = async || directory.context(tenant.id(), Actor::user("bob")).await.unwrap();
    let (mut written, mut ctx) = (Vec::new(), context().await);
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = task * 1_000_000 + n;
        match insert(&db, &ctx, id).await {
            Ok(()) => written.push(id),
            Err(error) if error.kind() == ErrorKind::TenantMoving => {
                ctx = context().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // The one writer of the file waited too long for the others.
            Err(error) if error.kind() == ErrorKind::Retryable => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_moves_to_its_file_and_back_while_rows_are_written() {
    let mut app = App::<Sqlite>::new().await;
    let provisioner = app.provisioner(&[Sqlite::PROJECTS]);
    let acme = app.create(&provisioner, "acme", |new: NewTenant| new).await.unwrap();
    let globex = app.create(&provisioner, "globex", |new: NewTenant| new).await.unwrap();
    let (acme, globex) = (Tenant::clone(&acme), Tenant::clone(&globex));
    let ada = Actor::user("ada");
    let theirs = rows(&app, &globex).await;
    let file = Placement::database_of(acme.id());
    for target in [file.clone(), Placement::Shared, file] {
        let stop = Arc::new(AtomicBool::new(false));
        let writer = |task| {
            let (db, directory) = (app.db.clone(), app.directory.clone());
            tokio::spawn(write(db, directory, acme.clone(), task, stop.clone()))
        };
        let writers: Vec<_> = (1..=4).map(writer).collect();
        let before = rows(&app, &acme).await;
        let old = app.context(&acme).await.unwrap();
        let movement = provisioner.move_to(acme.id(), target.clone(), &ada).grace(Duration::from_secs(2));
        let plan = movement.plan().await.unwrap();
        assert!(plan.refused.is_empty(), "{plan}");
        let (send, mut steps) = tokio::sync::mpsc::unbounded_channel();
        let run = movement.run(move |progress| send.send(progress.step).unwrap());
        let checks = async {
            let mut seen = Vec::new();
            while let Some(step) = steps.recv().await {
                if seen.last() != Some(&step) {
                    seen.push(step);
                }
                if step == MoveStep::CleanUp {
                    for result in [
                        Project::count(&app.db.scope(&old)).await.map(|_| ()),
                        insert(&app.db, &old, -1).await,
                    ] {
                        assert_eq!(result.unwrap_err().kind(), ErrorKind::TenantMoving, "an old placement");
                    }
                }
            }
            seen
        };
        let (report, seen) = tokio::join!(run, checks);
        let report = report.unwrap();
        assert_eq!(seen.first(), Some(&MoveStep::Prepare));
        assert_eq!(seen.last(), Some(&MoveStep::CleanUp));
        stop.store(true, Ordering::Relaxed);
        let mut wanted = before;
        for writer in writers {
            wanted.extend(writer.await.unwrap().into_iter().map(|id| (id, format!("row {id}"))));
        }
        assert!(report.tables["projects"] > 0);
        assert_eq!(*app.store.by_id(acme.id()).await.unwrap().unwrap().placement(), target);
        assert_eq!(rows(&app, &acme).await, wanted, "no row is lost, none is doubled");
        assert_eq!(rows(&app, &globex).await, theirs, "another tenant is unchanged");
        let unfinished: Vec<UnfinishedMove> = provisioner.unfinished_moves().await.unwrap();
        assert!(unfinished.is_empty(), "{unfinished:?}");
        // The ids of the next round are new ones.
        let ctx = app.context(&acme).await.unwrap();
        assert_eq!(Gauge::new("projects").usage(&app.db.scope(&ctx)).await.unwrap().used, 0);
        let mut tx = app.db.begin(&ctx).await.unwrap();
        let _ = Project::select().delete(&mut tx).await.unwrap();
        tx.commit_unaudited("the next round").await.unwrap();
    }
}

/// On SQLite no process tells another one of a move. A cache reads the tenant again after one refusal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_of_another_process_serves_the_tenant_after_one_refusal() {
    let mut app = App::<Sqlite>::new().await;
    let provisioner = app.provisioner(&[Sqlite::PROJECTS]);
    let acme = app.create(&provisioner, "acme", |new: NewTenant| new).await.unwrap();
    insert(&app.db, &app.context(&acme).await.unwrap(), 101).await.unwrap();
    let wanted = rows(&app, &acme).await;
    let (ada, bob) = (Actor::user("ada"), Actor::user("bob"));
    for target in [Placement::database_of(acme.id()), Placement::Shared] {
        let process = || {
            let store = CachedStore::new(app.store.clone(), CacheOptions::new());
            TenantDirectory::new(Arc::new(store), app.directory.catalog().clone())
        };
        let (reads, writes) = (process(), process());
        for directory in [&reads, &writes] {
            directory.context(acme.id(), bob.clone()).await.unwrap();
        }
        let movement = provisioner.move_to(acme.id(), target.clone(), &ada).grace(Duration::from_secs(2));
        let (send, mut steps) = tokio::sync::mpsc::unbounded_channel();
        let run = movement.run(move |progress| send.send(progress.step).unwrap());
        let checks = async {
            while steps.recv().await.expect("the rows of the source are removed") != MoveStep::CleanUp {}
            for directory in [&reads, &writes] {
                let old = directory.context(acme.id(), bob.clone()).await.unwrap();
                assert_ne!(*old.tenant().placement(), target);
                let refused = if std::ptr::eq(directory, &raw const reads) {
                    Project::count(&app.db.scope(&old)).await.map(|_| ())
                } else {
                    insert(&app.db, &old, -1).await
                };
                assert_eq!(refused.unwrap_err().kind(), ErrorKind::TenantMoving);
                let ctx = directory.context(acme.id(), bob.clone()).await.unwrap();
                assert_eq!(*ctx.tenant().placement(), target);
                assert_eq!(Project::count(&app.db.scope(&ctx)).await.unwrap(), wanted.len() as u64);
            }
        };
        let (report, ()) = tokio::join!(run, checks);
        report.unwrap();
    }
    assert_eq!(rows(&app, &acme).await, wanted);
}

/// A file that was removed stays open for whoever opened it before: the pool of a place that is gone is not used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_comes_back_to_its_file_is_served_at_once() {
    let mut app = App::<Sqlite>::new().await;
    let provisioner = app.provisioner(&[Sqlite::PROJECTS]);
    let acme = app.create(&provisioner, "acme", NewTenant::own_database).await.unwrap();
    let ada = Actor::user("ada");
    let file = acme.placement().clone();
    let old = app.context(&acme).await.unwrap();
    insert(&app.db, &old, 101).await.unwrap();
    let mut wanted = rows(&app, &acme).await;
    for (target, id) in [(Placement::Shared, 102), (file, 103)] {
        let movement = provisioner.move_to(acme.id(), target.clone(), &ada).grace(Duration::ZERO);
        movement.run(|_| {}).await.unwrap();
        if target == Placement::Shared {
            let error = insert(&app.db, &old, -1).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PlacementMissing, "the file is gone");
        }
        assert_eq!(rows(&app, &acme).await, wanted, "{target}");
        let ctx = app.context(&acme).await.unwrap();
        insert(&app.db, &ctx, id).await.unwrap();
        wanted.insert(id, format!("row {id}"));
        assert_eq!(rows(&app, &acme).await, wanted, "{target}");
    }
}

/// SQLite keeps the letters of a trigger's table as they were written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_forbids_a_move_in_whatever_letters_it_names_its_table() {
    let mut app = App::<Sqlite>::new().await;
    let provisioner = app.provisioner(&[Sqlite::PROJECTS]);
    let acme = app.create(&provisioner, "acme", |new: NewTenant| new).await.unwrap();
    let sql = "CREATE TRIGGER count AFTER INSERT ON Projects BEGIN SELECT 1; END";
    Sqlite::raw(&app.pool, sql).await.unwrap();
    let movement = provisioner.move_to(acme.id(), Placement::database_of(acme.id()), &Actor::user("ada"));
    let error = movement.run(|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("the trigger `count` of `Projects`"), "{error}");
    assert!(provisioner.unfinished_moves().await.unwrap().is_empty());
    Sqlite::raw(&app.pool, "DROP TRIGGER count").await.unwrap();
    movement.grace(Duration::ZERO).run(|_| {}).await.unwrap();
}

/// A file is created from a template under the lock of its place only.
#[tokio::test]
async fn a_file_is_not_created_beside_another_process() {
    let mut app = App::<Sqlite>::new().await;
    let template = PlacementName::parse("template").unwrap();
    let provisioner = app.provisioner(&[Sqlite::PROJECTS]).template(template);
    provisioner.update_template().await.unwrap();
    let id = TenantId::random();
    let file = SqliteFiles::new(app.files.path()).unwrap().path(&PlacementName::of(&id));
    let other = std::fs::File::create(file.with_extension("lock")).unwrap();
    other.lock().unwrap();
    let new = NewTenant::new(Slug::parse("acme").unwrap(), "acme", "free").id(id.clone()).own_database();
    let error = provisioner.create(new).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    assert!(!file.exists());
    drop(other);
    provisioner.resume(&id).await.unwrap();
    assert!(file.exists());
    let globex = app.create(&provisioner, "globex", NewTenant::own_database).await.unwrap();
    assert_ne!(globex.id(), &id);
}

/// Numbers of rows that were deleted before a move are not given out after it; rows without the tenant column are not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_beside_the_rows_is_not_lost_in_a_move() {
    const LETTERS: &str =
        "CREATE TABLE letters (id INTEGER PRIMARY KEY AUTOINCREMENT, tenant_id BLOB NOT NULL)";
    let mut app = App::<Sqlite>::new().await;
    let provisioner = app.provisioner(&[Sqlite::PROJECTS, LETTERS]);
    let migrated: Vec<_> = provisioner.migrations().run().collect().await;
    assert!(migrated.iter().all(|place| place.as_ref().unwrap().result.is_ok()), "{migrated:?}");
    let acme = app.create(&provisioner, "acme", |new: NewTenant| new).await.unwrap();
    let globex = app.create(&provisioner, "globex", |new: NewTenant| new).await.unwrap();
    let ada = Actor::user("ada");
    let mut seen = BTreeSet::new();
    let letter = async |tenant: &Tenant| -> i64 {
        let pool = app.place(tenant);
        let blob = tenant.id().to_string().replace('-', "");
        let sql = format!("INSERT INTO letters (tenant_id) VALUES (X'{blob}') RETURNING id");
        let id = Sqlite::number(&pool, &sql).await;
        Sqlite::raw(&pool, &format!("DELETE FROM letters WHERE tenant_id = X'{blob}'")).await.unwrap();
        id
    };
    for target in [Placement::database_of(acme.id()), Placement::Shared, Placement::database_of(acme.id())] {
        let now = app.store.by_id(acme.id()).await.unwrap().unwrap();
        for _ in 0..3 {
            let id = letter(&now).await;
            assert!(seen.insert(id), "{id}: {seen:?}");
        }
        provisioner.move_to(acme.id(), target, &ada).grace(Duration::ZERO).run(|_| {}).await.unwrap();
    }
    assert!(seen.insert(letter(&globex).await), "{seen:?}");

    for action in ["CASCADE", "SET NULL", "NO ACTION"] {
        let files = format!(
            "DROP TABLE IF EXISTS files; CREATE TABLE files (owner BLOB, project INTEGER, \
             FOREIGN KEY (owner, project) REFERENCES Projects (tenant_id, id) ON DELETE {action})"
        );
        Sqlite::raw(&app.pool, &files).await.unwrap();
        let file = |of: &Tenant| {
            format!("INSERT INTO files VALUES (X'{}', 1)", of.id().to_string().replace('-', ""))
        };
        Sqlite::raw(&app.pool, &file(&globex)).await.unwrap();
        let movement = provisioner.move_to(globex.id(), Placement::database_of(globex.id()), &ada);
        let why = "`files` has no tenant column, and has rows that refer to rows of the tenant in `projects`";
        let plan = movement.plan().await.unwrap();
        assert!(plan.refused.iter().any(|one| one.contains(why)), "{plan}");
        assert!(movement.run(|_| {}).await.unwrap_err().to_string().contains(why));
        let error = provisioner.deletion(globex.id(), &ada).plan().await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        let kept = "SELECT count(*) FROM files WHERE owner IS NOT NULL AND project = 1";
        assert_eq!(Sqlite::number(&app.pool, kept).await, 1, "{action}");
    }
    // Rows of another tenant forbid nothing.
    let other = app.create(&provisioner, "other", |new: NewTenant| new).await.unwrap();
    provisioner.deletion(other.id(), &ada).plan().await.unwrap();
    Sqlite::raw(&app.pool, "DELETE FROM files").await.unwrap();
    let movement = provisioner.move_to(globex.id(), Placement::database_of(globex.id()), &ada);
    movement.grace(Duration::ZERO).run(|_| {}).await.unwrap();
    assert_eq!(rows(&app, &globex).await.len(), 1);
}

/// A read whose task is not polled for a while, between the check of the fence and its statement, is right or refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_stands_still_while_its_tenant_moves_is_right_or_refused() {
    let mut app = App::<Sqlite>::new().await;
    let provisioner = app.provisioner(&[Sqlite::PROJECTS]);
    let acme = app.create(&provisioner, "acme", |new: NewTenant| new).await.unwrap();
    for polls in 1..8 {
        for target in [Placement::database_of(acme.id()), Placement::Shared] {
            let old = app.context(&acme).await.unwrap();
            let scope = app.db.scope(&old);
            let mut read = pin!(Project::count(&scope));
            let mut result = None;
            for _ in 0..polls {
                // Polls once, and waits until the connection has an answer.
                let mut polled = false;
                let step = poll_fn(|cx| {
                    if std::mem::replace(&mut polled, true) {
                        return Poll::Ready(());
                    }
                    read.as_mut().poll(cx).map(|done| result = Some(done))
                });
                step.await;
                if result.is_some() {
                    break;
                }
            }
            let movement = provisioner.move_to(acme.id(), target.clone(), &Actor::user("ada"));
            movement.grace(Duration::ZERO).run(|_| {}).await.unwrap();
            let result = match result {
                Some(result) => result,
                None => read.await,
            };
            assert!(
                !matches!(result, Ok(rows) if rows != 1),
                "after {polls} polls, to the {target}: {result:?}"
            );
        }
    }
}

/// A store in memory returns the tenant that it returned before. After a refusal that ended it is cached as any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_of_a_store_in_memory_is_cached_again_after_a_refusal() {
    let (app, memory) = (App::<Sqlite>::new().await, MemoryStore::new());
    let acme = memory.insert(NewTenant::active("acme", "free").unwrap()).await.unwrap();
    let cache = Arc::new(CachedStore::new(memory, CacheOptions::new()));
    let directory = TenantDirectory::new(cache.clone(), app.directory.catalog().clone());
    let context = async || directory.context(acme.id(), Actor::user("bob")).await.unwrap();
    let ctx = context().await;
    let fence = format!("INSERT INTO tenancy_fences VALUES ('{}', 'shared tables')", acme.id());
    Sqlite::raw(&app.pool, &fence).await.unwrap();
    let refused = Project::count(&app.db.scope(&ctx)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TenantMoving);
    assert!(cache.peek_id(acme.id()).is_none());
    Sqlite::raw(&app.pool, "DELETE FROM tenancy_fences").await.unwrap();
    assert_eq!(Project::count(&app.db.scope(&context().await)).await.unwrap(), 0);
    assert!(cache.peek_id(acme.id()).is_some());
}

/// A row without the tenant column is not removed with the file of a tenant that moves away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_without_the_tenant_column_stays() {
    let mut app = App::<Sqlite>::new().await;
    let settings = "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT)";
    let provisioner = app.provisioner(&[Sqlite::PROJECTS, settings]);
    let migrated: Vec<_> = provisioner.migrations().run().collect().await;
    assert!(migrated.iter().all(|place| place.as_ref().unwrap().result.is_ok()), "{migrated:?}");
    let acme = app.create(&provisioner, "acme", NewTenant::own_database).await.unwrap();
    for step in [MoveStep::Copy, MoveStep::CleanUp] {
        let (place, handle) = (app.place(&acme), tokio::runtime::Handle::current());
        let mut written = false;
        let movement =
            provisioner.move_to(acme.id(), Placement::Shared, &Actor::user("ada")).grace(Duration::ZERO);
        let run = movement.run(|progress| {
            if progress.step == step && !std::mem::replace(&mut written, true) {
                let insert = Sqlite::raw(&place, "INSERT INTO settings VALUES ('theme', 'dark')");
                tokio::task::block_in_place(|| handle.block_on(insert)).unwrap();
            }
        });
        let error = run.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{step}: {error:?}");
        assert_eq!(Sqlite::number(&place, "SELECT count(*) FROM settings").await, 1);
        Sqlite::raw(&place, "DELETE FROM settings").await.unwrap();
        if step == MoveStep::Copy {
            movement.roll_back().await.unwrap();
        }
    }
}
