//! What could take rows away in a move: statements of a process that was killed, sessions that end, places that are taken for
//! one another, rows that nothing refuses.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool, Postgres, Transaction};
use tenancy::context::Actor;
use tenancy::operations::MoveStep;
use tenancy::tenant::{NewTenant, Placement, PlacementName, Slug, Tenant};
use tenancy::{ErrorKind, TenantContext, TenantDb, TenantScoped};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, block_in_place};

use crate::common::{Cleanup, TestBackend, admin_url};
use crate::moves::{Mover, data_plane, drop_database, insert, tenant};
use crate::placements::{Project, World};

/// A tenant in a place, with rows, and an administrator of the database of the shared tables.
struct Moving {
    world: World,
    db: TenantDb<Postgres>,
    acme: Tenant,
    admin: PgPool,
    _database: Cleanup,
}

impl Moving {
    async fn new(place: impl FnOnce(&Tenant) -> Placement) -> Self {
        let world = World::new().await;
        let acme = tenant(&world, "acme").await;
        let database = drop_database(&acme);
        let options: PgConnectOptions = admin_url().parse().unwrap();
        let admin = PgPool::connect_with(options.database(world.app.get_database().unwrap())).await.unwrap();
        let db = data_plane(&world).await;
        let moving = Self { world, db, acme, admin, _database: database };
        let ctx = moving.context().await;
        for id in 1..=20 {
            insert(&moving.db, &ctx, id).await.unwrap();
        }
        let place = place(&moving.acme);
        if place != Placement::Shared {
            moving.go(place).await;
        }
        moving
    }

    async fn context(&self) -> TenantContext {
        self.world.directory.context(self.acme.id(), Actor::user("bob")).await.unwrap()
    }

    /// Moves the tenant. The locks of a process that was killed end a moment later.
    async fn go(&self, target: Placement) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let movement =
                self.world.provisioner.move_to(self.acme.id(), target.clone(), &Actor::user("ada"));
            match movement.grace(Duration::ZERO).run(|_| {}).await {
                Err(error) if error.kind() == ErrorKind::Retryable && Instant::now() < deadline => {}
                done => {
                    done.unwrap();
                    return;
                }
            }
        }
    }

    async fn rows(&self) -> u64 {
        Project::count(&self.db.scope(&self.context().await)).await.unwrap()
    }

    /// Locks row 5 in the shared tables, so that a statement of a mover waits.
    async fn lock_row(&self) -> Transaction<'static, Postgres> {
        let mut tx = self.admin.begin().await.unwrap();
        let sql = "SELECT 1 FROM projects WHERE id = 5 FOR UPDATE";
        assert_eq!(sqlx::query(sql).fetch_all(&mut *tx).await.unwrap().len(), 1, "the row was copied");
        tx
    }

    /// Whether a statement that is like this waits for a lock.
    async fn is_waiting(&self, statement: &str) -> bool {
        let sql = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1 \
            AND datname = current_database()";
        sqlx::query_scalar(sql).bind(statement).fetch_one(&self.admin).await.unwrap()
    }

    /// Begins a roll back, and waits until a statement of it waits for a lock.
    async fn roll_back_until(&self, target: &Placement, statement: &str) -> JoinHandle<tenancy::Result<()>> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let movement =
                self.world.provisioner.move_to(self.acme.id(), target.clone(), &Actor::user("ada"));
            let back = tokio::spawn(async move { movement.roll_back().await });
            while !back.is_finished() {
                if self.is_waiting(statement).await {
                    return back;
                }
                tokio::task::yield_now().await;
            }
            // The locks of the process that was killed were still held.
            assert_eq!(back.await.unwrap().unwrap_err().kind(), ErrorKind::Retryable);
            assert!(Instant::now() < deadline, "no statement waits");
        }
    }

    /// Ends the idle sessions that hold locks, as a firewall or an operator does.
    async fn end_idle_locks(&self) {
        let sql = "SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
            WHERE l.locktype = 'advisory' AND a.state = 'idle' AND a.datname IN (current_database(), $1)";
        let name = PlacementName::of(self.acme.id());
        let ended: i64 = sqlx::query_scalar(sql).bind(name.as_str()).fetch_one(&self.admin).await.unwrap();
        assert!(ended > 0);
    }
}

