//! Moves under load: no row is lost or doubled, whatever step the process that moves is killed at.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool, Postgres};
use tenancy::audit::AuditEvent;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::isolation::doctor;
use tenancy::operations::{MoveProgress, MoveStep};
use tenancy::placement::{ConnectionLimits, DatabaseConfig, PostgresPlaces, Provisioner};
use tenancy::quota::Gauge;
use tenancy::scope::Schema;
use tenancy::store::{CacheOptions, CachedStore, SqlStore};
use tenancy::tenant::{NewTenant, Placement, PlacementName, Slug, Tenant, TenantStore};
use tenancy::{Error, ErrorKind, TenantContext, TenantDb, TenantScoped};

use crate::common::{Cleanup, TestBackend, admin_url};
use crate::placements::{Project, TABLES, World, migrator};

/// How many tasks write rows of the tenant that is moved.
const WRITERS: u64 = 50;

/// The process that moves a tenant. It is killed at the latest when the value is dropped.
pub(crate) struct Mover(Child);

impl Drop for Mover {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Mover {
    pub(crate) fn start(world: &World, tenant: &Tenant, target: &Placement, stop_at: &str) -> Self {
        let owner = world.owner.connect_options().to_url_lossy();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["moves::the_process_that_moves", "--exact", "--nocapture"])
            .env("TEST_MOVE", tenant.id().to_string())
            .env("TEST_MOVE_OWNER", owner.as_str())
            .env("TEST_MOVE_ROLE", world.app.get_username())
            .env("TEST_MOVE_TARGET", serde_json::to_string(target).unwrap())
            .env("TEST_MOVE_STOP", stop_at)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Ends the process at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for a line that begins with this, and returns the rest of it.
    pub(crate) fn wait_for(&mut self, wanted: &str) -> String {
        let out = BufReader::new(self.0.stdout.take().unwrap());
        let mut seen = String::new();
        for line in out.lines() {
            let line = line.unwrap();
            if let Some(at) = line.find(wanted) {
                return line[at + wanted.len()..].to_owned();
            }
            seen += &line;
            seen.push('\n');
        }
        panic!("the mover ended before `{wanted}`:\n{seen}");
    }
}

fn provisioner(owner: PgPool, role: &str) -> Provisioner<Postgres> {
    let places = PostgresPlaces::new((*owner.connect_options()).clone()).runtime_role(role);
    Provisioner::new(SqlStore::new(owner), places, migrator(&[TABLES]))
}

/// A part of a step at which the process stops, so that it is killed there.
fn name(progress: &MoveProgress) -> String {
    match &progress.table {
        Some(_) => format!("{}-rows", progress.step),
        None => progress.step.to_string(),
    }
}

/// The other tests start this one in a process of its own. Without them there is nothing to move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_moves() {
    let Ok(tenant) = std::env::var("TEST_MOVE") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let owner = PgPoolOptions::new().max_connections(3).connect(&variable("TEST_MOVE_OWNER")).await.unwrap();
    let provisioner = provisioner(owner, &variable("TEST_MOVE_ROLE"));
    let target: Placement = serde_json::from_str(&variable("TEST_MOVE_TARGET")).unwrap();
    let stop = variable("TEST_MOVE_STOP");
    let tenant = tenancy::tenant::TenantId::parse(&tenant).unwrap();
    let movement =
        provisioner.move_to(&tenant, target, &Actor::user("ada")).grace(Duration::from_millis(500));
    let moved = movement.run(|progress| {
        if name(progress) == stop {
            println!("stopped at {stop}");
            loop {
                std::thread::park();
            }
        }
    });
    match moved.await {
        Ok(report) => println!("moved {} {}", report.copied, report.fenced_ms),
        Err(error) => println!("failed: {error:?}"),
    }
}

/// What one task wrote: the names of its rows, and how many of its transactions committed.
#[derive(Default)]
struct Written {
    rows: HashMap<i64, String>,
    commits: u64,
    refused: u64,
}

