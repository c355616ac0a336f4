//! A process that migrates or provisions places is killed at any point; the next one finishes what it began.
//!
//! `PLACES` sets how many places are migrated, `CHAOS_SEED` where the process is killed.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use sqlx::{ConnectOptions, Postgres, Sqlite};
use tenancy::ErrorKind;
use tenancy::placement::Provisioner;
use tenancy::tenant::{Tenant, TenantId, TenantStatus, TenantStore};

use crate::numbers::{Numbers, setting};
use crate::place_fixture::{App, TestPlaces, create_patiently, provisioner_of, seeding_provisioner_of};

/// The migrations after the first, each with one table.
const NEW: std::ops::RangeInclusive<u32> = 2..=5;

/// The migrations of the new program.
fn texts<DB: TestPlaces>() -> Vec<String> {
    let table = |n| DB::PROJECTS.replace("projects", &format!("table_{n}"));
    std::iter::once(DB::PROJECTS.to_owned()).chain(NEW.map(table)).collect()
}

/// The bits of the new migrations.
fn all() -> i64 {
    NEW.map(|n| 1 << n).sum()
}

fn new_program<DB: TestPlaces>(app: &App<DB>) -> Provisioner<DB> {
    app.provisioner(&texts::<DB>().iter().map(String::as_str).collect::<Vec<_>>())
}

/// A process of the new program. It is killed at the latest when the value is dropped.
struct Process(Child);

impl Process {
    fn start<DB: TestPlaces>(app: &App<DB>, work: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["place_crash::the_process_that_is_killed_finishes_otherwise", "--exact", "--nocapture"])
            .env("TEST_PLACES_WORK", work)
            .env("TEST_PLACES_DATABASE", DB::NAME)
            .env("TEST_PLACES_URL", app.pool.connect_options().to_url_lossy().as_str())
            .env("TEST_PLACES_FILES", app.files.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Kills the process as soon as `reached`.
    async fn kill_when(mut self, reached: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + Duration::from_mins(2);
        while !reached().await {
            assert!(self.0.try_wait().unwrap().is_none(), "the process ended before it was killed");
            assert!(Instant::now() < deadline, "the process does nothing");
        }
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The other tests start this one in a process of its own, and kill it. Without them it starts itself, and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed_finishes_otherwise() {
    async fn run<DB: TestPlaces>(work: &str) {
        let url = std::env::var("TEST_PLACES_URL").unwrap();
        let files = std::path::PathBuf::from(std::env::var_os("TEST_PLACES_FILES").unwrap());
        let pool = sqlx::pool::PoolOptions::<DB>::new().max_connections(4).connect(&url).await.unwrap();
        let texts = texts::<DB>();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        if work == "migrate" {
            let program = provisioner_of(&pool, &files, &texts);
            let _ = program.migrations().parallel(3).run().count().await;
            return;
        }
        let program = seeding_provisioner_of(&pool, &files, &texts).await;
        for n in 0.. {
            let kinds = DB::kinds();
            let new = App::<DB>::new_tenant(&format!("{work}-{n}"), kinds[n % kinds.len()]);
            create_patiently(&program, new).await.unwrap();
        }
    }
    let Ok(work) = std::env::var("TEST_PLACES_WORK") else {
        nobody_kills_it::<Postgres>().await;
        return nobody_kills_it::<Sqlite>().await;
    };
    match std::env::var("TEST_PLACES_DATABASE").unwrap().as_str() {
        <Postgres as sqlx::Database>::NAME => run::<Postgres>(&work).await,
        _ => run::<Sqlite>(&work).await,
    }
}

/// Runs the process to its end: every place has every migration.
async fn nobody_kills_it<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    let old = app.provisioner(&[DB::PROJECTS]);
    let mut tenants = Vec::new();
    for name in ["acme", "globex"] {
        tenants.push(app.create(&old, name, DB::kinds()[0]).await.unwrap());
    }
    let mut process = Process::start(&app, "migrate");
    let deadline = Instant::now() + Duration::from_mins(2);
    let status = loop {
        match process.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < deadline, "the process does not end"),
        }
        tokio::task::yield_now().await;
    };
    assert!(status.success(), "{status}");
    for tenant in &tenants {
        let found = Found::of(&app, tenant).await;
        assert!(found.agrees() && found.is_complete(), "{}: {found:?}", tenant.slug());
    }
    assert!(new_program(&app).migrations().drift().await.unwrap().is_empty());
}