/// A statement that PostgreSQL runs on after `kill -9` of its client must have ended before the tenant is switched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_of_a_killed_mover_ends_before_the_switch() {
    let moving = Moving::new(|acme| Placement::database_of(acme.id())).await;
    let Moving { world, db, acme, .. } = &moving;
    let mut mover = Mover::start(world, acme, &Placement::Shared, "copy-rows");
    mover.wait_for("stopped at ");
    mover.kill();
    let ctx = moving.context().await;
    let mut tx = db.begin(&ctx).await.unwrap();
    let _ = Project::delete(&mut tx, 5).await.unwrap();
    tx.commit_unaudited("a test").await.unwrap();
    let operator = moving.lock_row().await;
    // The second mover deletes the row in the target, and waits for the operator. The first one's locks may still be held.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut mover = Mover::start(world, acme, &Placement::Shared, "never");
        let waits = loop {
            if moving.is_waiting("DELETE FROM%projects%").await {
                break true;
            }
            if mover.has_ended() {
                break false;
            }
            tokio::task::yield_now().await;
        };
        mover.kill();
        if waits {
            break;
        }
        assert!(Instant::now() < deadline);
    }
    // The tenant is served from the source, and writes the row again.
    let mut tx = db.begin(&ctx).await.unwrap();
    Project::insert(&mut tx, &Project { id: 5, name: "row 5".to_owned() }).await.unwrap();
    tx.commit_unaudited("a test").await.unwrap();
    let again = world.provisioner.move_to(acme.id(), Placement::Shared, &Actor::user("ada"));
    let error = again.wait(Duration::from_secs(1)).run(|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error:?}");
    assert_eq!(moving.rows().await, 20);
    operator.rollback().await.unwrap();
    moving.go(Placement::Shared).await;
    assert_eq!(*moving.context().await.tenant().placement(), Placement::Shared);
    assert_eq!(moving.rows().await, 20);
    assert!(Project::find(&db.scope(&moving.context().await), 5).await.unwrap().is_some());
}

/// Without the sessions that hold its locks, a mover that still writes keeps others away.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_mover_whose_locks_ended_and_another_one_lose_nothing() {
    let moving = Moving::new(|_| Placement::Shared).await;
    let Moving { world, db, acme, .. } = &moving;
    let target = Placement::database_of(acme.id());
    let first =
        world.provisioner.move_to(acme.id(), target.clone(), &Actor::user("ada")).grace(Duration::ZERO);
    let (reached, mut at_copy) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(Some(wait));
    let first = tokio::spawn(async move {
        let run = first.run(move |progress| {
            if progress.step == MoveStep::Copy
                && let Some(wait) = wait.lock().unwrap().take()
            {
                reached.send(()).unwrap();
                block_in_place(|| wait.recv().unwrap());
            }
        });
        run.await.map(|_| ())
    });
    at_copy.recv().await.unwrap();
    moving.end_idle_locks().await;
    // Either the second one is kept away, or the first one cannot write any more.
    let second = world.provisioner.move_to(acme.id(), target.clone(), &Actor::user("ada"));
    let second = second.grace(Duration::ZERO).run(|_| {}).await.map(|_| ());
    insert(db, &moving.context().await, 21).await.unwrap();
    go_on.send(()).unwrap();
    let first = first.await.unwrap();
    assert!(first.is_err() || second.is_err(), "{first:?} {second:?}");
    assert_eq!(moving.rows().await, 21);
    if second.is_err() {
        moving.go(target.clone()).await;
    }
    assert_eq!(*moving.context().await.tenant().placement(), target);
    assert_eq!(moving.rows().await, 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_roll_back_whose_locks_ended_deletes_nothing_that_was_switched() {
    let moving = Moving::new(|acme| Placement::database_of(acme.id())).await;
    let Moving { world, acme, .. } = &moving;
    let mut mover = Mover::start(world, acme, &Placement::Shared, "verify");
    mover.wait_for("stopped at ");
    mover.kill();
    let operator = moving.lock_row().await;
    let back = moving.roll_back_until(&Placement::Shared, "DELETE FROM%projects%").await;
    moving.end_idle_locks().await;
    let again = world.provisioner.move_to(acme.id(), Placement::Shared, &Actor::user("ada"));
    let again = again.grace(Duration::ZERO).run(|_| {}).await.map(|_| ());
    operator.rollback().await.unwrap();
    let back = back.await.unwrap();
    assert!(again.is_err() || back.is_err(), "{again:?} {back:?}");
    assert_eq!(moving.rows().await, 20);
    if again.is_err() {
        moving.go(Placement::Shared).await;
    }
    assert_eq!(moving.rows().await, 20);
}

/// A switch whose commit is in flight comes before a roll back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_back_waits_for_a_switch_that_is_committed() {
    let moving = Moving::new(|_| Placement::Shared).await;
    let Moving { world, acme, .. } = &moving;
    let target = Placement::database_of(acme.id());
    let mut mover = Mover::start(world, acme, &target, "switch");
    mover.wait_for("stopped at ");
    mover.kill();
    // As the transaction of the switch, whose COMMIT waits for a standby.
    let mut switch = world.owner.begin().await.unwrap();
    let id = acme.id().to_string();
    let sql = "UPDATE tenancy_tenants SET placement = $2, version = version + 1 WHERE id = $1";
    let placement = serde_json::to_string(&target).unwrap();
    sqlx::query(sql).bind(&id).bind(placement).execute(&mut *switch).await.unwrap();
    let sql = "UPDATE tenancy_moves SET step = 'clean-up' WHERE tenant_id = $1";
    sqlx::query(sql).bind(&id).execute(&mut *switch).await.unwrap();
    let back = moving.roll_back_until(&target, "%tenancy_moves%").await;
    switch.commit().await.unwrap();
    back.await.unwrap().unwrap_err();
    assert_eq!(*moving.context().await.tenant().placement(), target);
    moving.go(target).await;
    assert_eq!(moving.rows().await, 20);
}