/// Inserts, changes and deletes rows until it is stopped. It keeps its context until it is refused, as a process with a
/// cache would.
async fn write(
    db: TenantDb<Postgres>,
    directory: TenantDirectory,
    tenant: tenancy::tenant::TenantId,
    task: u64,
    stop: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
) -> Written {
    let mut written = Written::default();
    let context = async || directory.context(&tenant, Actor::user("bob")).await.unwrap();
    let mut ctx = context().await;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let id = i64::try_from(task * 1_000_000 + n).unwrap();
        let old = written.rows.keys().next().copied();
        let result = match (n % 4, old) {
            (2, Some(old)) => change(&db, &ctx, old, Some(&format!("changed {n}")))
                .await
                .map(|()| (old, Some(format!("changed {n}")))),
            (3, Some(old)) => change(&db, &ctx, old, None).await.map(|()| (old, None)),
            _ => insert(&db, &ctx, id).await.map(|()| (id, Some(format!("row {id}")))),
        };
        match result {
            Ok((id, Some(name))) => {
                written.commits += 1;
                written.rows.insert(id, name);
            }
            Ok((id, None)) => {
                written.commits += 1;
                written.rows.remove(&id);
            }
            Err(error) if error.kind() == ErrorKind::TenantMoving => {
                written.refused += 1;
                // As a client that heeds `Retry-After`. Fifty that do not would take the whole machine.
                tokio::time::sleep(Duration::from_millis(50)).await;
                ctx = context().await;
            }
            Err(error) => panic!("{error:?}, in the {}", ctx.tenant().placement()),
        }
        progress.fetch_add(1, Ordering::Relaxed);
    }
    written
}

pub(crate) async fn insert(db: &TenantDb<Postgres>, ctx: &TenantContext, id: i64) -> Result<(), Error> {
    let mut tx = db.begin(ctx).await?;
    Gauge::new("projects").acquire(&mut tx, 1).await?;
    Project::insert(&mut tx, &Project { id, name: format!("row {id}") }).await?;
    tx.record(AuditEvent::new(ctx, "project.change").target("project", id)).await?;
    tx.commit().await
}

async fn change(
    db: &TenantDb<Postgres>,
    ctx: &TenantContext,
    id: i64,
    name: Option<&str>,
) -> Result<(), Error> {
    let mut tx = db.begin(ctx).await?;
    if let Some(name) = name {
        Project::update(&mut tx, &Project { id, name: name.to_owned() }).await?.or_not_found()?;
    } else {
        let deleted = Project::delete(&mut tx, id).await?;
        Gauge::new("projects").release(&mut tx, deleted).await?;
    }
    tx.record(AuditEvent::new(ctx, "project.change").target("project", id)).await?;
    tx.commit().await
}

struct Load {
    stop: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Written>>,
}

impl Load {
    fn start(db: &TenantDb<Postgres>, directory: &TenantDirectory, tenant: &Tenant, tasks: u64) -> Self {
        let (stop, progress) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (1..=tasks).map(|task| {
            let (db, directory, tenant) = (db.clone(), directory.clone(), tenant.id().clone());
            tokio::spawn(write(db, directory, tenant, task, stop.clone(), progress.clone()))
        });
        let tasks = tasks.collect();
        Self { stop, progress, tasks }
    }

    /// Waits until the tasks have made this many more attempts.
    async fn advance(&self, attempts: u64) {
        let (from, deadline) =
            (self.progress.load(Ordering::Relaxed), Instant::now() + Duration::from_mins(1));
        while self.progress.load(Ordering::Relaxed) < from + attempts {
            assert!(Instant::now() < deadline, "nothing is written any more");
            tokio::task::yield_now().await;
        }
    }

    async fn end(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Written::default();
        for task in self.tasks {
            let written = task.await.unwrap();
            all.rows.extend(written.rows);
            all.commits += written.commits;
            all.refused += written.refused;
        }
        all
    }
}

/// A data plane with room for many tasks.
pub(crate) async fn data_plane(world: &World) -> TenantDb<Postgres> {
    let app: PgConnectOptions = world.app.clone();
    let config = app.clone();
    let registry =
        move |name: &PlacementName| Ok(Some(DatabaseConfig::new(config.clone().database(name.as_str()))));
    TenantDb::postgres_with(
        PgPoolOptions::new().max_connections(8).acquire_timeout(Duration::from_mins(1)),
        app,
    )
    .databases(registry, ConnectionLimits::new(20).per_database(8))
    .build()
    .await
    .unwrap()
}

pub(crate) async fn tenant(world: &World, slug: &str) -> Tenant {
    let new = NewTenant::new(Slug::parse(slug).unwrap(), slug, "enterprise");
    Tenant::clone(&*world.provisioner.create(new).await.unwrap())
}

