//! Compares the placements of tenants in one run: a read, the first use of a tenant, provisioning, migrations, a move, and
//! the memory of a connection that serves many schemas.
//!
//! Runs on SQLite, and on PostgreSQL if `TEST_POSTGRES_URL` is set. `PLACES` sets the number of tenants, 100 without it,
//! and `MOVED` the number of rows of the tenant that is moved, 100,000 without it.
//!
//! PostgreSQL keeps what it knows about each table in the memory of each connection, and frees it when the connection
//! ends. So the memory of a connection grows with the schemas that it served, until `max_lifetime` of the pool (30
//! minutes in sqlx) closes it: what one connection can hold is bounded by the schemas that it serves in that time. Its
//! prepared statements are bounded by `statement_cache_capacity` (100 in sqlx).

#[path = "../tests/fixture/common.rs"]
mod common;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/stores/place_fixture.rs"]
mod place_fixture;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{TestBackend, id_text};
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, StreamExt};
use place_fixture::{App, Project, TestPlaces, migrator};
use sqlx::pool::PoolOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Pool, Postgres, Sqlite};
use tenancy::context::Actor;
use tenancy::operations::TenantData;
use tenancy::placement::{ConnectionLimits, PostgresPlaces, Provisioner};
use tenancy::tenant::{NewTenant, Placement, PlacementName, Tenant};
use tenancy::{TenantContext, TenantDb, TenantScoped};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// A variant to measure: its name, and a function that runs it once.
type Variant<'a> = (&'static str, Box<dyn Fn() -> LocalBoxFuture<'a, ()> + 'a>);
type NewPlace = fn(NewTenant) -> NewTenant;

const READ: &str = "SELECT id, name FROM projects WHERE tenant_id = $1 AND id = 1";

const ROUNDS: usize = 300;
const TURN: u32 = 10;

fn count() -> usize {
    std::env::var("PLACES").map_or(100, |n| n.parse().expect("a number"))
}

/// How many rows the tenant has that is moved.
fn moved_rows() -> i64 {
    std::env::var("MOVED").map_or(100_000, |n| n.parse().expect("a number"))
}

/// The application's migrations: ten tables.
fn tables<DB: TestPlaces>() -> Vec<String> {
    let more = (2..=10).map(|n| DB::PROJECTS.replace("projects", &format!("table_{n}")));
    vec![DB::PROJECTS.to_owned(), more.collect::<Vec<_>>().join(";\n")]
}

