//! Quota counters in Redis: how long they live, and what happens when Redis restarts, fails over or is a cluster.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use tenancy::clock::{Clock, ManualClock, SystemClock};
use tenancy::quota::{DecisionSource, Quota, Quotas, Rate, Rates};
use tenancy::store::{RedisMeter, RedisRates};
use tenancy::{ErrorKind, TenantContext, testing};
use tokio::task::JoinSet;

use crate::common::redis_url;
use crate::node::until;
use crate::quota_fixture::World;
use crate::redis_servers::{OwnRedis, cluster};

const DAILY: Quota = Quota::new("daily");
const EVER: Quota = Quota::new("ever");
const OPEN: Quota = Quota::new("open");
const CLOSED_RATE: Rate = Rate::new("closed_rate");
const OPEN_RATE: Rate = Rate::new("open_rate");

const CATALOG: &str = r#"
version = 1
[features]
daily       = { kind = "quota", period = "day", timeout_ms = 5000 }
ever        = { kind = "quota", period = "lifetime" }
open        = { kind = "quota", period = "day", on_failure = "open", timeout_ms = 5000 }
closed_rate = { kind = "rate", on_failure = "closed", timeout_ms = 5000 }
open_rate   = { kind = "rate", timeout_ms = 5000 }
[plans.free.features]
daily       = 300
ever        = 300
open        = 300
closed_rate = { limit = 1, seconds = 3600, burst = 10 }
open_rate   = { limit = 1, seconds = 3600, burst = 10 }
"#;

async fn contexts() -> [TenantContext; 2] {
    let World { acme, globex, .. } = World::new(CATALOG).await;
    [acme, globex]
}

async fn meter(url: &str) -> RedisMeter {
    RedisMeter::connect(redis::Client::open(url).unwrap()).await.unwrap()
}

/// A connection to the Redis of the tests, to look at the keys of a tenant.
struct Keys {
    connection: MultiplexedConnection,
    tenant: String,
}

impl Keys {
    async fn of(ctx: &TenantContext) -> Self {
        let client = redis::Client::open(redis_url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        Self { connection, tenant: ctx.tenant_id().to_string() }
    }

    /// The one key of the tenant with this word in it.
    async fn one(&mut self, word: &str) -> String {
        let pattern = format!("*{}*{word}*", self.tenant);
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(pattern).query_async(&mut self.connection).await.unwrap();
        let [key] = &keys[..] else { panic!("one key with {word}: {keys:?}") };
        key.clone()
    }

    async fn run<T: redis::FromRedisValue>(&mut self, command: &str, key: &str) -> T {
        redis::cmd(command).arg(key).query_async(&mut self.connection).await.unwrap()
    }
}

/// Q33, Q34 and Q32: a counter never lives for ever, and never ends with a delay.
#[tokio::test]
async fn a_counter_ends_by_its_period_and_not_by_its_use() {
    let [acme, _] = contexts().await;
    let keep = Duration::from_hours(48);
    let quotas = Quotas::new(Arc::new(meter(&redis_url()).await.keep(keep)));
    quotas.charge(&acme, DAILY, 1).await.unwrap();
    let mut keys = Keys::of(&acme).await;
    let counter = keys.one("counter").await;
    let end: i64 = keys.run("PEXPIRETIME", &counter).await;
    let period = quotas.counters(&acme, None, 1).await.unwrap().remove(0);
    assert_eq!(end, period.end.unwrap().micros() / 1_000 + 48 * 3_600_000, "q33: from the first charge");
    for _ in 0..5 {
        quotas.charge(&acme, DAILY, 1).await.unwrap();
    }
    assert_eq!(keys.run::<i64>("PEXPIRETIME", &counter).await, end, "q34: a charge does not extend it");
    let persisted: i64 = keys.run("PERSIST", &counter).await;
    assert_eq!((persisted, keys.run::<i64>("PTTL", &counter).await), (1, -1));
    quotas.charge(&acme, DAILY, 1).await.unwrap();
    assert_eq!(keys.run::<i64>("PEXPIRETIME", &counter).await, end, "q32: a lost end is set again");
    assert_eq!(quotas.counters(&acme, None, 1).await.unwrap()[0].used, 7);
}

#[tokio::test]
async fn q36_scripts_that_redis_forgot_are_loaded_again() {
    let mut redis = OwnRedis::start().await;
    let [acme, globex] = contexts().await;
    let quotas = Quotas::new(Arc::new(meter(&redis.url()).await));
    let flush = redis::cmd("SCRIPT").arg("FLUSH").clone();
    let mut reserved = quotas.reserve(&acme, DAILY, 10, Duration::from_mins(1)).await.unwrap();
    let () = redis.run(&flush).await;
    assert_eq!(reserved.commit(3).await.unwrap()[0].used, 3);
    let () = redis.run(&flush).await;
    assert_eq!(quotas.charge(&acme, DAILY, 1).await.unwrap().used, 4, "charged once");
    let () = redis.run(&flush).await;
    assert_eq!(quotas.counters(&acme, None, 5).await.unwrap()[0].used, 4);
    assert!(quotas.counters(&globex, None, 5).await.unwrap().is_empty());
    redis.kill();
}

/// A tenant with a counter for each day does not fill Redis: its list of counters has those that exist.
#[tokio::test]
async fn the_list_of_a_tenants_counters_does_not_grow() {
    let [acme, globex] = contexts().await;
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store = Arc::new(meter(&redis_url()).await.keep(Duration::from_hours(24)));
    let quotas = Quotas::new(store).with_clock(clock.clone());
    quotas.charge(&globex, DAILY, 1).await.unwrap();
    let mut keys = Keys::of(&acme).await;
    for n in 0..30 {
        quotas.charge(&acme, DAILY, 1).await.unwrap();
        if n == 10 {
            let index = keys.one("index").await;
            let (ends, counters): (i64, u64) =
                (keys.run("PTTL", &index).await, keys.run("ZCARD", &index).await);
            assert!(ends > 0, "without charges the list ends, too: {ends}");
            assert!(counters <= 3, "{counters} days");
            quotas.charge(&acme, EVER, 1).await.unwrap();
            assert_eq!(keys.run::<i64>("PTTL", &index).await, -1, "a quota without an end stays");
        }
        clock.advance_seconds(24 * 3_600);
    }
    let index = keys.one("index").await;
    assert!(keys.run::<u64>("ZCARD", &index).await <= 4);
    let counters = quotas.counters(&acme, Some("ever"), 5).await.unwrap();
    assert_eq!(counters.len(), 1, "the quota without an end is still in the list");
    assert_eq!(quotas.counters(&globex, None, 5).await.unwrap().len(), 1);
}

/// What Redis confirmed is counted after it was killed, and nothing goes beyond the limit.
#[tokio::test(flavor = "multi_thread")]
async fn redis_restarts_in_the_middle() {
    let mut redis = OwnRedis::start().await;
    let [acme, globex] = contexts().await;
    let quotas = Quotas::new(Arc::new(meter(&redis.url()).await));
    quotas.charge(&globex, DAILY, 1).await.unwrap();
    let confirmed = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (quotas, acme, confirmed) = (quotas.clone(), acme.clone(), confirmed.clone());
        tasks.spawn(async move {
            loop {
                match quotas.charge(&acme, DAILY, 1).await {
                    Ok(_) => _ = confirmed.fetch_add(1, std::sync::atomic::Ordering::SeqCst),
                    Err(error) if error.kind() == ErrorKind::QuotaExceeded => return,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error:?}"),
                }
            }
        });
    }
    let so_far = || confirmed.load(std::sync::atomic::Ordering::SeqCst);
    until("some are charged", async || so_far() > 50).await;
    redis.restart().await;
    tasks.join_all().await;
    let used = quotas.counters(&acme, None, 1).await.unwrap()[0].used;
    assert_eq!(used, 300, "charged until the limit, and not beyond");
    assert!((51..=300).contains(&so_far()), "{} confirmed", so_far());
    assert!(so_far() >= 300 - 8, "at most one for each task was charged without a confirmation");
    assert_eq!(quotas.counters(&globex, None, 1).await.unwrap()[0].used, 1);
}