async fn number(pool: &PgPool, tenant: &Tenant, sql: &str) -> i64 {
    let mut tx = pool.begin().await.unwrap();
    let set = sqlx::query("SELECT set_config('app.tenant_id', $1, true)").bind(tenant.id().to_string());
    set.execute(&mut *tx).await.unwrap();
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&mut *tx).await.unwrap()
}

pub(crate) fn drop_database(tenant: &Tenant) -> Cleanup {
    Cleanup::database(PlacementName::of(tenant.id()).to_string(), async move |name| {
        let server = PgPool::connect(&admin_url()).await?;
        let drop = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
        sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&server).await.map(|_| ())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_moves_under_load_while_its_mover_is_killed_at_every_step() {
    let world = World::new().await;
    let (acme, globex) = (tenant(&world, "acme").await, tenant(&world, "globex").await);
    let _database = drop_database(&acme);
    let db = data_plane(&world).await;
    let load = Load::start(&db, &world.directory, &acme, WRITERS);
    let other = Load::start(&db, &world.directory, &globex, 5);
    let store = SqlStore::new(world.owner.clone());
    load.advance(500).await;
    // At every step once, and in every kind of move at those that differ.
    for (target, stops) in [
        (
            Placement::schema_of(acme.id()),
            &["prepare", "copy", "copy-rows", "fence", "verify", "switch", "clean-up"][..],
        ),
        (Placement::database_of(acme.id()), &["copy-rows", "fence", "switch", "clean-up"]),
        (Placement::Shared, &["copy-rows", "verify", "switch", "clean-up"]),
    ] {
        for stop in stops {
            let mut mover = Mover::start(&world, &acme, &target, stop);
            mover.wait_for("stopped at ");
            mover.0.kill().unwrap();
            load.advance(100).await;
            let unfinished = world.provisioner.unfinished_moves().await.unwrap();
            let [unfinished] = &unfinished[..] else { panic!("{stop}: {unfinished:?}") };
            assert_eq!(unfinished.target, target);
        }
        let mut mover = Mover::start(&world, &acme, &target, "");
        let report = mover.wait_for("moved ");
        println!("to the {target}: {report} (rows copied, milliseconds refused)");
        load.advance(500).await;
        assert_eq!(*store.by_id(acme.id()).await.unwrap().unwrap().placement(), target);
        assert!(world.provisioner.unfinished_moves().await.unwrap().is_empty());
    }
    let (written, others) = (load.end().await, other.end().await);
    assert!(written.commits > 1000, "{}", written.commits);
    assert!(written.refused > 0, "the fence was never met");
    assert_eq!(others.refused, 0, "another tenant is never refused");
    for (tenant, written) in [(&acme, &written), (&globex, &others)] {
        let ctx = world.directory.context(tenant.id(), Actor::user("eve")).await.unwrap();
        let rows: HashMap<i64, String> = {
            let all: Vec<(i64, String)> =
                sqlx::query_as("SELECT id, name FROM projects WHERE tenant_id = $1")
                    .bind(uuid::Uuid::parse_str(&tenant.id().to_string()).unwrap())
                    .fetch_all(&db.scope(&ctx))
                    .await
                    .unwrap();
            let count = all.len();
            let rows: HashMap<i64, String> = all.into_iter().collect();
            assert_eq!(rows.len(), count, "a row is doubled");
            rows
        };
        assert_eq!(rows, written.rows, "{}", tenant.slug());
        let used = Gauge::new("projects").usage(&db.scope(&ctx)).await.unwrap().used;
        assert_eq!(used, written.rows.len() as u64);
        let events = "SELECT count(*) FROM tenancy_audit_events WHERE action = 'project.change'";
        assert_eq!(number(&world.owner, tenant, events).await, i64::try_from(written.commits).unwrap());
    }
    let moves = "SELECT count(*) FROM tenancy_audit_events WHERE action = 'tenant.move'";
    assert_eq!(number(&world.owner, &acme, moves).await, 3);
    let left = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = $1) + (SELECT count(*) FROM pg_database WHERE datname = $1)";
    let left: i64 = sqlx::query_scalar(left)
        .bind(PlacementName::of(acme.id()).as_str())
        .fetch_one(&world.owner)
        .await
        .unwrap();
    assert_eq!(left, 0, "no place is left");
    // The policies of the fences are no faults.
    let mut app = world.app.connect().await.unwrap();
    doctor::examine(&mut app, &Schema::new("tenant_id").unwrap()).await.unwrap().assert_clean();
}

/// A context with the old placement reads nothing and writes nothing, during the move and after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d16_an_old_placement_is_refused_by_name_in_reads_and_writes() {
    let world = World::new().await;
    let (acme, globex) = (tenant(&world, "acme").await, tenant(&world, "globex").await);
    let _database = drop_database(&acme);
    let db = data_plane(&world).await;
    let theirs = world.directory.context(globex.id(), Actor::user("bob")).await.unwrap();
    insert(&db, &theirs, 1).await.unwrap();
    let mut first = true;
    for target in [
        Placement::schema_of(acme.id()),
        Placement::Shared,
        Placement::database_of(acme.id()),
        Placement::schema_of(acme.id()),
    ] {
        let old = world.directory.context(acme.id(), Actor::user("bob")).await.unwrap();
        if std::mem::take(&mut first) {
            insert(&db, &old, 1).await.unwrap();
        }
        let refused = async |when: &str| {
            let read = Project::count(&db.scope(&old)).await.map(|_| ());
            let found = Project::find(&db.scope(&old), 77).await.map(|_| ());
            let write = insert(&db, &old, 2).await;
            let gauge = async {
                let mut tx = db.begin(&old).await?;
                Project::delete(&mut tx, 77).await.map(|_| ())
            };
            for (what, result) in
                [("count", read), ("find", found), ("insert", write), ("delete", gauge.await)]
            {
                let error = result.expect_err(what);
                assert_eq!(error.kind(), ErrorKind::TenantMoving, "{when}, {what}: {error:?}");
                assert!(error.is_transient());
            }
            // The other tenant is served.
            assert_eq!(Project::count(&db.scope(&theirs)).await.unwrap(), 1);
        };
        let movement = world.provisioner.move_to(acme.id(), target.clone(), &Actor::user("ada"));
        // During the fence, and while the emptied source is kept.
        let (send, mut steps) = tokio::sync::mpsc::unbounded_channel();
        let movement = movement.grace(Duration::from_secs(5));
        let run = movement.run(move |progress| send.send(progress.step).unwrap());
        let checks = async {
            while let Some(step) = steps.recv().await {
                if step == MoveStep::CleanUp {
                    // The rows of the source are gone or going, and the source exists.
                    refused("after the switch").await;
                }
            }
        };
        let (report, ()) = tokio::join!(run, checks);
        let report = report.unwrap();
        assert_eq!(report.tables["projects"], 1);
        let new = world.directory.context(acme.id(), Actor::user("bob")).await.unwrap();
        assert_eq!(*new.tenant().placement(), target);
        assert_eq!(Project::count(&db.scope(&new)).await.unwrap(), 1);
        assert_eq!(Gauge::new("projects").usage(&db.scope(&new)).await.unwrap().used, 1);
    }
}

