//! A database or Redis that is down or drops connections: gauges and concurrency limits are closed, an open quota is
//! marked, and what was confirmed is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::Postgres;
use sqlx::postgres::PgPoolOptions;
use tenancy::quota::meter::Meter;
use tenancy::quota::{
    Concurrency, CrashPolicy, DecisionSource, Gauge, LeaseOptions, LeasedQuotas, Quota, Quotas,
};
use tenancy::store::{RedisMeter, SqlStore};
use tenancy::web::Problem;
use tenancy::{ErrorKind, TenantContext, TenantDb};
use tokio::task::JoinSet;

use crate::common::{TestBackend, redis_url};
use crate::node::until;
use crate::proxy::Proxy;
use crate::quota_fixture::{World, used};

const CALLS: Quota = Quota::new("calls");
const OPEN: Quota = Quota::new("open");
const LAST: Quota = Quota::new("last");
const EXPORTS: Concurrency = Concurrency::new("exports");
const PROJECTS: Gauge = Gauge::new("projects");

const CATALOG: &str = r#"
version = 1
[features]
calls    = { kind = "quota", period = "lifetime", timeout_ms = 5000 }
open     = { kind = "quota", period = "lifetime", on_failure = "open", timeout_ms = 5000 }
last     = { kind = "quota", period = "lifetime", on_failure = "last_lease", timeout_ms = 5000 }
exports  = { kind = "concurrency", timeout_ms = 5000 }
projects = { kind = "gauge" }
[plans.free]
features = { calls = 600, open = 600, last = 100, exports = 5, projects = 200 }
"#;