/// A server that accepts no writes is a store that is down: the rule decides, and not an internal error.
#[tokio::test]
async fn a_redis_that_accepts_no_writes_is_down() {
    let redis = OwnRedis::start().await;
    let [acme, _] = contexts().await;
    let quotas = Quotas::new(Arc::new(meter(&redis.url()).await));
    let rates = Rates::redis(RedisRates::connect(redis.client()).await.unwrap());
    quotas.charge(&acme, DAILY, 1).await.unwrap();
    let replica = |to: [&str; 2]| redis::cmd("REPLICAOF").arg(&to).clone();
    let memory = |bytes: &str| redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).clone();
    for (fail, repair) in [(replica(["127.0.0.1", "1"]), replica(["NO", "ONE"])), (memory("1"), memory("0"))]
    {
        let () = redis.run(&fail).await;
        let closed = quotas.charge(&acme, DAILY, 1).await.unwrap_err();
        assert_eq!(closed.kind(), ErrorKind::StoreUnavailable, "{closed:?}");
        let open = quotas.charge(&acme, OPEN, 1).await.unwrap();
        assert!(matches!(open.source, DecisionSource::Fallback { age: Some(_) }), "{open:?}");
        let closed = rates.check(&acme, CLOSED_RATE).await.unwrap_err();
        assert_eq!(closed.kind(), ErrorKind::StoreUnavailable, "{closed:?}");
        let open = rates.check(&acme, OPEN_RATE).await.unwrap();
        assert!(matches!(open.source, DecisionSource::Fallback { .. }), "{open:?}");
        let () = redis.run(&repair).await;
    }
    assert_eq!(quotas.charge(&acme, DAILY, 1).await.unwrap().used, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_every_promise() {
    let nodes = cluster().await;
    let client = ClusterClient::new(nodes.iter().map(OwnRedis::url)).unwrap();
    let connection = client.get_async_connection().await.unwrap();
    testing::meter(&RedisMeter::from_connection(connection.clone())).await;

    let rates = Rates::redis(RedisRates::from_connection(connection));
    let contexts = contexts().await;
    for ctx in &contexts {
        let checks = join_all((0..30).map(|_| rates.check(ctx, CLOSED_RATE))).await;
        assert_eq!(checks.into_iter().flatten().count(), 10);
    }
    for node in &nodes {
        let keys: u64 = node.run(&redis::cmd("DBSIZE")).await;
        assert!(keys > 0, "each node of the cluster has some tenants");
    }
}