/// A schema can have any name. Its tables are not taken for shared ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_with_a_name_of_its_own_is_a_place() {
    let world = World::new().await;
    let named = Placement::Schema { name: PlacementName::parse("acme_corp").unwrap() };
    let new = NewTenant::new(Slug::parse("acme").unwrap(), "acme", "enterprise").placement(named.clone());
    let acme = Tenant::clone(&*world.provisioner.create(new).await.unwrap());
    let globex = tenant(&world, "globex").await;
    let _databases = [drop_database(&acme), drop_database(&globex)];
    let db = data_plane(&world).await;
    let context =
        async |tenant: &Tenant| world.directory.context(tenant.id(), Actor::user("bob")).await.unwrap();
    let rows = async |tenant: &Tenant| Project::count(&db.scope(&context(tenant).await)).await.unwrap();
    for (tenant, count) in [(&acme, 20), (&globex, 3)] {
        for id in 1..=count {
            insert(&db, &context(tenant).await, id).await.unwrap();
        }
    }
    let movement = |tenant: &Tenant, target: &Placement| {
        world.provisioner.move_to(tenant.id(), target.clone(), &Actor::user("ada")).grace(Duration::ZERO)
    };
    // Another tenant, out of the shared tables and back.
    for target in [Placement::database_of(globex.id()), Placement::Shared] {
        movement(&globex, &target).run(|_| {}).await.unwrap();
        assert_eq!((rows(&acme).await, rows(&globex).await), (20, 3));
    }
    // A move that stops, and is rolled back.
    let stopped = movement(&acme, &Placement::Shared);
    let gone = "ALTER TABLE acme_corp.projects ADD COLUMN more text";
    Postgres::raw(&world.owner, gone).await.unwrap();
    stopped.run(|_| {}).await.unwrap_err();
    stopped.roll_back().await.unwrap();
    assert_eq!(rows(&acme).await, 20);
    Postgres::raw(&world.owner, "ALTER TABLE acme_corp.projects DROP COLUMN more").await.unwrap();
    for target in [Placement::Shared, named.clone(), Placement::database_of(acme.id()), named] {
        movement(&acme, &target).run(|_| {}).await.unwrap();
        assert_eq!(*context(&acme).await.tenant().placement(), target);
        assert_eq!((rows(&acme).await, rows(&globex).await), (20, 3), "{target}");
    }
}