/// What each kind of limit does while its store is down, and after that.
async fn a_store_is_down_and_comes_back(meter: Arc<dyn Meter>, proxy: &Proxy, catalog: &str) {
    let world = World::new(catalog).await;
    let quotas = Quotas::new(meter);
    let leased = LeasedQuotas::new(&quotas, LeaseOptions::new(CrashPolicy::Strict, 10));
    let both = [&world.acme, &world.globex];
    for ctx in both {
        quotas.charge(ctx, CALLS, 1).await.unwrap();
        quotas.charge(ctx, OPEN, 1).await.unwrap();
        leased.charge(ctx, LAST, 1).await.unwrap();
    }
    proxy.close();
    for ctx in both {
        let closed = [
            quotas.reserve(ctx, CALLS, 1, Duration::from_secs(1)).await.unwrap_err(),
            quotas.acquire(ctx, EXPORTS).await.unwrap_err(),
            // One of them is closed.
            quotas.request(ctx).charge(OPEN, 1).charge(CALLS, 1).run().await.unwrap_err(),
        ];
        for error in closed {
            assert_eq!((error.kind(), Problem::from(&error).status()), (ErrorKind::StoreUnavailable, 503));
            assert!(error.is_transient());
        }
        let open = quotas.charge(ctx, OPEN, 1).await.unwrap();
        let DecisionSource::Fallback { age: Some(age) } = open.source else { panic!("{open:?}") };
        assert!(age < Duration::from_mins(5), "since the last answer: {age:?}");
        assert_eq!((open.used, open.reached.len()), (0, 0), "the numbers are unknown");
        for _ in 0..9 {
            leased.charge(ctx, LAST, 1).await.unwrap();
        }
        assert_eq!(leased.charge(ctx, LAST, 1).await.unwrap_err().kind(), ErrorKind::StoreUnavailable);
    }
    proxy.open();
    for ctx in both {
        until("the store is reached again", async || {
            let next = quotas.charge(ctx, CALLS, 1).await;
            next.is_ok_and(|decision| decision.source == DecisionSource::Counted)
        })
        .await;
        quotas.acquire(ctx, EXPORTS).await.unwrap().release().await.unwrap();
    }
    leased.shut_down().await;
    for ctx in both {
        // A reservation without an answer can still arrive when the store is reached again. Then it expires.
        until("what was rejected is not counted", async || used(&quotas, ctx, "calls").await == (2, 0)).await;
        assert_eq!(used(&quotas, ctx, "last").await, (10, 0), "what was spent of a lease is");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q30_while_postgres_is_down_the_rule_decides() {
    let (pool, _cleanup) = Postgres::fresh(2).await;
    SqlStore::new(pool.clone()).migrate().await.unwrap();
    let proxy = Proxy::start(&crate::common::postgres_url()).await;
    let options = (*pool.connect_options()).clone().host("127.0.0.1").port(proxy.port());
    let options = PgPoolOptions::new().acquire_timeout(Duration::from_secs(2)).connect_lazy_with(options);
    a_store_is_down_and_comes_back(Arc::new(SqlStore::new(options)), &proxy, CATALOG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q30_while_redis_does_not_answer_the_rule_decides() {
    let proxy = Proxy::start(&redis_url()).await;
    let client = redis::Client::open(proxy.url("redis")).unwrap();
    // Its client connects again until the time of the rule is over, which each of the requests waits for.
    let catalog = CATALOG.replace("timeout_ms = 5000", "timeout_ms = 300");
    a_store_is_down_and_comes_back(Arc::new(RedisMeter::connect(client).await.unwrap()), &proxy, &catalog)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q30_a_gauge_is_closed_while_its_database_is_down() {
    let (pool, _cleanup) = Postgres::fresh(2).await;
    SqlStore::new(pool.clone()).migrate().await.unwrap();
    let proxy = Proxy::start(&crate::common::postgres_url()).await;
    let options = (*pool.connect_options()).clone().host("127.0.0.1").port(proxy.port());
    let through = PgPoolOptions::new().acquire_timeout(Duration::from_secs(2)).connect_lazy_with(options);
    let (world, db) = (World::new(CATALOG).await, TenantDb::from_pool(through).build().await.unwrap());
    let both = [&world.acme, &world.globex];
    for ctx in both {
        let mut tx = db.begin(ctx).await.unwrap();
        PROJECTS.acquire(&mut tx, 3).await.unwrap();
        tx.commit().await.unwrap();
    }
    // One transaction has begun when the database goes away.
    let mut began = db.begin(&world.acme).await.unwrap();
    PROJECTS.acquire(&mut began, 1).await.unwrap();
    proxy.close();
    let mut errors = vec![PROJECTS.acquire(&mut began, 1).await.unwrap_err()];
    assert_eq!(began.commit().await.unwrap_err().kind(), ErrorKind::RolledBack, "and it commits nothing");
    for ctx in both {
        errors.push(match db.begin(ctx).await {
            Ok(mut tx) => PROJECTS.acquire(&mut tx, 1).await.unwrap_err(),
            Err(error) => error,
        });
        errors.push(PROJECTS.usage(&db.scope(ctx)).await.unwrap_err());
    }
    for error in errors {
        assert_eq!(Problem::from(&error).status(), 503, "{error:?}");
        assert!(error.plan_denial().is_none(), "an outage is no limit");
    }
    proxy.open();
    for ctx in both {
        until("the database is reached again", async || PROJECTS.usage(&db.scope(ctx)).await.is_ok()).await;
        assert_eq!(
            PROJECTS.usage(&db.scope(ctx)).await.unwrap().used,
            3,
            "what was not committed is not counted"
        );
    }
}

/// Ends the server's processes of all connections of the application, and returns how many.
async fn terminate_backends(admin: &sqlx::PgPool) -> i64 {
    let sql = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'under_load') AS ended";
    sqlx::query_scalar(sql).fetch_one(admin).await.unwrap()
}

/// How a task's attempts ended.
#[derive(Default)]
struct Outcomes {
    confirmed: AtomicU64,
    unknown: AtomicU64,
}

impl Outcomes {
    fn count(&self, outcome: tenancy::Result<()>) {
        match outcome {
            Ok(()) => _ = self.confirmed.fetch_add(1, Ordering::SeqCst),
            Err(error) => {
                let kind = error.kind();
                let lost = matches!(
                    kind,
                    ErrorKind::StoreUnavailable | ErrorKind::OutcomeUnknown | ErrorKind::ConnectionLimit
                );
                assert!(lost, "{error:?}");
                self.unknown.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn both(&self) -> (u64, u64) {
        (self.confirmed.load(Ordering::SeqCst), self.unknown.load(Ordering::SeqCst))
    }
}

/// Terminates the backends several times while `attempt` runs in eight tasks for each tenant until its limit is full.
async fn under_terminated_backends<F>(
    admin: &sqlx::PgPool,
    contexts: [&TenantContext; 2],
    attempt: impl Fn(TenantContext) -> F + Clone + Send + 'static,
) -> [Arc<Outcomes>; 2]
where
    F: Future<Output = tenancy::Result<()>> + Send,
{
    let outcomes = [(); 2].map(|()| Arc::new(Outcomes::default()));
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (ctx, outcomes) = (contexts[task % 2].clone(), outcomes[task % 2].clone());
        let attempt = attempt.clone();
        tasks.spawn(async move {
            loop {
                match attempt(ctx.clone()).await {
                    Err(error)
                        if matches!(error.kind(), ErrorKind::QuotaExceeded | ErrorKind::LimitReached) =>
                    {
                        return;
                    }
                    outcome => outcomes.count(outcome),
                }
            }
        });
    }
    let mut ended = 0;
    for round in 1..=4 {
        until("some are confirmed", async || outcomes[0].both().0 >= round * 20).await;
        ended += terminate_backends(admin).await;
    }
    tasks.join_all().await;
    assert!(ended > 0, "no backend was terminated");
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn q26_charges_and_gauges_survive_terminated_backends() {
    let (admin, _cleanup) = Postgres::fresh(2).await;
    SqlStore::new(admin.clone()).migrate().await.unwrap();
    let options = (*admin.connect_options()).clone().application_name("under_load");
    let pool = PgPoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
    let world = World::new(CATALOG).await;
    let both = [&world.acme, &world.globex];

    let quotas = Quotas::new(Arc::new(SqlStore::new(pool.clone())));
    let charge = {
        let quotas = quotas.clone();
        move |ctx: TenantContext| {
            let quotas = quotas.clone();
            async move { quotas.charge(&ctx, CALLS, 1).await.map(|_| ()) }
        }
    };
    let outcomes = under_terminated_backends(&admin, both, charge).await;
    for (ctx, outcomes) in both.into_iter().zip(outcomes) {
        let (confirmed, unknown) = outcomes.both();
        assert_eq!(used(&quotas, ctx, "calls").await, (600, 0), "to the limit, and not beyond");
        assert!(confirmed <= 600 && confirmed + unknown >= 600, "{confirmed} confirmed, {unknown} unknown");
    }

    let db = TenantDb::from_pool(pool).build().await.unwrap();
    let acquire = {
        let db = db.clone();
        move |ctx: TenantContext| {
            let db = db.clone();
            async move {
                let mut tx = db.begin(&ctx).await?;
                PROJECTS.acquire(&mut tx, 1).await?;
                tx.commit().await
            }
        }
    };
    let outcomes = under_terminated_backends(&admin, both, acquire).await;
    for (ctx, outcomes) in both.into_iter().zip(outcomes) {
        let (confirmed, unknown) = outcomes.both();
        assert_eq!(PROJECTS.usage(&db.scope(ctx)).await.unwrap().used, 200);
        assert!(confirmed <= 200 && confirmed + unknown >= 200, "{confirmed} confirmed, {unknown} unknown");
    }
}