/// The new migrations of one place, as bits.
#[derive(Debug, PartialEq)]
struct Found {
    recorded: i64,
    applied: i64,
    tables: i64,
    protected: i64,
}

impl Found {
    async fn of<DB: TestPlaces>(app: &App<DB>, tenant: &Tenant) -> Self {
        let sum = "SELECT coalesce(sum(1 << CAST(version AS integer)), 0) FROM";
        let recorded = format!(
            "{sum} tenancy_tenant_migrations WHERE version > 1 AND error IS NULL AND tenant_id = '{}'",
            tenant.id()
        );
        let place = app.place(tenant);
        let found = Self {
            recorded: DB::number(&app.pool, &recorded).await,
            applied: DB::number(&place, &format!("{sum} _sqlx_migrations WHERE version > 1 AND success"))
                .await,
            tables: DB::number(&place, DB::TABLES).await,
            protected: DB::number(&place, DB::PROTECTED).await,
        };
        place.close().await;
        found
    }

    /// Whether the record names nothing that was not done, and nothing was done by half.
    fn agrees(&self) -> bool {
        self.applied == self.tables
            && self.recorded & !self.applied == 0
            && self.recorded & !self.protected == 0
    }

    fn is_complete(&self) -> bool {
        [self.recorded, self.applied, self.tables, self.protected].iter().all(|bits| *bits == all())
    }
}

/// Runs the migrations until no place is locked. The server notices a moment later that a process was killed.
async fn finish<DB: TestPlaces>(program: &Provisioner<DB>, parallel: usize) {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let places: Vec<_> =
            program.migrations().parallel(parallel).run().map(Result::unwrap).collect().await;
        let failed: Vec<_> = places.iter().filter_map(|place| place.result.as_ref().err()).collect();
        if failed.is_empty() {
            return;
        }
        let locked = failed.iter().all(|error| error.kind() == ErrorKind::Retryable);
        assert!(locked && Instant::now() < deadline, "{failed:?}");
    }
}

async fn migrations_that_are_killed_are_finished_by_the_next_run<DB: TestPlaces>() {
    let (places, mut numbers) = (setting("PLACES", 60), Numbers(setting("CHAOS_SEED", 1)));
    let mut app = App::<DB>::new().await;
    let old = app.provisioner(&[DB::PROJECTS]);
    let mut tenants = Vec::new();
    let start = Instant::now();
    for n in 0..places {
        tenants.push(app.create(&old, &format!("tenant-{n}"), DB::kinds()[0]).await.unwrap());
        if (n + 1) % 500 == 0 || n + 1 == places {
            report(&format!("{}: {} places provisioned", DB::NAME, n + 1), start);
        }
    }
    let done = format!(
        "SELECT count(*) FROM tenancy_tenant_migrations WHERE error IS NULL AND version = {}",
        NEW.end()
    );
    let program = new_program(&app);
    let start = Instant::now();
    for quarter in 0..3 {
        // The shared tables are one of them.
        let before = i64::try_from(1 + quarter * places / 4 + numbers.below(places / 4)).unwrap();
        Process::start(&app, "migrate").kill_when(async || DB::number(&app.pool, &done).await > before).await;
        let (mut complete, mut behind) = (0, 0);
        for tenant in &tenants {
            let found = Found::of(&app, tenant).await;
            assert!(found.agrees(), "{}: {found:?}", tenant.slug());
            complete += u64::from(found.is_complete());
            behind += u64::from(!found.is_complete());
        }
        assert!(complete > 0 && behind > 0, "it was killed in the middle: {complete} of {places} are done");
        assert!(!program.migrations().drift().await.unwrap().is_empty(), "a place is behind");
    }
    report("killed three times, and compared each time", start);
    let start = Instant::now();
    finish(&program, 3).await;
    report("the rest was migrated", start);
    for tenant in &tenants {
        let found = Found::of(&app, tenant).await;
        assert!(found.agrees() && found.is_complete(), "{}: {found:?}", tenant.slug());
        if places <= 60 {
            assert_eq!(app.projects(tenant).await.unwrap(), [format!("first of {}", tenant.slug())]);
        }
    }
    let start = Instant::now();
    assert!(program.migrations().drift().await.unwrap().is_empty());
    report("`drift`", start);
    if places > 60 {
        rates(&app).await;
    }
}