fn provisioner<DB: TestPlaces>(app: &App<DB>, texts: &[String]) -> Provisioner<DB> {
    app.provisioner(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

#[expect(clippy::print_stdout, reason = "the table is the output of the bench")]
fn line(text: &str) {
    println!("{text}");
}

/// Runs all variants alternately. Each ratio is within one round: against plain sqlx, and against the shared tables.
fn compare(runtime: &Runtime, title: &str, variants: &[Variant<'_>]) {
    let mut times = vec![Vec::new(); variants.len()];
    for round in 0..=ROUNDS {
        for ((_, run), times) in variants.iter().zip(&mut times) {
            let start = Instant::now();
            runtime.block_on(async {
                for _ in 0..TURN {
                    run().await;
                }
            });
            // The first round prepares the statements.
            if round > 0 {
                times.push(micros(start) / f64::from(TURN));
            }
        }
    }
    line(&format!(
        "\n{title}: median of {ROUNDS} rounds; relative to plain sqlx; relative to the shared tables"
    ));
    for ((name, _), this) in variants.iter().zip(&times) {
        let ratio = |other: usize| median(this.iter().zip(&times[other]).map(|(a, b)| a / b).collect());
        line(&format!("  {name:<32} {:>8.1} µs  x{:.2}  x{:.2}", median(this.clone()), ratio(0), ratio(1)));
    }
}

/// An application with its tenants, whose data plane has one connection to the shared database, and one to all
/// databases of tenants.
struct Bench<DB: TestPlaces> {
    app: App<DB>,
    db: TenantDb<DB>,
    plain: Pool<DB>,
}

fn url<DB: TestPlaces>(app: &App<DB>) -> String {
    app.pool.connect_options().to_url_lossy().to_string()
}

impl<DB: TestPlaces> Bench<DB> {
    async fn new(private: fn(PoolOptions<DB>, String) -> tenancy::scope::TenantDbBuilder<DB>) -> Self {
        let app = App::<DB>::new().await;
        let options = || PoolOptions::new().max_connections(1).test_before_acquire(false);
        let limits = ConnectionLimits::new(2).per_database(1);
        let db = private(options(), url(&app)).databases(DB::registry(&app.pool, app.files.path()), limits);
        let connect = (*app.pool.connect_options()).clone();
        Self { db: db.build().await.unwrap(), plain: options().connect_with(connect).await.unwrap(), app }
    }

    /// Provisions tenants, and prints how long one takes.
    async fn provision(
        &mut self,
        name: &str,
        kind: NewPlace,
        count: usize,
        template: Option<&str>,
    ) -> Vec<Arc<Tenant>> {
        let mut provisioner = provisioner(&self.app, &tables::<DB>());
        if let Some(template) = template {
            let template = PlacementName::parse(template).unwrap();
            self.app.forget(&Placement::Database { name: template.clone() });
            provisioner = provisioner.template(template);
            provisioner.update_template().await.unwrap();
        }
        let (mut tenants, mut times) = (Vec::new(), Vec::new());
        for n in 0..count {
            let slug = format!("{}-{n}", name.replace([' ', ','], "-"));
            let start = Instant::now();
            tenants.push(self.app.create(&provisioner, &slug, kind).await.unwrap());
            times.push(micros(start) / 1e3);
        }
        let (first, last) = (times[..count.div_ceil(4)].to_vec(), times[count * 3 / 4..].to_vec());
        line(&format!(
            "  {name:<32} {:>8.1} ms each; {:.1} ms in the first quarter, {:.1} ms in the last",
            median(times),
            median(first),
            median(last)
        ));
        tenants
    }

    async fn contexts(&self, tenants: &[Arc<Tenant>]) -> Vec<TenantContext> {
        let mut contexts = Vec::new();
        for tenant in tenants {
            contexts.push(self.app.context(tenant).await.unwrap());
        }
        contexts
    }

    async fn read(&self, ctx: &TenantContext) {
        assert!(Project::find(&self.db.scope(ctx), 1).await.unwrap().is_some());
    }

    /// Reads twice for each tenant. No tenant was used before, or its connection was closed since.
    async fn first_use(&self, name: &str, tenants: &[Arc<Tenant>]) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for ctx in self.contexts(tenants).await {
            for times in [&mut first, &mut second] {
                let start = Instant::now();
                self.read(&ctx).await;
                times.push(micros(start));
            }
        }
        let ratio = median(first.iter().zip(&second).map(|(first, second)| first / second).collect());
        line(&format!(
            "  {name:<32} {:>8.1} µs, then {:>8.1} µs  x{ratio:.2}",
            median(first),
            median(second)
        ));
    }

    /// Adds a table to every place, with one, two and four workers.
    async fn migrate(&self, places: usize) {
        let mut texts = tables::<DB>();
        for workers in [1, 2, 4] {
            texts.push(DB::PROJECTS.replace("projects", &format!("added_by_{workers}")));
            let provisioner = provisioner(&self.app, &texts);
            for what in ["a new table", "nothing to do"] {
                let start = Instant::now();
                let mut migrated = std::pin::pin!(provisioner.migrations().parallel(workers).run());
                let mut done = 0_u32;
                while let Some(place) = migrated.next().await {
                    place.unwrap().result.unwrap();
                    done += 1;
                }
                let rate = f64::from(done) / start.elapsed().as_secs_f64();
                line(&format!("  {what}, {workers} workers: {places} places, {rate:.0} places a second"));
            }
        }
    }
}

fn sqlite(runtime: &Runtime) {
    let (bench, places) = runtime.block_on(async {
        line("\nsqlite, provisioning with ten tables");
        let mut bench = Bench::<Sqlite>::new(TenantDb::sqlite).await;
        let shared = bench.provision("shared", |new| new, 20, None).await;
        let files = bench.provision("file", NewTenant::own_database, count(), None).await;
        bench.provision("file from a template", NewTenant::own_database, count(), Some("template")).await;
        line("\nsqlite, first use of a tenant, and the second");
        bench.first_use("shared", &shared).await;
        bench.first_use("file", &files).await;
        line("\nsqlite, migrations");
        bench.migrate(2 * count()).await;
        (bench, [shared, files])
    });
    let [shared, file] = places.map(|t| runtime.block_on(bench.contexts(&t[..1])).remove(0));
    let tenant: Uuid = id_text(shared.tenant_id()).parse().unwrap();
    let plain = || {
        async {
            let read = sqlx::query_as::<_, Project>(READ).bind(tenant);
            drop(read.fetch_one(&bench.plain).await.unwrap());
        }
        .boxed_local()
    };
    let variants: Vec<Variant<'_>> = vec![
        ("plain sqlx", Box::new(plain)),
        ("scope, shared", Box::new(|| bench.read(&shared).boxed_local())),
        ("scope, file", Box::new(|| bench.read(&file).boxed_local())),
    ];
    compare(runtime, "sqlite, point read", &variants);
    drop(variants);
    runtime.block_on(async { drop(bench) });
}

fn postgres(runtime: &Runtime) {
    let (bench, places) = runtime.block_on(async {
        line("\npostgres, provisioning with ten tables");
        let mut bench = Bench::<Postgres>::new(TenantDb::postgres).await;
        let databases = count().min(30);
        let shared = bench.provision("shared", |new| new, 20, None).await;
        let own = bench.provision("database", NewTenant::own_database, databases, None).await;
        let template = format!("template-{}", Uuid::now_v7().simple());
        let name = "database from a template";
        bench.provision(name, NewTenant::own_database, databases, Some(&template)).await;
        let schemas = bench.provision("schema", NewTenant::own_schema, count(), None).await;
        line("\npostgres, first use of a tenant, and the second");
        bench.first_use("shared", &shared).await;
        bench.first_use("schema", &schemas).await;
        bench.first_use("database", &own).await;
        line("\npostgres, migrations");
        bench.migrate(count() + 2 * databases).await;
        memory(&bench, &schemas).await;
        (bench, [shared, schemas, own])
    });
    let [shared, schema, database] = places.map(|t| runtime.block_on(bench.contexts(&t[..1])).remove(0));
    let tenant: Uuid = id_text(shared.tenant_id()).parse().unwrap();
    let plain = || {
        async {
            let mut tx = bench.plain.begin().await.unwrap();
            let set_tenant =
                sqlx::query("SELECT set_config('app.tenant_id', $1, true)").bind(tenant.to_string());
            set_tenant.execute(&mut *tx).await.unwrap();
            drop(sqlx::query_as::<_, Project>(READ).bind(tenant).fetch_one(&mut *tx).await.unwrap());
            tx.commit().await.unwrap();
        }
        .boxed_local()
    };
    let variants: Vec<Variant<'_>> = vec![
        ("plain sqlx, 4 statements", Box::new(plain)),
        ("scope, shared", Box::new(|| bench.read(&shared).boxed_local())),
        ("scope, schema", Box::new(|| bench.read(&schema).boxed_local())),
        ("scope, database", Box::new(|| bench.read(&database).boxed_local())),
    ];
    compare(runtime, "postgres on loopback, point read", &variants);
    drop(variants);
    runtime.block_on(async { drop(bench) });
}