/// A process that nobody tells about the move is refused once. Then its cache reads the tenant again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d16_a_cache_that_no_listener_tells_serves_the_tenant_after_one_refusal() {
    const WAYS: [&str; 7] = ["count", "find", "insert", "query", "update", "query in tx", "update in tx"];
    let world = World::new().await;
    let (acme, globex) = (tenant(&world, "acme").await, tenant(&world, "globex").await);
    let db = data_plane(&world).await;
    let attempt = async |way: &str, ctx: &TenantContext| -> tenancy::Result<()> {
        let (read, write) = ("SELECT id FROM projects", "UPDATE projects SET name = name");
        let scope = db.scope(ctx);
        match way {
            "count" => Project::count(&scope).await.map(|_| ()),
            "find" => Project::find(&scope, 1).await.map(|_| ()),
            "insert" => insert(&db, ctx, 2).await,
            "query" => sqlx::query(read).fetch_all(&scope).await.map(|_| ()).map_err(Error::from_sqlx),
            "update" => sqlx::query(write).execute(&scope).await.map(|_| ()).map_err(Error::from_sqlx),
            "query in tx" => {
                let mut tx = db.begin(ctx).await?;
                sqlx::query(read).fetch_all(&mut tx).await.map(|_| ()).map_err(Error::from_sqlx)
            }
            _ => {
                let mut tx = db.begin(ctx).await?;
                let updated = sqlx::query(write).execute(&mut tx).await;
                updated.map(|_| ()).map_err(Error::from_sqlx)
            }
        }
    };
    insert(&db, &world.directory.context(acme.id(), Actor::user("bob")).await.unwrap(), 1).await.unwrap();
    for target in [Placement::schema_of(acme.id()), Placement::Shared] {
        // The process of each way has a cache of its own.
        let process = |way| {
            let store = Arc::new(CachedStore::new(SqlStore::new(world.owner.clone()), CacheOptions::new()));
            (way, TenantDirectory::new(store.clone(), world.directory.catalog().clone()), store)
        };
        let processes: Vec<_> = WAYS.into_iter().map(process).collect();
        let bob = Actor::user("bob");
        for (_, directory, _) in &processes {
            for tenant in [&acme, &globex] {
                directory.context_by_slug(tenant.slug(), bob.clone()).await.unwrap();
            }
        }
        let (send, mut steps) = tokio::sync::mpsc::unbounded_channel();
        let movement = world.provisioner.move_to(acme.id(), target.clone(), &Actor::user("ada"));
        let movement = movement.grace(Duration::from_secs(5));
        let run = movement.run(move |progress| send.send(progress.step).unwrap());
        let checks = async {
            while let Some(step) = steps.recv().await {
                if step != MoveStep::CleanUp {
                    continue;
                }
                for (way, directory, store) in &processes {
                    let ctx = directory.context(acme.id(), bob.clone()).await.unwrap();
                    if *ctx.tenant().placement() == target {
                        continue; // the step is reported again
                    }
                    let error = attempt(way, &ctx).await.expect_err(way);
                    assert_eq!(error.kind(), ErrorKind::TenantMoving, "{way}: {error:?}");
                    assert!(store.peek_id(acme.id()).is_none() && store.peek_slug(acme.slug()).is_none());
                    assert!(store.peek_id(globex.id()).is_some(), "the other tenant stays in the cache");
                    let ctx = directory.context(acme.id(), bob.clone()).await.unwrap();
                    assert_eq!(*ctx.tenant().placement(), target, "{way}");
                    assert!(store.peek_slug(acme.slug()).is_some());
                    assert_eq!(Project::find(&db.scope(&ctx), 1).await.unwrap().unwrap().id, 1);
                }
            }
        };
        let (report, ()) = tokio::join!(run, checks);
        assert_eq!(report.unwrap().tables["projects"], 1);
        for (way, directory, _) in &processes {
            let ctx = directory.context(acme.id(), bob.clone()).await.unwrap();
            assert_eq!(*ctx.tenant().placement(), target, "{way} was tried");
        }
    }
}

