//! Charges two tenants at once, in 64 tasks, far beyond their limits, and asserts that each is charged exactly its limit:
//! in memory, in SQLite, and in PostgreSQL and Redis if `TEST_POSTGRES_URL` and `TEST_REDIS_URL` name them. The suite
//! `tenancy::testing::meter` has the same race with few attempts; this one is run by hand, with as many as you name:
//!
//! `scripts/servers cargo bench --bench quota_race -- 1000000`

#[path = "../tests/fixture/common.rs"]
mod common;

use std::sync::Arc;
use std::time::Instant;

use common::{TestBackend, redis_url};
use sqlx::{Postgres, Sqlite};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::quota::meter::Meter;
use tenancy::quota::{CrashPolicy, LeaseOptions, LeasedQuotas, Quota, Quotas};
use tenancy::store::{MemoryStore, RedisMeter, SqlStore};
use tenancy::tenant::{NewTenant, TenantStore};
use tenancy::{ErrorKind, Result, TenantContext};
use tokio::task::JoinSet;

const CALLS: Quota = Quota::new("calls");
const TASKS: u64 = 64;

/// Two tenants, each with this limit.
async fn contexts(limit: u64) -> [TenantContext; 2] {
    let catalog = format!(
        "version = 1\n[features]\ncalls = {{ kind = \"quota\", period = \"year\", timeout_ms = 60000 }}\n\
         [plans.free]\nfeatures = {{ calls = {limit} }}"
    );
    let store = Arc::new(MemoryStore::new());
    let directory = TenantDirectory::new(store.clone(), Catalog::from_toml(&catalog).unwrap());
    let context = async |name| {
        let tenant = store.insert(NewTenant::active(name, "free").unwrap()).await.unwrap();
        directory.context(tenant.id(), Actor::user("ada")).await.unwrap()
    };
    [context("acme").await, context("globex").await]
}

/// How many of `attempts` for the two tenants in turn are admitted, of each.
async fn race<F: Future<Output = Result<()>> + Send + 'static>(
    attempts: u64,
    contexts: &[TenantContext; 2],
    charge: impl Fn(usize, TenantContext) -> F + Clone + Send + 'static,
) -> [u64; 2] {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (charge, contexts) = (charge.clone(), contexts.clone());
        tasks.spawn(async move {
            let mut admitted = [0, 0];
            for attempt in 0..attempts / TASKS {
                let tenant = usize::from((attempt + task) % 2 == 0);
                match charge(usize::try_from(task).unwrap(), contexts[tenant].clone()).await {
                    Ok(()) => admitted[tenant] += 1,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error:?}"),
                }
            }
            admitted
        });
    }
    tasks.join_all().await.into_iter().fold([0, 0], |[a, b], [c, d]| [a + c, b + d])
}

async fn used(quotas: &Quotas, ctx: &TenantContext) -> (u64, u64) {
    let counters = quotas.counters(ctx, None, 10).await.unwrap();
    counters.first().map_or((0, 0), |counter| (counter.used, counter.held))
}

#[expect(clippy::print_stdout, reason = "the table is the output of the bench")]
async fn race_in(name: &str, meter: Arc<dyn Meter>, attempts: u64) {
    // A quarter of the attempts of each tenant is denied.
    let (quotas, limit) = (Quotas::new(meter), attempts / TASKS * TASKS / 2 / 4 * 3);
    let (tenants, start) = (contexts(limit).await, Instant::now());
    let strict = quotas.clone();
    let admitted = race(attempts, &tenants, move |_, ctx| {
        let quotas = strict.clone();
        async move { quotas.charge(&ctx, CALLS, 1).await.map(drop) }
    })
    .await;
    assert_eq!(admitted, [limit; 2], "{name}: each tenant gets its limit");
    for ctx in &tenants {
        assert_eq!(used(&quotas, ctx).await, (limit, 0), "{name}: what is admitted is counted");
    }
    println!("{name}: {attempts} charges, {admitted:?} admitted of {limit} each, in {:.0?}", start.elapsed());

    let (tenants, start) = (contexts(limit).await, Instant::now());
    let options = LeaseOptions::new(CrashPolicy::Strict, 1_000).nodes(3);
    let nodes = [(); 3].map(|()| LeasedQuotas::new(&quotas, options));
    let leased = nodes.clone();
    let admitted = race(attempts, &tenants, move |task, ctx| {
        let node = leased[task % 3].clone();
        async move { node.charge(&ctx, CALLS, 1).await.map(drop) }
    })
    .await;
    for node in nodes {
        node.shut_down().await;
    }
    for (ctx, admitted) in tenants.iter().zip(admitted) {
        assert!(admitted <= limit, "{name}: {admitted} of {limit}");
        assert_eq!(used(&quotas, ctx).await, (admitted, 0), "{name}: what is admitted is counted");
    }
    println!(
        "{name}: {attempts} charges of three nodes with leases, {admitted:?} admitted, in {:.0?}",
        start.elapsed()
    );
}

async fn race_in_sql<DB: TestBackend>(name: &str, connections: u32, attempts: u64) {
    let (pool, _cleanup) = DB::fresh(connections).await;
    let store = SqlStore::new(pool);
    store.migrate().await.unwrap();
    race_in(name, Arc::new(store), attempts).await;
}

#[tokio::main(worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the table is the output of the bench")]
async fn main() {
    let Some(attempts) = std::env::args().find_map(|argument| argument.parse().ok()) else {
        println!("not run: name a number of attempts, as in `cargo bench --bench quota_race -- 1000000`");
        return;
    };
    race_in("memory", Arc::new(MemoryStore::new()), attempts).await;
    if std::env::var_os("TEST_REDIS_URL").is_some() {
        let client = redis::Client::open(redis_url()).expect("TEST_REDIS_URL reads");
        race_in("Redis", Arc::new(RedisMeter::connect(client).await.unwrap()), attempts).await;
    }
    race_in_sql::<Sqlite>("SQLite", 8, attempts).await;
    if std::env::var_os("TEST_POSTGRES_URL").is_some() {
        race_in_sql::<Postgres>("PostgreSQL", 16, attempts).await;
    }
}