/// Adds one table to every place, with one, two and four workers.
async fn rates<DB: TestPlaces>(app: &App<DB>) {
    let mut texts = texts::<DB>();
    for workers in [1, 2, 4] {
        texts.push(DB::PROJECTS.replace("projects", &format!("added_by_{workers}")));
        let program = app.provisioner(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        for what in ["a new table", "nothing to do"] {
            let start = Instant::now();
            finish(&program, workers).await;
            report(&format!("{what}, {workers} workers"), start);
        }
    }
    if DB::NAME == <Postgres as sqlx::Database>::NAME {
        let size = "SELECT (sum(pg_total_relation_size(oid)) / 1024)::bigint FROM pg_class \
            WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared";
        let start = Instant::now();
        report(&format!("the catalogue has {} kB", DB::number(&app.pool, size).await), start);
        let start = Instant::now();
        drop(tenancy::TenantDb::from_pool(app.pool.clone()).build().await);
        report("`build` with the doctor", start);
    }
}

#[expect(clippy::print_stdout, reason = "what happened is told")]
fn report(what: &str, start: Instant) {
    println!("{what}: {:.1?}", start.elapsed());
}

async fn every_tenant<DB: TestPlaces>(app: &App<DB>) -> Vec<Arc<Tenant>> {
    let mut tenants: Vec<Arc<Tenant>> = Vec::new();
    loop {
        let after: Option<TenantId> = tenants.last().map(|tenant| tenant.id().clone());
        let page = app.store.list(after.as_ref(), 200).await.unwrap();
        if page.is_empty() {
            return tenants;
        }
        tenants.extend(page);
    }
}

async fn a_provisioning_that_is_killed_is_resumed<DB: TestPlaces>() {
    const KILLS: usize = 10;
    let mut numbers = Numbers(setting("CHAOS_SEED", 1));
    let mut app = App::<DB>::new().await;
    let program = new_program(&app);
    finish(&program, 1).await;
    let (mut interrupted, mut known) = (0, 0);
    for kill in 0..KILLS {
        let steps = "SELECT count(*) FROM tenancy_provisioning";
        let until = DB::number(&app.pool, steps).await + 1 + i64::try_from(numbers.below(12)).unwrap();
        let process = Process::start(&app, &format!("kill-{kill}"));
        process.kill_when(async || DB::number(&app.pool, steps).await >= until).await;
        let tenants = every_tenant(&app).await;
        for tenant in &tenants[known..] {
            app.forget(tenant.placement());
        }
        known = tenants.len();
        let unfinished = program.unfinished().await.unwrap();
        assert!(unfinished.len() <= 1, "{unfinished:?}");
        interrupted += unfinished.len();
        for one in unfinished {
            assert!(one.failed.is_none(), "{one:?}");
            assert_eq!(app.projects(&one.tenant).await.unwrap_err().kind(), ErrorKind::TenantInactive);
            let deadline = Instant::now() + Duration::from_mins(1);
            loop {
                match program.resume(one.tenant.id()).await {
                    Ok(_) => break,
                    // The server still works for the process that was killed.
                    Err(error) => assert!(error.is_transient() && Instant::now() < deadline, "{error:?}"),
                }
            }
        }
    }
    let tenants = every_tenant(&app).await;
    assert!(tenants.len() >= KILLS, "only {} tenants", tenants.len());
    assert!(interrupted >= KILLS / 2, "only {interrupted} were interrupted");
    for tenant in &tenants {
        assert_eq!(tenant.status(), TenantStatus::Active);
        let found = Found::of(&app, tenant).await;
        assert!(found.agrees() && found.is_complete(), "{}: {found:?}", tenant.slug());
        assert_eq!(app.projects(tenant).await.unwrap(), [format!("first of {}", tenant.slug())]);
    }
    assert!(program.unfinished().await.unwrap().is_empty());
    assert!(program.migrations().drift().await.unwrap().is_empty());
}

on_every_database!(
    migrations_that_are_killed_are_finished_by_the_next_run,
    a_provisioning_that_is_killed_is_resumed,
);