/// Before the switch a move is rolled back at any step, and can begin again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_rolled_back_at_any_step_before_its_switch() {
    let world = World::new().await;
    let acme = tenant(&world, "acme").await;
    let _database = drop_database(&acme);
    let db = data_plane(&world).await;
    let ctx = world.directory.context(acme.id(), Actor::user("bob")).await.unwrap();
    for id in 1..=20 {
        insert(&db, &ctx, id).await.unwrap();
    }
    for target in [Placement::schema_of(acme.id()), Placement::database_of(acme.id())] {
        let movement = world.provisioner.move_to(acme.id(), target.clone(), &Actor::user("ada"));
        assert_eq!(movement.roll_back().await.unwrap_err().kind(), ErrorKind::NotFound);
        for stop in ["prepare", "copy", "copy-rows", "fence", "verify", "switch"] {
            let mut mover = Mover::start(&world, &acme, &target, stop);
            mover.wait_for("stopped at ");
            // While its process runs, a move is not rolled back.
            assert_eq!(movement.roll_back().await.unwrap_err().kind(), ErrorKind::Retryable, "{stop}");
            mover.0.kill().unwrap();
            mover.0.wait().unwrap();
            let elsewhere = world.provisioner.move_to(
                acme.id(),
                Placement::database_of(globex_id()),
                &Actor::user("ada"),
            );
            assert_eq!(elsewhere.run(|_| {}).await.unwrap_err().kind(), ErrorKind::Conflict);
            patiently(async || movement.roll_back().await).await;
            assert_eq!(Project::count(&db.scope(&ctx)).await.unwrap(), 20, "{stop}");
            insert(&db, &ctx, 100).await.unwrap();
            change(&db, &ctx, 100, None).await.unwrap();
            assert!(world.provisioner.unfinished_moves().await.unwrap().is_empty());
        }
    }
}

fn globex_id() -> &'static tenancy::tenant::TenantId {
    static ID: std::sync::LazyLock<tenancy::tenant::TenantId> =
        std::sync::LazyLock::new(tenancy::tenant::TenantId::random);
    &ID
}

