//! What is charged in a store, in charges per second of 16 tasks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::Script;
use sqlx::{AssertSqlSafe, Pool, Postgres, Sqlite};
use tenancy::TenantContext;
use tenancy::quota::meter::Meter;
use tenancy::quota::{CrashPolicy, LeaseOptions, LeasedQuotas, Quotas};
use tenancy::store::{MemoryStore, RedisMeter, SqlStore};
use tenancy::tenant::TenantId;
use tokio::task::JoinSet;

use super::common::{TestBackend, redis_url};
use super::{CALLS, quantile};

const TASKS: usize = 16;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(300);
const LIMIT: i64 = 1_000_000_000_000;

/// Charges a tenant once.
type Call = Arc<dyn Fn(TenantContext) -> BoxFuture<'static, ()> + Send + Sync>;

fn call<F: Future<Output = ()> + Send + 'static>(
    charge: impl Fn(TenantContext) -> F + Send + Sync + 'static,
) -> Call {
    Arc::new(move |ctx| charge(ctx).boxed())
}

/// How many charges a second: each task for one tenant after another.
async fn measure(call: &Call, contexts: &[TenantContext]) -> f64 {
    let (start, mut tasks) = (Instant::now(), JoinSet::new());
    for task in 0..TASKS {
        let (call, contexts) = (call.clone(), contexts.to_vec());
        tasks.spawn(async move {
            let mut done = 0_u32;
            while start.elapsed() < ROUND {
                let at = (task * 61 + done as usize) % contexts.len();
                call(contexts[at].clone()).await;
                done += 1;
            }
            f64::from(done)
        });
    }
    let done: f64 = tasks.join_all().await.into_iter().sum();
    done / start.elapsed().as_secs_f64()
}

/// Compares a meter with one conditional statement of plain code, `plain`, in the same store.
#[expect(clippy::print_stdout, reason = "the table is the output of the bench")]
async fn compare_store(name: &str, meter: Arc<dyn Meter>, plain: Call, contexts: &[TenantContext]) {
    let quotas = Quotas::new(meter);
    let strict = {
        let quotas = quotas.clone();
        call(move |ctx| {
            let quotas = quotas.clone();
            async move { drop(quotas.charge(&ctx, CALLS, 1).await.unwrap()) }
        })
    };
    let nodes = [1_000, 10_000, 100_000]
        .map(|size| LeasedQuotas::new(&quotas, LeaseOptions::new(CrashPolicy::Strict, size)));
    let [small, large, huge] = nodes.clone().map(|node| {
        call(move |ctx| {
            let node = node.clone();
            async move { assert!(node.charge(&ctx, CALLS, 1).await.is_ok()) }
        })
    });
    // Each variant has hot tenants of its own: where a lease is held, a charge of the same counter takes a transaction.
    let (hot, all) = (|at: usize| &contexts[at..=at], &contexts[5..]);
    let variants = [
        ("1,000 tenants: one statement", &plain, all, 0),
        ("1,000 tenants: Quotas::charge", &strict, all, 0),
        ("one hot tenant: one statement", &plain, hot(0), 2),
        ("one hot tenant: Quotas::charge", &strict, hot(1), 2),
        ("one hot tenant: leases of 1,000", &small, hot(2), 2),
        ("one hot tenant: leases of 10,000", &large, hot(3), 2),
        ("one hot tenant: leases of 100,000", &huge, hot(4), 2),
    ];
    let mut rates = vec![Vec::new(); variants.len()];
    for _ in 0..ROUNDS {
        for ((_, call, contexts, _), rates) in variants.iter().zip(&mut rates) {
            rates.push(measure(call, contexts).await);
        }
    }
    for node in nodes {
        node.shut_down().await;
    }
    println!("\n{name}: median of {ROUNDS} rounds; relative to one statement");
    for (at, (name, .., first)) in variants.iter().enumerate() {
        let ratios = rates[at].iter().zip(&rates[*first]).map(|(this, first)| this / first);
        println!(
            "    {name:<34} {:>10.0} per second  x{:.2}",
            quantile(rates[at].clone(), 0.5),
            quantile(ratios.collect(), 0.5)
        );
    }
}

