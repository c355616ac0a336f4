//! One tenant sends 64 slow queries at once, nine others read one row after another, on a pool of 16 connections.
//! Measures the reads of the nine alone, beside the noise, and beside the noise with a share of the connections for
//! each tenant. The variants run alternately in one run, so that other load on the machine affects all alike.
//!
//! Needs `TEST_POSTGRES_URL`, as the tests do.

#[path = "../tests/fixture/common.rs"]
mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Fixture, Order};
use futures_util::future::{join_all, select};
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, Postgres};
use tenancy::context::Actor;
use tenancy::scope::Schema;
use tenancy::tenant::{NewTenant, TenantStore};
use tenancy::{Error, ErrorKind, TenantContext, TenantDb, TenantScoped};
use uuid::Uuid;

const POOL: u32 = 16;
const NOISE: usize = 64;
const QUIET: usize = 9;
const SLOW: &str = "SELECT pg_sleep(0.5) FROM orders WHERE total = 7";
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);

/// The tenants: the noisy one, and the quiet ones.
struct Tenants {
    fixture: Fixture<Postgres>,
    quiet: Vec<TenantContext>,
}

impl Tenants {
    async fn new() -> Self {
        let fixture = Fixture::<Postgres>::new().await;
        let mut quiet = Vec::new();
        for n in 0..QUIET {
            let tenant = NewTenant::active(&format!("quiet-{n}"), "free").expect("the slug is plain");
            let tenant = fixture.store.insert(tenant).await.expect("the tenant is new");
            let ctx = fixture.directory.context(tenant.id(), Actor::user("ada")).await;
            quiet.push(ctx.expect("the tenant is open"));
        }
        for ctx in quiet.iter().chain([&fixture.acme]) {
            let order = Order { id: Uuid::from_u128(7), status: "open".to_owned(), total: 7 };
            Order::insert(&fixture.db.scope(ctx), &order).await.expect("the order is new");
        }
        Self { fixture, quiet }
    }

    async fn database(&self, share: Option<u32>) -> TenantDb<Postgres> {
        let url = self.fixture.pool.connect_options().to_url_lossy().to_string();
        let options = PgPoolOptions::new()
            .min_connections(POOL)
            .max_connections(POOL)
            .acquire_timeout(Duration::from_mins(1));
        let schema = Schema::new("tenant_id").and_then(|schema| schema.function("pg_sleep"));
        let db = TenantDb::postgres(options, url).schema(schema.expect("the names are plain"));
        let db = match share {
            Some(share) => db.max_connections_per_tenant(share),
            None => db,
        };
        db.build().await.expect("the database is there")
    }
}

/// What one variant measured.
#[derive(Default)]
struct Measured {
    reads: Mutex<Vec<f64>>,
    slow: AtomicU64,
    rejected: AtomicU64,
}

/// Sends slow queries, one after another.
async fn noise(db: &TenantDb<Postgres>, ctx: &TenantContext, measured: &Measured) {
    loop {
        match sqlx::query(SLOW).execute(&db.scope(ctx)).await.map_err(Error::from_sqlx) {
            Ok(_) => measured.slow.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.kind() == ErrorKind::TenantConnectionLimit => {
                measured.rejected.fetch_add(1, Ordering::Relaxed)
            }
            Err(error) => panic!("{error:?}"),
        };
    }
}

/// Reads a row again and again, until the time is over.
async fn read(db: &TenantDb<Postgres>, ctx: &TenantContext, until: Instant, measured: &Measured) {
    while Instant::now() < until {
        let start = Instant::now();
        let found = Order::find(&db.scope(ctx), Uuid::from_u128(7)).await;
        assert!(found.expect("the read succeeds").is_some());
        measured.reads.lock().expect("nobody panicked").push(start.elapsed().as_secs_f64() * 1e3);
    }
}

async fn run(db: &TenantDb<Postgres>, tenants: &Tenants, lanes: usize, measured: &Measured) {
    let noise = join_all((0..lanes).map(|_| noise(db, &tenants.fixture.acme, measured)));
    let quiet = async {
        // The noise comes first.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let until = Instant::now() + ROUND;
        join_all(tenants.quiet.iter().map(|ctx| read(db, ctx, until, measured))).await;
    };
    if lanes == 0 {
        quiet.await;
    } else {
        select(Box::pin(noise), Box::pin(quiet)).await;
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::print_stdout, reason = "the table is the output of the bench")]
async fn compare() {
    let tenants = Tenants::new().await;
    let variants = [
        ("alone", 0, None),
        ("with noise, no share", NOISE, None),
        ("with noise, a share of half", NOISE, Some(POOL / 2)),
    ];
    let measured: [Measured; 3] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, lanes, share), measured) in variants.iter().zip(&measured) {
            let db = tenants.database(*share).await;
            run(&db, &tenants, *lanes, measured).await;
        }
    }
    println!("\na read of the nine quiet tenants: median; relative to the first");
    let first = median(measured[0].reads.lock().expect("nobody panicked").clone());
    for ((name, ..), measured) in variants.iter().zip(&measured) {
        let reads = measured.reads.lock().expect("nobody panicked").clone();
        let (count, median) = (reads.len(), median(reads));
        let (slow, rejected) =
            (measured.slow.load(Ordering::Relaxed), measured.rejected.load(Ordering::Relaxed));
        println!(
            "  {name:<28} {median:>9.2} ms  x{:<8.2} {count:>6} reads; noise: {slow} served, {rejected} rejected",
            median / first
        );
    }
}

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
        .block_on(compare());
}