/// Moves a tenant with many rows. Nobody writes meanwhile, so the time of the fence is that of two comparisons.
///
/// The measure is a plain copy: the rows are inserted into another table of the same database by one statement.
async fn moves<DB: TestPlaces + TenantData>(
    pool: &Pool<DB>,
    provisioner: &Provisioner<DB>,
    acme: &Tenant,
    (rows, begin): (&str, &str),
    targets: &[(&str, Placement)],
) {
    let tenant = if DB::kinds().len() == 1 {
        format!("X'{}'", acme.id().to_string().replace('-', ""))
    } else {
        format!("'{}'", acme.id())
    };
    let fill = rows.replace("TENANT", &tenant).replace("COUNT", &moved_rows().to_string());
    DB::raw(pool, &format!("{begin}; {fill}; COMMIT")).await.unwrap();
    let create = DB::PROJECTS.replace("projects", "copied");
    DB::raw(pool, &create).await.unwrap();
    let start = Instant::now();
    let copy =
        format!("{begin}; INSERT INTO copied SELECT * FROM projects WHERE tenant_id = {tenant}; COMMIT");
    DB::raw(pool, &copy).await.unwrap();
    let plain = micros(start) / 1e3;
    DB::raw(pool, "DROP TABLE copied").await.unwrap();
    line(&format!("\n{}, a tenant with {} rows moves", DB::NAME, moved_rows()));
    line(&format!("  {:<32} {plain:>8.1} ms", "plain copy in one database"));
    for (name, target) in targets {
        let start = Instant::now();
        let movement = provisioner.move_to(acme.id(), target.clone(), &Actor::user("ada"));
        let report = movement.grace(Duration::ZERO).run(|_| {}).await.unwrap();
        let (all, refused) = (micros(start) / 1e3, report.fenced_ms);
        let ratio = all / plain;
        line(&format!("  {name:<32} {all:>8.1} ms  x{ratio:.1}, refused for {refused} ms"));
    }
}