fn in_memory() -> Call {
    let counters: Arc<Mutex<HashMap<TenantId, i64>>> = Arc::default();
    call(move |ctx| {
        let counters = counters.clone();
        async move {
            let mut counters = counters.lock().unwrap();
            let used = counters.entry(ctx.tenant_id().clone()).or_default();
            assert!(*used < LIMIT);
            *used += 1;
        }
    })
}

async fn in_sql<DB: TestBackend>(pool: &Pool<DB>) -> Call
where
    for<'q> &'q Pool<DB>: sqlx::Executor<'q, Database = DB>,
    for<'q> String: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    for<'q> i64: sqlx::Encode<'q, DB> + sqlx::Decode<'q, DB> + sqlx::Type<DB>,
    usize: sqlx::ColumnIndex<DB::Row>,
    for<'q> <DB as sqlx::Database>::Arguments: sqlx::IntoArguments<DB>,
{
    DB::raw(pool, "CREATE TABLE plain (tenant text PRIMARY KEY, used bigint NOT NULL)").await.unwrap();
    let pool = pool.clone();
    call(move |ctx| {
        let pool = pool.clone();
        async move {
            let sql = "INSERT INTO plain AS p (tenant, used) VALUES ($1, $2) ON CONFLICT (tenant) DO UPDATE \
                       SET used = p.used + excluded.used WHERE p.used + excluded.used <= $3 RETURNING used";
            let charge = sqlx::query_scalar::<DB, i64>(AssertSqlSafe(sql)).bind(ctx.tenant_id().to_string());
            charge.bind(1_i64).bind(LIMIT).fetch_one(&pool).await.unwrap();
        }
    })
}

async fn in_redis() -> (RedisMeter, Call) {
    let client = redis::Client::open(redis_url()).expect("TEST_REDIS_URL reads");
    let connection = redis::aio::ConnectionManager::new(client.clone()).await.unwrap();
    let script = "local used = tonumber(redis.call('GET', KEYS[1])) or 0 \
                  if used + ARGV[1] > tonumber(ARGV[2]) then return -1 end return redis.call('INCRBY', KEYS[1], ARGV[1])";
    let script = Arc::new(Script::new(script));
    let plain = call(move |ctx| {
        let (script, mut connection) = (script.clone(), connection.clone());
        async move {
            let mut charge = script.key(format!("plain:{}", ctx.tenant_id()));
            let used: i64 = charge.arg(1).arg(LIMIT).invoke_async(&mut connection).await.unwrap();
            assert!(used > 0);
        }
    });
    (RedisMeter::connect(client).await.unwrap(), plain)
}

async fn sql_store<DB: TestBackend>(pool: &Pool<DB>) -> Arc<SqlStore<DB>> {
    let store = SqlStore::new(pool.clone());
    store.migrate().await.unwrap();
    Arc::new(store)
}

#[expect(clippy::print_stdout, reason = "the table is the output of the bench")]
pub(super) async fn compare(contexts: &[TenantContext]) {
    compare_store("memory", Arc::new(MemoryStore::new()), in_memory(), contexts).await;
    let (pool, _cleanup) = Sqlite::fresh(8).await;
    compare_store("SQLite", sql_store(&pool).await, in_sql(&pool).await, contexts).await;
    if std::env::var_os("TEST_POSTGRES_URL").is_some() {
        let (pool, _cleanup) = Postgres::fresh(16).await;
        compare_store("PostgreSQL", sql_store(&pool).await, in_sql(&pool).await, contexts).await;
    } else {
        println!("\nPostgreSQL is not measured: set TEST_POSTGRES_URL");
    }
    if std::env::var_os("TEST_REDIS_URL").is_some() {
        let (meter, plain) = in_redis().await;
        compare_store("Redis", Arc::new(meter), plain, contexts).await;
    } else {
        println!("\nRedis is not measured: set TEST_REDIS_URL");
    }
}