/// Repeats while the server still ends the session of a killed process.
async fn patiently(work: impl AsyncFn() -> tenancy::Result<()>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match work().await {
            Err(error) if error.kind() == ErrorKind::Retryable && Instant::now() < deadline => {}
            done => return done.unwrap(),
        }
    }
}

/// A second PostgreSQL server, which ends with the value.
pub(crate) struct OtherServer {
    process: Child,
    pub(crate) url: String,
    pub(crate) admin: String,
}

impl Drop for OtherServer {
    fn drop(&mut self) {
        // The script ends its servers.
        let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}

impl OtherServer {
    pub(crate) fn start() -> Self {
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers");
        let mut process = Command::new(script)
            .args([
                "sh",
                "-c",
                "echo \"url $TEST_POSTGRES_URL\"; echo \"admin $TEST_POSTGRES_ADMIN_URL\"; sleep 600",
            ])
            .env_remove("TEST_POSTGRES_URL")
            .env_remove("TEST_POSTGRES_ADMIN_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut next =
            |prefix: &str| lines.find_map(|line| line.strip_prefix(prefix).map(str::to_owned)).unwrap();
        let (url, admin) = (next("url "), next("admin "));
        Self { process, url, admin }
    }
}

/// A tenant moves to a database on another server and back. Both servers are real ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_moves_to_another_server_and_back() {
    let world = World::new().await;
    let (acme, globex) = (tenant(&world, "acme").await, tenant(&world, "globex").await);
    let other = OtherServer::start();
    let role = world.app.get_username().to_owned();
    let admin = PgPool::connect(&other.admin).await.unwrap();
    let there: PgConnectOptions = other.url.parse().unwrap();
    // The owner is a member of the application's role, so it may end its sessions when it drops a database.
    let create =
        format!("CREATE ROLE {role} LOGIN NOINHERIT PASSWORD 'runtime' ROLE {}", there.get_username());
    Postgres::raw(&admin, &create).await.unwrap();
    let large = there.clone();
    let places = PostgresPlaces::new((*world.owner.connect_options()).clone())
        .runtime_role(&role)
        .servers(move |_| Some(large.clone()));
    let provisioner = Provisioner::new(SqlStore::new(world.owner.clone()), places, migrator(&[TABLES]));
    let config = there.clone().username(&role).password("runtime");
    let registry =
        move |name: &PlacementName| Ok(Some(DatabaseConfig::new(config.clone().database(name.as_str()))));
    let db = TenantDb::postgres_with(PgPoolOptions::new().max_connections(4), world.app.clone())
        .databases(registry, ConnectionLimits::new(10))
        .build()
        .await
        .unwrap();
    let context =
        async |tenant: &Tenant| world.directory.context(tenant.id(), Actor::user("bob")).await.unwrap();
    for (tenant, ids) in [(&acme, 1..=40), (&globex, 1..=7)] {
        for id in ids {
            insert(&db, &context(tenant).await, id).await.unwrap();
        }
    }
    let on_server = async |server: &PgConnectOptions| {
        let mut conn = server.clone().connect().await.unwrap();
        let sql = "SELECT count(*) FROM pg_database WHERE datname = $1";
        let found: i64 = sqlx::query_scalar(sql)
            .bind(PlacementName::of(acme.id()).as_str())
            .fetch_one(&mut conn)
            .await
            .unwrap();
        found
    };
    let here = (*world.owner.connect_options()).clone();
    for (target, found) in [(Placement::database_of(acme.id()), 1), (Placement::Shared, 0)] {
        let movement = provisioner.move_to(acme.id(), target, &Actor::user("ada")).grace(Duration::ZERO);
        let report = movement.run(|_| {}).await.unwrap();
        assert_eq!(report.tables["projects"], 40);
        assert_eq!((on_server(&there).await, on_server(&here).await), (found, 0));
        for (tenant, rows) in [(&acme, 40), (&globex, 7)] {
            let ctx = context(tenant).await;
            assert_eq!(Project::count(&db.scope(&ctx)).await.unwrap(), rows);
            assert_eq!(Gauge::new("projects").usage(&db.scope(&ctx)).await.unwrap().used, rows);
        }
    }
    let changes = "SELECT count(*) FROM tenancy_audit_events WHERE action = 'project.change'";
    assert_eq!(number(&world.owner, &acme, changes).await, 40);
    db.close().await;
    admin.close().await;
}