async fn moves_on_sqlite() {
    let mut app = App::<Sqlite>::new().await;
    let provisioner = app.provisioner(&[Sqlite::PROJECTS]);
    let acme = app.create(&provisioner, "acme", |new| new).await.unwrap();
    let rows = "WITH RECURSIVE n (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < COUNT) \
        INSERT INTO projects SELECT TENANT, n, 'the name of project ' || n FROM n";
    let targets =
        [("to a file", Placement::database_of(acme.id())), ("to the shared tables", Placement::Shared)];
    moves(&app.pool, &provisioner, &acme, (rows, "BEGIN"), &targets).await;
}

async fn moves_on_postgres() {
    let mut app = App::<Postgres>::new().await;
    let owner = (*app.pool.connect_options()).clone();
    // A role that owns nothing, and that nobody uses here.
    let admin = Pool::connect(&common::admin_url()).await.unwrap();
    let role = format!("tenancy_bench_{}", Uuid::now_v7().simple());
    Postgres::raw(&admin, &format!("CREATE ROLE {role}")).await.unwrap();
    let places = PostgresPlaces::new(owner).runtime_role(&role);
    let provisioner = Provisioner::new(app.store.clone(), places, migrator(&[Postgres::PROJECTS]));
    let acme = app.create(&provisioner, "acme", |new| new).await.unwrap();
    let rows =
        "INSERT INTO projects SELECT TENANT, n, 'the name of project ' || n FROM generate_series(2, COUNT) n";
    let database = Placement::database_of(acme.id());
    app.forget(&database);
    let targets = [
        ("to a schema", Placement::schema_of(acme.id())),
        ("to a database", database),
        ("to the shared tables", Placement::Shared),
    ];
    let begin = format!("BEGIN; SET LOCAL app.tenant_id = '{}'", acme.id());
    moves(&app.pool, &provisioner, &acme, (rows, &begin), &targets).await;
    drop(app);
    // It has privileges in the database of the application, if that is not dropped yet.
    let _ = Postgres::raw(&admin, &format!("DROP ROLE {role}")).await;
}

/// The private memory of one connection that reads every table of one schema after the other, and what grows with the
/// schemas: the catalogue, and the time to start.
async fn memory(bench: &Bench<Postgres>, schemas: &[Arc<Tenant>]) {
    line("\npostgres, with the number of schemas");
    let catalogue = "SELECT (sum(pg_total_relation_size(oid)) / 1024)::bigint FROM pg_class \
        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared";
    let kilobytes = Postgres::number(&bench.plain, catalogue).await;
    line(&format!("  the catalogue has {kilobytes} kB, with {} schemas of 13 tables", schemas.len()));

    let start = Instant::now();
    let options = PoolOptions::new().max_connections(1);
    let url = format!("{}&application_name=memory", url(&bench.app));
    let db = TenantDb::postgres(options, url).build().await.unwrap();
    line(&format!("  `build` with the doctor takes {:.0} ms", micros(start) / 1e3));
    let pid = "SELECT pid::bigint FROM pg_stat_activity WHERE application_name = 'memory' \
        AND datname = current_database()";
    let pid = Postgres::number(&bench.plain, pid).await;
    let Some(mut last) = private_memory(pid) else {
        line("  the memory of the connection cannot be read: run as root, on the server's machine");
        return;
    };
    line(&format!("  {last:>8} kB private memory of a new connection"));
    let (contexts, quarter) = (bench.contexts(schemas).await, schemas.len().div_ceil(4));
    for (n, ctx) in contexts.iter().enumerate() {
        let scope = db.scope(ctx);
        for table in (2..=10).map(|n| format!("table_{n}")).chain(["projects".to_owned()]) {
            let sql = AssertSqlSafe(format!("SELECT * FROM {table}"));
            sqlx::query(sql).fetch_all(&scope).await.unwrap();
        }
        if (n + 1) % quarter == 0 {
            let now = private_memory(pid).expect("it was readable before");
            let grown = now.saturating_sub(last) / quarter as u64;
            line(&format!(
                "  {now:>8} kB after {} schemas, {grown} kB for each of the last {quarter}",
                n + 1
            ));
            last = now;
        }
    }
}

/// In kB, from `/proc`.
fn private_memory(pid: i64) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    private.map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(moves_on_sqlite());
    let on_postgres = std::env::var_os("TEST_POSTGRES_URL").is_some();
    if on_postgres {
        runtime.block_on(moves_on_postgres());
    }
    sqlite(&runtime);
    if on_postgres {
        postgres(&runtime);
    }
}