/// A row without the tenant column is refused by nothing. It is not dropped with its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_without_the_tenant_column_that_is_written_meanwhile_stays() {
    for (step, is_schema) in [(MoveStep::Copy, true), (MoveStep::Copy, false), (MoveStep::CleanUp, false)] {
        let moving = Moving::new(|acme| {
            if is_schema { Placement::schema_of(acme.id()) } else { Placement::database_of(acme.id()) }
        })
        .await;
        let Moving { world, acme, .. } = &moving;
        let options = (*world.owner.connect_options()).clone();
        let source = moving.context().await.tenant().placement().clone();
        let owner = match &source {
            Placement::Database { name } => options.database(name.as_str()),
            Placement::Schema { name } => options.options([("search_path", name.as_str())]),
            _ => unreachable!(),
        };
        let mut place = owner.connect().await.unwrap();
        let sql = "CREATE TABLE settings (key text PRIMARY KEY, value text)";
        sqlx::raw_sql(sql).execute(&mut place).await.unwrap();
        let place = Mutex::new(Some(place));
        let movement = world.provisioner.move_to(acme.id(), Placement::Shared, &Actor::user("ada"));
        let handle = Handle::current();
        let movement = movement.grace(Duration::ZERO);
        let run = movement.run(|progress| {
            if progress.step == step
                && let Some(mut place) = place.lock().unwrap().take()
            {
                let sql = "INSERT INTO settings VALUES ('theme', 'dark')";
                let insert = sqlx::raw_sql(sql).execute(&mut place);
                block_in_place(|| handle.block_on(insert)).unwrap();
            }
        });
        let error = run.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{step}: {error:?}");
        assert!(error.to_string().contains("settings"), "{error}");
        let now = moving.context().await;
        let expected = if step == MoveStep::Copy { &source } else { &Placement::Shared };
        assert_eq!(now.tenant().placement(), expected);
    }
}

/// A row of a table without the tenant column that refers to a moved row is not deleted with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_refers_to_a_moved_row_meanwhile_stays() {
    for step in [MoveStep::Copy, MoveStep::Switch] {
        let moving = Moving::new(|_| Placement::Shared).await;
        let Moving { world, acme, admin, .. } = &moving;
        let sql = "CREATE TABLE files (id bigint PRIMARY KEY, owner uuid, project bigint, \
            FOREIGN KEY (owner, project) REFERENCES projects ON DELETE CASCADE)";
        Postgres::raw(&world.owner, sql).await.unwrap();
        let target = Placement::schema_of(acme.id());
        let movement = world.provisioner.move_to(acme.id(), target.clone(), &Actor::user("ada"));
        let handle = Handle::current();
        let mut written = false;
        let movement = movement.grace(Duration::ZERO);
        let run = movement.run(|progress| {
            if progress.step == step && !std::mem::replace(&mut written, true) {
                let sql = AssertSqlSafe(format!("INSERT INTO files VALUES (1, '{}', 1)", acme.id()));
                block_in_place(|| handle.block_on(sqlx::raw_sql(sql).execute(admin))).unwrap();
            }
        });
        let error = run.await.unwrap_err();
        assert!(error.to_string().contains("files"), "{step}: {error}");
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM files").fetch_one(admin).await.unwrap();
        assert_eq!(left, 1);
        // The rest of the move waits for the operator to remove the row.
        sqlx::query("DELETE FROM files").execute(admin).await.unwrap();
        moving.go(target).await;
        assert_eq!(moving.rows().await, 20);
    }
}

/// A transaction of the target that is older than the copied rows does not see them: it can be a migration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_waits_for_older_transactions_of_the_target() {
    let moving = Moving::new(|acme| Placement::database_of(acme.id())).await;
    let Moving { world, acme, .. } = &moving;
    let mut migration = moving.admin.begin().await.unwrap();
    sqlx::query("SELECT 1").execute(&mut *migration).await.unwrap();
    let movement = world.provisioner.move_to(acme.id(), Placement::Shared, &Actor::user("ada"));
    let error = movement.wait(Duration::from_millis(500)).run(|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error:?}");
    migration.commit().await.unwrap();
    moving.go(Placement::Shared).await;
    assert_eq!(moving.rows().await, 20);
}
